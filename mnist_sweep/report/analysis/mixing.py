"""Studies whose runs were made with several versions of the code, and so compare less well."""

from collections.abc import Iterator

import pandas as pd

from mnist_sweep.report.wording import counted


def mixed_studies(runs: pd.DataFrame) -> Iterator[str]:
    """A line for each."""
    of_studies = runs[runs.study.notna() & (runs.code.notna() | runs.git_commit.notna())]
    by_study = of_studies.groupby("study")[["code", "git_commit"]].nunique()
    for study in by_study.index[(by_study > 1).any(axis=1)]:
        own = of_studies[of_studies.study == study]
        changed = own.git_dirty.fillna(False).map({True: " (changed)", False: ""})
        commit = (", commit " + own.git_commit.str[:10] + changed.astype("string")).fillna("")
        counts = ("code " + own.code.fillna("not recorded") + commit).value_counts(sort=False)
        listed = "; ".join(f"{name}: {counted(n, 'run')}" for name, n in counts.items())
        yield f"study {study} mixes code: {listed}"
