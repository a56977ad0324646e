"""Opens the study of a command, and has it grow where the command searches more than it has."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from mnist_sweep.errors import UserError
from mnist_sweep.paths import RESULTS_TABLE
from mnist_sweep.runs.provenance import code_of
from mnist_sweep.runs.table import last_trials
from mnist_sweep.search.points.candidate import Candidates
from mnist_sweep.search.points.growth import Grower, Growth, holds
from mnist_sweep.search.points.wording import shown
from mnist_sweep.search.settings import SearchSettings
from mnist_sweep.search.study.attributes import CHANGES, SETTINGS
from mnist_sweep.search.study.journal import ReplacedError
from mnist_sweep.search.study.opening import (
    as_stored,
    attributes_of,
    check_directions,
    check_same,
    in_common,
    note_shared,
    open_study,
    settings_of_study,
)
from mnist_sweep.search.study.origin import Origin, check_origin, note_origin
from mnist_sweep.search.study.rewriting import Rewriting, check_idle, rewrite
from mnist_sweep.search.study.storage import open_storage
from mnist_sweep.search.study.wholeness import check_whole

ATTEMPTS = 20
"""At a study that other commands change at the same time."""

OF_ANY_RANGE = ("TPESampler", "RandomSampler", "GridSampler")
"""Samplers that take trials outside the range that is searched now."""

OF_ONE_SPACE = ("CmaEsSampler",)
"""Those that keep the space with what they have learnt."""


@dataclass(frozen=True)
class Opened:
    study: Study
    storage: BaseStorage
    candidates: Candidates
    """Of the study's space, which has all that the command asks for."""


def open_to_go_on(
    name: str, settings: SearchSettings, sweep_dir: Path, candidates: Candidates
) -> Opened:
    """candidates: of the command's own space.

    Raises:
        UserError: the study is another one, was cut short, or cannot take the command's space in.
    """
    for _ in range(ATTEMPTS):
        recorded = last_trials(sweep_dir / RESULTS_TABLE).get(name, -1)
        storage = open_storage(settings.storage, sweep_dir)
        study = open_study(name, storage, settings)
        before = study.user_attrs.get(SETTINGS)
        growth = _growth(study, settings, candidates)
        its = candidates if growth is None else candidates.over(growth.now)
        try:
            _check(study, settings, growth, its)
            check_whole(study, recorded)
            if not growth:
                note_shared(study, _shared(settings, its))
                return Opened(study, storage, its)
            _grow(study, settings, sweep_dir, growth, its, before)
        except ReplacedError:
            continue
    raise UserError(
        f"hydra.sweeper.study_name={name}: other commands change the study all the time: give the "
        "command again"
    )


@dataclass(frozen=True)
class Outlook:
    """A study as `open_to_go_on` would have it."""

    candidates: Candidates
    trials: list[FrozenTrial]
    doubt: str | None = None
    """What there is to say of what its trials were made with."""


def outlook(study: Study, settings: SearchSettings, candidates: Candidates) -> Outlook:
    """Writes nothing.

    Raises:
        UserError: as `open_to_go_on`.
    """
    check_directions(study, settings)
    growth = _growth(study, settings, candidates)
    its = candidates if growth is None else candidates.over(growth.now)
    _check(study, settings, growth, its)
    before = its.over(growth.before) if growth else its
    doubt = check_origin(study, _origin(settings, before), mixed=settings.mixed_code)
    trials = study.get_trials(deepcopy=False)
    if growth:
        check_idle(study, settings.lease_s)
        trials = list(map(_rewriting(growth, None, lambda study: {}).of, trials))
    return Outlook(its, trials, doubt)


def _check(study: Study, settings: SearchSettings, growth: Growth | None, its: Candidates) -> None:
    """
    Raises:
        UserError: the command differs in more than what it searches.
    """
    if not growth:
        check_same(study, _shared(settings, its))
        return
    _check_sampler(study, settings, growth)
    check_same(study, _shared(settings, its.over(growth.before)))


def used_by(settings: SearchSettings, candidates: Candidates) -> list[Any]:
    """Configs of plain values, with all classes that the search names."""
    space_maker = {"_target_": settings.custom_search_space or ""}
    return [space_maker, settings.sampler, candidates.base, *candidates.samples()]


def _shared(settings: SearchSettings, candidates: Candidates) -> dict[str, Any]:
    return in_common(settings, candidates.base, candidates.space.describe())


def _growth(study: Study, settings: SearchSettings, candidates: Candidates) -> Growth | None:
    """None of a new study, and where the command searches what the study does."""
    before = settings_of_study(study)
    if before is None or before == as_stored(_shared(settings, candidates)):
        return None

    def shared(config: Mapping[str, Any], searched: Mapping[str, str]) -> dict[str, Any]:
        return as_stored(in_common(settings, config, searched))

    own, composer = candidates.space, candidates.composer
    return Grower(own, composer, shared, is_grid=settings.is_grid).grow(before)


def _check_sampler(study: Study, settings: SearchSettings, growth: Growth) -> None:
    """
    Raises:
        UserError: it cannot learn from the trials that are there.
    """
    sampler = str(settings.sampler.get("_target_")).rpartition(".")[2]
    trials = study.get_trials(deepcopy=False)
    elsewhere = "use hydra/sweeper/sampler=tpe_multivariate, or give the study another name"
    if sampler in OF_ONE_SPACE and trials:
        key = next(iter({**growth.changed, **growth.added}))
        raise UserError(
            f"{key} is searched over something else now, and {sampler} keeps the space that it "
            f"began with: {elsewhere}"
        )
    if sampler in OF_ANY_RANGE:
        return
    for name, distribution in growth.changed.items():
        if isinstance(distribution, CategoricalDistribution):
            continue
        out = sum(name in t.params and not holds(distribution, t.params[name]) for t in trials)
        if out:
            raise UserError(
                f"{name} is {shown(distribution)} now, {out} of the study's trials lie outside of "
                f"that, and {sampler} needs one range for all: {elsewhere}"
            )


def _grow(
    study: Study,
    settings: SearchSettings,
    sweep_dir: Path,
    growth: Growth,
    now: Candidates,
    known: Any,
) -> None:
    """known: what the commands on the study have in common, as this one found it.

    Raises:
        UserError: somebody works on it.
    """
    before = now.over(growth.before)
    note_origin(study, _origin(settings, before), mixed=settings.mixed_code)
    origin = _origin(settings, now)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    changes = [
        {"when": when, "key": key, "from": was, "to": is_} for key, was, is_ in growth.changes()
    ]

    def attributes(study: Study) -> dict[str, Any]:
        so_far = study.user_attrs.get(CHANGES, [])
        own = attributes_of(_shared(settings, now))
        return {**own, CHANGES: [*so_far, *changes], origin.key: asdict(origin)}

    rewriting = _rewriting(growth, known, attributes)
    rewrite(study, settings.storage, sweep_dir, settings.lease_s, rewriting)


def _origin(settings: SearchSettings, candidates: Candidates) -> Origin:
    return Origin.of(code_of(used_by(settings, candidates)), candidates.choices())


def _rewriting(
    growth: Growth, known: Any, attributes: Callable[[Study], Mapping[str, Any]]
) -> Rewriting:
    return Rewriting(known, growth.changed, growth.added, holds, growth.now.exists, attributes)
