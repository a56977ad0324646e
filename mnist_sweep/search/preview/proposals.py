"""The points that a search would try next, chosen on a copy of its study in memory."""

import time
from dataclasses import dataclass

import optuna
from optuna.study import Study

from mnist_sweep.search.growing import Outlook
from mnist_sweep.search.planning import Plan
from mnist_sweep.search.points.proposing import Accepted, Rejected
from mnist_sweep.search.points.taken_over import WarmStart, note_taken_over
from mnist_sweep.search.readying import make_ready
from mnist_sweep.search.study.ledger import Ledger

COUNT = 10


@dataclass(frozen=True)
class Proposals:
    points: list[Accepted]
    """Of trials that would be trained."""
    rejected: int
    """Points refused on the way, which do not fit the budget or are no net."""
    seconds_each: float
    """That an accepted one took, the refused ones before it included."""
    n_trials: int
    """That the study is to have in all."""


def propose(plan: Plan, study: Study | None, seen: Outlook, new: WarmStart | None) -> Proposals:
    """study: as it is there, and seen: as it would be gone on with; it is not touched. new: what
    the command adds from elsewhere.

    Raises:
        UserError: as the search would, where it finds no point that fits.
    """
    copied = optuna.create_study(study_name=plan.name, directions=list(plan.settings.direction))
    if study is not None:
        copied.add_trials(seen.trials)
        for key, value in study.user_attrs.items():
            copied.set_user_attr(key, value)
    if new is not None:
        note_taken_over(copied, new)
    ledger = Ledger(copied, plan.settings.lease_s, plan.settings.rungs)
    ready = make_ready(plan, ledger, seen.candidates)
    ledger.queue_retries()
    proposer = ready.proposer
    points: list[Accepted] = []
    rejected = 0
    start = time.perf_counter()
    while len(points) < COUNT and (proposal := proposer.propose()) is not None:
        match proposal:
            case Accepted():
                proposal.note()
                points.append(proposal)
            case Rejected():
                rejected += 1
                if proposer.is_exhausted and not points and not ledger.count().finished:
                    raise proposer.nothing_fits(proposal)
    seconds = (time.perf_counter() - start) / max(1, len(points))
    return Proposals(points, rejected, seconds, ready.n_trials)
