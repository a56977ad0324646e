"""Optuna's own tests of a storage, of each kind that a study may be kept in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase

from mnist_sweep.search.study.storage import open_remote, open_storage
from tests.served import served

pytestmark = pytest.mark.slow


class Storage(StorageTestCase):
    __test__ = False

    test_pickle_storage = None  # type: ignore[assignment]  # each process opens its own


class TestJournal(Storage):
    __test__ = True

    @pytest.fixture
    def storage(self, tmp_path: Path) -> BaseStorage:
        return open_storage(None, tmp_path)


class TestDatabase(Storage):
    __test__ = True

    @pytest.fixture
    def storage(self, tmp_path: Path) -> BaseStorage:
        return open_remote(f"sqlite:///{tmp_path}/study.db", "--storage")


class TestProxy(Storage):
    __test__ = True

    test_get_all_trials_params_order = None  # type: ignore[assignment]  # protobuf's maps have none

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[BaseStorage]:
        with served(f"sqlite:///{tmp_path}/study.db") as url:
            yield open_remote(url, "--storage")
