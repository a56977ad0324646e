"""Racing over seeds against fixed replicates: runs spent, and how often the best one is dropped.

    python benchmarks/racing.py [--searches 200] [--measured benchmarks/racing.csv]
    python benchmarks/racing.py --measure FOLDER     # makes such a file: minutes of training

Searches are simulated: configurations come one after another, as in `hydra.sweeper.replicates=
{max: 5, race: true}` with one worker, and each is tested by the search's own code. A value is a
configuration's mean, the seed's effect, and normal noise, rounded to whole images of 10,000. With
--measured the values are drawn from a table instead (column `config`, then one a seed), as trained.

Printed are runs a configuration; how often the truly best one was dropped, and chosen; and by how
much the chosen one is truly worse than the best, in standard deviations of the noise.
"""

import argparse
import csv
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from mnist_sweep.search.trials.racing import ALPHA, Values, lag, noise

SEEDS = 5
IMAGES = 10_000

IsOut = Callable[[Values, Sequence[Values]], bool]


class Kind(NamedTuple):
    """What the configurations of a search are like, in standard deviations of the noise."""

    number: int
    """Of configurations."""
    spread: float
    """Standard deviation of their means."""
    tail: bool = False
    """Whether most are good and a few very bad, whose noise grows with their error, as in real
    searches; else they are normal, and vary alike."""
    seed_effect: float = 1.2
    """Standard deviation of what a seed does to all alike: as measured."""


KINDS = {
    "long tail": Kind(100, 10.0, tail=True),
    "wide: means spread by 5 sd": Kind(100, 5.0),
    "20, wide": Kind(20, 5.0),
    "close: by 1 sd": Kind(100, 1.0),
    "close, seeds do nothing to all alike": Kind(100, 1.0, seed_effect=0.0),
    "hardly different: by 0.2 sd": Kind(100, 0.2),
}

SD = 0.0017
"""Of the noise, in accuracy: as measured with --measure, of the recipes near the best one."""


def simulated(kind: Kind, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """True means (N,) and values (N, SEEDS) in the order in which they come up."""
    if kind.tail:
        means = 0.98 - SD * rng.exponential(kind.spread, kind.number)
    else:
        means = 0.97 + SD * rng.normal(0, kind.spread, kind.number)
    scale = SD * ((1 - means) / 0.02 if kind.tail else np.ones(kind.number))
    seeds = SD * rng.normal(0, kind.seed_effect, SEEDS)
    values = means[:, None] + seeds + scale[:, None] * rng.normal(size=(kind.number, SEEDS))
    return means, np.minimum(np.round(values * IMAGES) / IMAGES, 1.0)


def drawn(table: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same of a table (configurations, seeds): some of its seeds, in a new order."""
    order = rng.permutation(len(table))
    seeds = rng.choice(table.shape[1], SEEDS, replace=False)
    return table[order].mean(axis=1), table[order][:, seeds]


def by_race(values: Values, rivals: Sequence[Values]) -> bool:
    behind = lag(values, rivals, SEEDS)
    return behind is not None and behind.is_out


def _leader(rivals: Sequence[Values]) -> Values | None:
    whole = [rival for rival in rivals if len(rival) == SEEDS]
    return max(whole, key=np.mean, default=None)


def by_race_without_rivals(values: Values, rivals: Sequence[Values]) -> bool:
    """As if the best one had not been chosen for its luck."""
    leader = _leader(rivals)
    sd, freedom = noise([*rivals, values])
    if leader is None or freedom == 0:
        return False
    bound = stdtrit(freedom, 1 - ALPHA / (SEEDS - 1)) * sd * math.sqrt(2 / len(values))
    return bool(np.mean(leader[: len(values)]) - np.mean(values) > bound)


def by_own_noise(values: Values, rivals: Sequence[Values]) -> bool:
    """Student's paired test on the two alone, at the race's level."""
    leader, n = _leader(rivals), len(values)
    if leader is None or n < 2:
        return False
    differences = np.subtract(leader[:n], values)
    level = ALPHA / ((SEEDS - 1) * sum(len(rival) == SEEDS for rival in rivals))
    bound = stdtrit(n - 1, 1 - level) * differences.std(ddof=1) / math.sqrt(n)
    return bool(differences.mean() > bound > 0)


def by_bernstein(values: Values, rivals: Sequence[Values]) -> bool:
    """Empirical Bernstein race (Mnih et al. 2008), which asks for no normal noise; the range of a
    difference is taken for 0.02, without which it could drop nothing at all."""
    leader, n = _leader(rivals), len(values)
    if leader is None or n < 2:
        return False
    differences = np.subtract(leader[:n], values)
    log = math.log(3 * (SEEDS - 1) * sum(len(rival) == SEEDS for rival in rivals) / ALPHA)
    bound = differences.std() * math.sqrt(2 * log / n) + 3 * 0.02 * log / n
    return bool(differences.mean() > bound)


RACES: dict[str, IsOut] = {
    "race": by_race,
    "level without rivals": by_race_without_rivals,
    "its own noise alone": by_own_noise,
    "empirical Bernstein": by_bernstein,
}


class Found(NamedTuple):
    runs: int
    is_dropped: bool
    """Whether the best, or all that are as good, were."""
    chosen: int


def raced(values: np.ndarray, best: np.ndarray, is_out: IsOut) -> Found:
    """best: (N,), which are the truly best."""
    rivals: list[list[float]] = []
    for row in values.tolist():
        n = 1
        while n < SEEDS and not is_out(row[:n], rivals):
            n += 1
        rivals.append(row[:n])
    whole = [place for place, rival in enumerate(rivals) if len(rival) == SEEDS]
    chosen = max(whole, key=lambda place: values[place].mean())
    return Found(sum(map(len, rivals)), not best[whole].any(), chosen)


def fixed(values: np.ndarray, n: int) -> Found:
    return Found(values[:, :n].size, False, int(values[:, :n].mean(axis=1).argmax()))


def halved(values: np.ndarray, best: np.ndarray) -> Found:
    """Successive halving: all at once, and after each seed the better half gets another."""
    left, runs = np.arange(len(values)), 0
    for n in range(1, SEEDS + 1):
        runs += len(left)
        order = np.argsort(-values[left, :n].mean(axis=1), kind="stable")
        left = left[order] if n == SEEDS else left[order][: max(1, len(left) // 2)]
    return Found(runs, not best[left].any(), int(left[0]))


def compare(draw: Callable[[], tuple[np.ndarray, np.ndarray]], searches: int, sd: float) -> None:
    found: dict[str, list[tuple[Found, bool, float, int]]] = {}
    for _ in range(searches):
        means, values = draw()
        best = means == means.max()
        results = {name: raced(values, best, is_out) for name, is_out in RACES.items()}
        results["halving, all known at once"] = halved(values, best)
        results |= {f"{n} seeds for each": fixed(values, n) for n in range(1, SEEDS + 1)}
        for name, result in results.items():
            loss = float(means.max() - means[result.chosen]) / sd
            found.setdefault(name, []).append((result, bool(best[result.chosen]), loss, len(means)))
    print(f"  {'':28}{'runs each':>10}{'dropped':>9}{'chosen':>8}{'loss, sd':>10}", flush=True)
    for name, rows in found.items():
        runs = float(np.mean([result.runs / number for result, _, _, number in rows]))
        dropped = float(np.mean([result.is_dropped for result, _, _, _ in rows]))
        chosen, loss = (float(np.mean([row[place] for row in rows])) for place in (1, 2))
        print(f"  {name:28}{runs:10.2f}{dropped:9.1%}{chosen:8.1%}{loss:10.3f}", flush=True)


def measure(folder: Path) -> None:
    """Trains 14 recipes of a small net, ten seeds each, and leaves their accuracies."""
    subprocess.run(
        [
            *(sys.executable, "-m", "mnist_sweep", "-m", "hydra/sweeper=search"),
            *("model=ds_cnn_v3_code", "data=mnist", "trainer.epochs=2", "trainer.limit_train=3000"),
            *("trainer.limit_test=100", "hydra.sweeper.replicates=10", "hydra.sweeper.n_jobs=1"),
            *("hydra.sweeper.study_name=seeds", "hydra/sweeper/sampler=random"),
            *("hydra.sweeper.sampler.seed=0", "hydra.sweeper.n_trials=14"),
            "optimizer.lr=tag(log,interval(0.005,0.1))",
            "optimizer.weight_decay=tag(log,interval(0.001,0.1))",
            "trainer.label_smoothing=interval(0,0.1)",
            "trainer.batch_size=choice(32,64)",
        ],
        cwd=folder,
        check=True,
    )
    runs = pd.read_csv(folder / "multirun" / "seeds" / "results.csv")
    wide = runs[runs.status == "completed"].pivot(index="trial", columns="seed", values="val_acc")
    wide.rename_axis("config").to_csv(folder / "seeds.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--measured", type=Path)
    parser.add_argument("--measure", type=Path)
    options = parser.parse_args()
    if options.measure is not None:
        measure(options.measure)
        return
    rng = np.random.default_rng(0)
    if options.measured is not None:
        with options.measured.open() as file:
            rows = [row[1:] for row in csv.reader(file)][1:]
        table = np.array(rows, dtype=float)
        good = table[np.argsort(-table.mean(axis=1))[: len(table) // 2]]
        sd, _ = noise(good.tolist())
        alone = math.sqrt(good.var(axis=1, ddof=1).mean())
        print(
            f"{len(table)} configurations, {table.shape[1]} seeds; of the better half the sd over"
        )
        print(f"seeds is {alone:.5f}, and {sd:.5f} without what a seed does to all alike")
        compare(partial(drawn, table, rng), options.searches, sd)
        return
    for name, kind in KINDS.items():
        print(f"{name} ({kind.number} configurations)", flush=True)
        compare(partial(simulated, kind, rng), options.searches, SD)


if __name__ == "__main__":
    main()
