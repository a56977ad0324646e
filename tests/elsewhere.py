"""Workers that see neither the directory of a search nor the folder that it was started in."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from mnist_sweep.paths import INVITATION
from tests.conftest import environment

HIDING = ("unshare", "--map-root-user", "--mount", "sh", "-c")
"""A name space of mounts, in which a command may put an empty folder over another one."""


@cache
def can_hide() -> bool:
    try:
        done = subprocess.run([*HIDING, "mount -t tmpfs none /mnt"], capture_output=True)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def without(folder: Path, *command: str) -> list[str]:
    """The command, as it is where the folder is another one, and empty."""
    script = 'mount -t tmpfs none "$0" && cd . && exec "$@"'
    return [*HIDING, script, str(folder), *command]


def start_elsewhere(
    hidden: Path, sweep_dir: Path, home: Path, **extra: str
) -> "subprocess.Popen[bytes]":
    """A worker with a copy of the invitation alone. hidden: that it does not see. Where the kernel
    hides nothing, the invitation is taken away, by which workers know the sweep's directory."""
    home.mkdir(exist_ok=True)
    copy = home / "invitation.json"
    if not copy.exists():
        shutil.copy(sweep_dir / INVITATION, copy)
        copy.chmod(0o600)
    command = [sys.executable, "-m", "mnist_sweep.sweep", "join", "--invitation", str(copy)]
    if can_hide():
        command = without(hidden, *command)
    else:
        (sweep_dir / INVITATION).unlink(missing_ok=True)
    return subprocess.Popen(
        command,
        cwd=home,
        env=environment(PYTHONPATH=os.environ.get("PYTHONPATH", ""), **extra),
        stdout=(home / "worker.txt").open("a"),
        stderr=subprocess.STDOUT,
    )
