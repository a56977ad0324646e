"""A real Slurm of the tests' own: one node, this machine, set up and taken down by a test.

`python -m tests.slurm` sets one up and keeps it until Ctrl-C, for a look by hand. Needs root, and
Debian's packages slurm-wlm and munge.
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.postgres import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")

PATIENCE_S = 60


@dataclass(frozen=True)
class Slurm:
    folder: Path
    environment: dict[str, str]
    """Beyond the process's own, for every command of Slurm's."""

    def call(self, *command: str) -> str:
        return subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        ).stdout

    def states(self) -> list[str]:
        """Of the jobs that there are, such as RUNNING, a word each."""
        return self.call("squeue", "--noheader", "--array", "--format=%T").split()


@contextmanager
def running_slurm(cpus: int = 2) -> Iterator[Slurm]:
    """Skips the test where there is none. cpus: that the node says to have."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if missing:
        pytest.skip(f"no Slurm here ({', '.join(missing)}): Debian's slurm-wlm and munge have it")
    if os.getuid() != 0:
        pytest.skip("only root can start a Slurm")
    folder = Path(tempfile.mkdtemp(prefix="mnist_sweep_slurm_", dir="/tmp"))
    slurm = Slurm(folder, {"PATH": path, "SLURM_CONF": str(folder / "slurm.conf")})
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        folder.chmod(0o755)
        socket_path = _prepare_munge(folder)
        (folder / "slurm.conf").write_text(_settings(folder, socket_path, cpus))
        munge = [
            "runuser",
            "-u",
            "munge",
            "--",
            "munged",
            "--foreground",
            f"--socket={socket_path}",
        ]
        munge += [f"--{kind}-file={folder}/munge/munged.{kind}" for kind in ("log", "pid", "seed")]
        munge += [f"--key-file={folder}/munge/munge.key"]
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
            log = (folder / f"{command[0]}.out").open("wb")
            daemons.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **slurm.environment},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
            if command is munge:
                _wait(socket_path.exists)
        _wait(lambda: "idle" in slurm.call("sinfo", "--noheader", "--format=%t"))
        yield slurm
    finally:
        if len(daemons) > 1:
            subprocess.run(
                ["scancel", "--user=root"], env={**os.environ, **slurm.environment}, timeout=60
            )
            time.sleep(1)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in reversed(daemons):
            daemon.wait(timeout=PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


def _prepare_munge(folder: Path) -> Path:
    """Its key, and the place of its socket."""
    munge = folder / "munge"
    munge.mkdir()
    (munge / "munge.key").write_bytes(secrets.token_bytes(1024))
    (munge / "munge.key").chmod(0o600)
    for path in (munge, munge / "munge.key"):
        shutil.chown(path, "munge", "munge")
    return munge / "munge.socket"


def _settings(folder: Path, munge_socket: Path, cpus: int) -> str:
    host = socket.gethostname()
    for name in ("state", "spool"):
        (folder / name).mkdir()
    return f"""
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={munge_socket},cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ReturnToService=2
JobRequeue=1
KillWait=5
OverTimeLimit=0
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def _wait(is_ready: Callable[[], bool]) -> None:
    start = time.monotonic()
    while True:
        try:
            if is_ready():
                return
        except subprocess.CalledProcessError:
            pass  # it is not there yet
        assert time.monotonic() - start < PATIENCE_S, "Slurm does not start"
        time.sleep(0.2)


if __name__ == "__main__":
    with running_slurm() as found:
        print(f"export SLURM_CONF={found.environment['SLURM_CONF']}")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass
