"""Ends a search, or one of its trials, wherever its controllers are."""

from optuna.trial import TrialState

from mnist_sweep.errors import UserError
from mnist_sweep.report.read.reaching import Search
from mnist_sweep.search.study.requests import ask_to_stop, ask_to_stop_trial


def stop(search: Search, *, now: bool, trial: int | None) -> None:
    """
    Raises:
        UserError: there is no such trial under way.
    """
    running = [t.number for t in search.study.get_trials(states=[TrialState.RUNNING])]
    if trial is not None:
        if trial not in running:
            listed = f"under way are {', '.join(map(str, running))}" if running else "none is"
            raise UserError(f"--trial={trial}: is not under way; {listed}")
        ask_to_stop_trial(search.study, trial)
        print(f"asked   trial {trial} ends after its epoch, as pruned")
        return
    at_work = search.leases.at_work()
    for controller in at_work:
        ask_to_stop(search.study, controller, "now" if now else "after_running")
    if not at_work:
        print("nobody is at work on this search; the same command goes on with it")
        return
    what = "stops what runs, to be tried again" if now else "finishes what runs"
    who = "its controller" if len(at_work) == 1 else f"each of its {len(at_work)} controllers"
    print(f"asked   {who} {what}, and ends ({len(running)} running)")
