"""Looks at a study that may be there, and writes nothing."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study

from mnist_sweep.errors import UserError
from mnist_sweep.paths import JOURNAL
from mnist_sweep.search.study.database import is_optunas
from mnist_sweep.search.study.storage import KEY, PROXY, check_journal, open_remote, open_storage


@contextmanager
def study_there(name: str, url: str | None, sweep_dir: Path) -> Iterator[Study | None]:
    """The study that `open_study` would open; None if that would make it. url: of the storage.

    Raises:
        UserError: as `open_storage`.
    """
    if url is not None:
        is_there = url.lower().startswith(PROXY) or is_optunas(url, KEY)
        yield _find(open_remote(url, KEY), name) if is_there else None
        return
    journal = sweep_dir / JOURNAL
    check_journal(journal)
    if not journal.exists():
        yield None
        return
    with tempfile.TemporaryDirectory() as copy:
        shutil.copyfile(journal, Path(copy) / JOURNAL)
        try:
            study = _find(open_storage(None, Path(copy)), name)
        except UserError as error:
            raise UserError(str(error).replace(copy, str(sweep_dir))) from error
        yield study


def _find(storage: BaseStorage, name: str) -> Study | None:
    if name not in [study.study_name for study in storage.get_all_studies()]:
        return None
    return optuna.load_study(study_name=name, storage=storage)
