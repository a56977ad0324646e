"""Whether a study is still all that it was."""

from optuna.study import Study

from mnist_sweep.errors import UserError


def check_whole(study: Study, last: int) -> None:
    """last: the largest number of its trials in the search's table, as that was before the study
    was read; -1 where there is none.

    Raises:
        UserError: the study lacks trials that have rows, whose numbers others would get.
    """
    known = len(study.get_trials(deepcopy=False))
    if last >= known:
        raise UserError(
            f"hydra.sweeper.storage: the study {study.study_name} has {known} trials, and the "
            f"search's table has trial {last}: the study was cut short or replaced; put the whole "
            "one back, or begin a new one with another hydra.sweeper.study_name"
        )
