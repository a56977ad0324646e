"""The schemas' fields: each is read somewhere, has its value in a yaml, and cannot be changed."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

import pytest

from mnist_sweep.augment import Augmentation
from mnist_sweep.config import Schema
from mnist_sweep.loggers import Logger
from mnist_sweep.optimizers import Optimizer
from mnist_sweep.schedulers import Scheduler
from tests.conftest import make_experiment
from tests.modules import module_files, syntax

LEAVES = (Augmentation, Logger, Optimizer, Scheduler)
"""Classes that a yaml names: they read their own fields."""


@dataclass(frozen=True)
class Read:
    """`called.field`, read in a module, in a class ("" outside); is_part: `<...>.called.field`."""

    module: str
    within: str
    called: str
    is_part: bool
    field: str


def schemas() -> list[type[Schema]]:
    """All of the package that have fields."""
    for module, path in module_files().items():
        if "Schema" in path.read_text(encoding="utf-8"):
            import_module(f"mnist_sweep.{module}")
    found: list[type[Schema]] = [Schema]
    for cls in found:
        found += cls.__subclasses__()
    return [cls for cls in found if cls.model_fields and cls.__module__.startswith("mnist_sweep.")]


def module_of(cls: type[Schema]) -> str:
    return cls.__module__.removeprefix("mnist_sweep.")


def reads() -> Iterator[Read]:
    def visit(node: ast.AST, module: str, within: str) -> Iterator[Read]:
        if isinstance(node, ast.ClassDef):
            within = node.name
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            match node.value:
                case ast.Name(id=called):
                    yield Read(module, within, called, False, node.attr)
                case ast.Attribute(attr=called):
                    yield Read(module, within, called, True, node.attr)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, module, within)

    for module in module_files():
        yield from visit(syntax(module), module, "")


def annotated(module: str) -> Iterator[tuple[str, str]]:
    """(name, class) of all that a module declares: arguments, fields, variables, properties.

    One of `stages` is a `stage`.
    """
    for node in ast.walk(syntax(module)):
        match node:
            case ast.arg(arg=name, annotation=ast.expr() as annotation):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                pass
            case ast.AnnAssign(target=ast.Attribute(attr=name), annotation=annotation):
                pass
            case ast.FunctionDef(name=name, returns=ast.expr() as annotation):
                pass
            case _:
                continue
        for part in ast.walk(annotation):
            if isinstance(part, ast.Name):
                yield name, part.id
                yield name.removesuffix("s"), part.id


def test_every_field_of_the_settings_is_read_outside_its_schema() -> None:
    declared = {module: set(annotated(module)) for module in module_files()}
    anywhere = set().union(*declared.values())
    used = set()
    for read in reads():
        here = {cls for name, cls in declared[read.module] if name == read.called}
        # A part of something, or what is not declared here, was declared where it came from.
        there = {cls for name, cls in anywhere if name == read.called}
        for cls in here if here and not read.is_part else there:
            if read.within != cls:  # to validate a setting is no use of it
                used.add((cls, read.field))
    fields = [
        (cls, field)
        for cls in schemas()
        if not issubclass(cls, LEAVES)
        for field in cls.model_fields
    ]
    unused = [
        f"{cls.__name__}.{field}"
        for cls, field in fields
        if not any((ancestor.__name__, field) in used for ancestor in cls.__mro__)
    ]
    assert len(fields) > 55
    assert unused == [], unused


def test_every_field_of_a_leaf_class_is_read_by_it() -> None:
    found = set(reads())
    # What is too long for one method hands the object on as `spec`.
    handed_on = {(read.module, read.field) for read in found if read.called == "spec"}
    unused, number = [], 0
    for cls in schemas():
        if not issubclass(cls, LEAVES):
            continue
        lines = [ancestor.__name__ for ancestor in cls.__mro__]
        for field in cls.model_fields:
            number += 1
            own = any(Read(module_of(cls), name, "self", False, field) in found for name in lines)
            if not own and (module_of(cls), field) not in handed_on:
                unused.append((cls.__name__, field))
    assert number > 45
    assert unused == []


def test_no_schema_has_a_default() -> None:
    # A value is written once, in a yaml; keys of some data sets alone are in no other's.
    of_some_sets = {"path", "test_path", "x", "y", "image_size", "channels", "split"}
    defaults = [
        (cls.__name__, name)
        for cls in schemas()
        for name, field in cls.model_fields.items()
        if not field.is_required()
    ]
    assert defaults == [("DataConfig", name) for _, name in defaults if name in of_some_sets]


def test_typed_settings_cannot_be_changed() -> None:
    experiment = make_experiment()
    for part in (experiment.settings.trainer, experiment.optimizer, experiment.scheduler):
        name = next(iter(type(part).model_fields))
        with pytest.raises(ValueError, match="frozen"):
            setattr(part, name, 1)
