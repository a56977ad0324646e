"""When a run began, for how long it ran, and where, also of one that was cut short."""

import csv
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from mnist_sweep.errors import UserError
from mnist_sweep.paths import RESULT, SO_FAR
from mnist_sweep.runs.history import read_history
from mnist_sweep.runs.record import read_result


@dataclass(frozen=True)
class SoFar:
    """started: as in the record; None where that is not known. seconds: of all processes of the run
    that have ended. host, gpu: of the last one."""

    started: str | None = None
    seconds: float = 0.0
    host: str | None = None
    gpu: str | None = None

    @classmethod
    def of(cls, run_dir: Path) -> "SoFar":
        """As the run's processes left it: in result.json where they were told to stop, from one
        epoch to the next where they were killed; earlier versions left the epochs alone."""
        found = [cls()]
        with suppress(OSError, ValueError, KeyError, TypeError):
            left = json.loads((run_dir / SO_FAR).read_text())
            place = (str(left[name]) if left.get(name) else None for name in ("host", "gpu"))
            found.append(cls(str(left["started"]), float(left["seconds"]), *place))
        if (run_dir / RESULT).exists():
            with suppress(UserError):
                record = read_result(run_dir)
                seconds = record.seconds or 0.0
                found.append(cls(record.started, seconds, record.host, record.gpu))
        with suppress(OSError, ValueError, KeyError, TypeError, csv.Error):
            found.append(cls(None, sum(metrics.seconds for metrics in read_history(run_dir))))
        started = [so_far.started for so_far in found if so_far.started]
        seconds = max(so_far.seconds for so_far in found)
        last = next((so_far for so_far in found if so_far.host), cls())
        return cls(min(started, default=None), seconds, last.host, last.gpu)

    def note(self, run_dir: Path) -> None:
        (run_dir / SO_FAR).write_text(json.dumps(asdict(self)))
