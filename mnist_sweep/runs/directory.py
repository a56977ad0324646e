"""Whose a run directory is: one run's, from its start on; no other may write over what it left."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mnist_sweep.config import NotIn, resolved
from mnist_sweep.errors import UserError
from mnist_sweep.identity import differing, keys
from mnist_sweep.locks import alone_in, has_someone_in
from mnist_sweep.paths import RESULT
from mnist_sweep.runs.record import read_result
from mnist_sweep.runs.saved import read_config

CUT_SHORT = ("interrupted", "failed")
"""How a run may have ended that its own command may begin anew."""


@contextmanager
def held(run_dir: Path) -> Iterator[None]:
    """The directory is this process's as long as it is open; it is given back however that ends.

    Raises:
        UserError: another process trains there.
    """
    with alone_in(run_dir) as is_alone:
        if not is_alone:
            raise _under_way(run_dir)
        yield


def check_free(run_dir: Path, config: Mapping[str, Any] | None = None) -> None:
    """Before anything is written there. config: of the run that is to begin, resolved; the run that
    is there may be begun anew by its own config, where it was cut short.

    Raises:
        UserError: the directory is another run's, or that of a run that came to its end.
    """
    if has_someone_in(run_dir):
        raise _under_way(run_dir)
    if not (run_dir / RESULT).exists():  # no more than the rest of a run that has no row
        return
    try:
        record = read_result(run_dir)
    except UserError:
        raise UserError(
            f"{run_dir} holds a run whose {RESULT} is damaged: {_elsewhere(run_dir)}"
        ) from None
    if record.status in CUT_SHORT and config is not None and _is_same(run_dir, config):
        return
    raise UserError(
        f"{run_dir} holds the run {record.run_id} ({record.status}), whose row another run would "
        f"take: {_elsewhere(run_dir)}"
    )


def _is_same(run_dir: Path, config: Mapping[str, Any]) -> bool:
    try:
        before = resolved(read_config(run_dir))
    except Exception:  # yaml, omegaconf, encoding: each raises its own
        return False
    return not differing(before, config, keys(NotIn.RESULT))


def _elsewhere(run_dir: Path) -> str:
    return (
        "give another hydra.run.dir (of a sweep: hydra.sweep.dir); a run that was cut short goes "
        f"on by resume={run_dir}"
    )


def _under_way(run_dir: Path) -> UserError:
    return UserError(
        f"{run_dir}: a run is under way there; let it end (resume={run_dir} goes on with one that "
        "was cut short), or give another hydra.run.dir (of a sweep: hydra.sweep.dir)"
    )
