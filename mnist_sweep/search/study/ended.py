"""Why a search ended, kept in its study for who asks later."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from optuna.exceptions import StorageInternalError
from optuna.study import Study

ENDED = "ended"
"""Attribute of the study; empty while a search is under way, or was killed."""


@dataclass(frozen=True)
class End:
    why: str
    at: str
    """ISO 8601, UTC."""


def note_begin(study: Study) -> None:
    if study.user_attrs.get(ENDED):
        study.set_user_attr(ENDED, None)


def note_end(study: Study, why: str) -> None:
    """Of several controllers that end, the last one's reason stands."""
    end = End(why, datetime.now(UTC).isoformat(timespec="seconds"))
    with suppress(StorageInternalError, OSError):  # the search itself has come to its end
        study.set_user_attr(ENDED, asdict(end))


def last_end(study: Study) -> End | None:
    """None where the last search was killed, or still runs; nor did earlier versions say."""
    noted = study.user_attrs.get(ENDED)
    return End(**noted) if noted else None
