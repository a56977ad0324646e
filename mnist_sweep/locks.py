"""Locks of files that several processes write: the kernel's, or a link on a network file system.

Over a network the kernel's locks let several through on many servers, and say nothing of it. There
a link is made beside the file, by Optuna's lock, which only one can make; whoever holds it shows
every few seconds that it lives, and one that was killed blocks others for `EXPIRY_S`, no longer.
"""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import psutil
from filelock import FileLock

from mnist_sweep.errors import UserError

VARIABLE = "MNIST_SWEEP_LOCK"
"""`link` in it takes every file system for one of a network."""

OVER_NETWORK = (
    *("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "9p", "virtiofs"),
    *("lustre", "gpfs", "beegfs", "ceph", "glusterfs", "pvfs2", "orangefs", "panfs", "wekafs"),
    *("afs", "coda", "ocfs2", "gfs2", "vboxsf", "prl_fs"),
)
"""Types of file systems; all of FUSE's count as well, but for those of a local disk."""

OF_LOCAL_FUSE = ("fuse.ntfs-3g", "fuse.mergerfs", "fuse.exfat", "fuse.overlayfs", "fuseblk")

EXPIRY_S = 30

POLL_S = 0.002  # an append takes about 4 ms


def network_file_system(path: Path) -> str | None:
    """The type of the one that a path is on; None where it is on a disk of this machine. The path
    need not be there yet."""
    if os.environ.get(VARIABLE) == "link":
        return f"{VARIABLE}=link"
    place = path.absolute()
    while not place.exists():
        place = place.parent
    place = place.resolve()
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    for folder in (place, *place.parents):
        if (kind := mounts.get(folder)) is not None:
            is_fuse = kind.startswith("fuse") and kind not in OF_LOCAL_FUSE
            return kind if kind in OVER_NETWORK or is_fuse else None
    return None


class Lock:
    """`with lock():`, also within another one of the same process's, and from several threads."""

    def __init__(self, path: Path) -> None:
        """path: of the lock, a file that this makes."""
        self.path = path
        is_local = network_file_system(path) is None
        self.inner: FileLock | _Link = FileLock(path) if is_local else _Link(path)

    def __call__(self) -> AbstractContextManager[object]:
        if isinstance(self.inner, FileLock):
            return self.inner.acquire(poll_interval=POLL_S)
        return self.inner.held()


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """`with` it: whether no other process is in the folder so. If none is, none gets in meanwhile.

    Raises:
        OSError: it is not there, or not to be looked into.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        if network_file_system(folder) is None:
            yield _locks(handle)
        else:
            with _Link(folder / ".lock").attempt() as is_alone:
                yield is_alone
    finally:
        os.close(handle)


def has_someone_in(folder: Path) -> bool:
    """Whether a process is there by `alone_in`; looking changes nothing."""
    try:
        if network_file_system(folder) is not None:
            return _Link(folder / ".lock").has_holder()
        with alone_in(folder) as is_alone:
            return not is_alone
    except OSError:
        return False


def _locks(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that knows no locks
        pass
    return True


class _Link:
    def __init__(self, path: Path) -> None:
        # Here: few need it, and it takes its time.
        from optuna.storages.journal import JournalFileSymlinkLock

        self.path = path
        self.link = JournalFileSymlinkLock(str(path), EXPIRY_S)
        self.link_path = Path(f"{path}.lock")  # Optuna's name for it
        self.mine = threading.RLock()
        self.depth = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        with self.mine:
            if self.depth == 0:
                self._acquire()
            self.depth += 1
            try:
                yield
            finally:
                self.depth -= 1
                if self.depth == 0:
                    self._release()

    @contextmanager
    def attempt(self) -> Iterator[bool]:
        """Whether it was got, which is known when a holder showed that it lives, or did not for so
        long that it is dead."""
        if self.has_holder():
            yield False
            return
        with suppress(RuntimeError):  # there is none
            self.link.release()
        self.path.touch()
        try:
            os.symlink(self.path, self.link_path)
        except FileExistsError:  # another one was faster
            yield False
            return
        except OSError as error:
            self._explain(error)
        self._begin_to_live()
        try:
            yield True
        finally:
            self._release()

    def has_holder(self) -> bool:
        deadline = time.monotonic() + EXPIRY_S
        seen = None
        while time.monotonic() < deadline and self.link_path.is_symlink():
            with suppress(OSError):  # it is just being released
                last = self.path.stat().st_mtime_ns
                if seen not in (None, last):
                    return True
                seen = last
            time.sleep(EXPIRY_S / 30)
        return False

    def _acquire(self) -> None:
        """
        Raises:
            UserError: the file system knows no links.
        """
        self.path.touch()  # Optuna's lock looks at its age
        try:
            self.link.acquire()
        except OSError as error:
            self._explain(error)
        self._begin_to_live()

    def _explain(self, error: OSError) -> NoReturn:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise error
        raise UserError(
            f"{self.path.parent} is on a network file system "
            f"({network_file_system(self.path)}) without links, so nothing there can be "
            "locked: set record.table and hydra.sweep.dir to places on another one"
        ) from error

    def _begin_to_live(self) -> None:
        self.released = threading.Event()
        threading.Thread(target=self._live, args=(self.released,), daemon=True).start()

    def _live(self, released: threading.Event) -> None:
        while not released.wait(EXPIRY_S / 6):
            with suppress(OSError):  # its folder may have been removed, or not be reached just now
                os.utime(self.path)

    def _release(self) -> None:
        self.released.set()
        with suppress(RuntimeError):  # this process was asleep, and taken for dead
            self.link.release()
