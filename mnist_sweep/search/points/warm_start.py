"""What a search takes over from finished runs of elsewhere (`hydra.sweeper.warm_start`).

A run whose configuration is the one that this search would train at its point is as good as a trial
of its own, and told to the sampler. Of one that lies in the space but was trained otherwise (other
data, another protocol, recipe or schedule) the point is worth a try.
"""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution

from mnist_sweep.config import NotIn, unchecked
from mnist_sweep.dominance import non_dominated
from mnist_sweep.errors import UserError
from mnist_sweep.identity import config_hash, differing, flat_config, keys
from mnist_sweep.search.objectives import Objectives
from mnist_sweep.search.points.candidate import Candidates, excess_of
from mnist_sweep.search.points.composer import Composer
from mnist_sweep.search.points.membership import value_in
from mnist_sweep.search.points.past_runs import WARM_START, PastRun, Source, shown_source
from mnist_sweep.search.points.taken_over import Told, WarmStart, has_taken_over
from mnist_sweep.search.points.untried import Key, point_key
from mnist_sweep.search.points.wording import bare_key
from mnist_sweep.search.settings import SearchSettings

MOST_TOLD = 200
"""Points, the best: a sampler goes by the good ones, and the attribute is read often."""

MOST_FIRST = 10
"""Points to try first, and no more than a quarter of all trials."""

LEARNING = ("TPESampler", "GPSampler")
"""Samplers that go by all trials that they see. Others go by trials that they have proposed
(populations), or by none."""

NOT_COMPARED = {*keys(NotIn.STUDY), *keys(NotIn.RESULT)}
"""Keys in which a run may differ and have been trained alike; its seed is among them."""


def warm_start(
    settings: SearchSettings,
    candidates: Candidates,
    objectives: Objectives,
    data: str,
    study: str,
    attrs: Mapping[str, Any],
) -> WarmStart | None:
    """What the command adds to what the study has taken over; None if nothing. data: the set that
    is used here. study: its name. attrs: of the study, so far; empty where it is to be made.

    Raises:
        UserError: the source cannot be read, or none of its runs lies in the space.
    """
    text = settings.warm_start
    if text is None or has_taken_over(attrs, shown_source(text)):
        return None
    if settings.tries_every_point:
        raise UserError(
            f"{WARM_START} does not go with a sampler that tries every point: leave it out, or "
            "use another hydra/sweeper/sampler"
        )
    if candidates.space.extender is not None:
        raise UserError(
            f"{WARM_START} does not go with hydra.sweeper.custom_search_space, whose points cannot "
            "be told from runs: write the space as hydra.sweeper.params, or leave one of them out"
        )
    sorting = Sorting(study, settings, candidates, objectives, data)
    return sorting.sort(Source.named(text))


class _LeftOutError(Exception):
    """The run says nothing of this space; the text says why, as in `12 with another model`."""


@dataclass
class _Found:
    """A run in the space."""

    run: PastRun
    params: dict[str, Any]
    config: Mapping[str, Any] | None
    """Its own; None where that is not known."""
    differs: list[str]
    """Keys in which it was trained otherwise than this search would."""
    at: tuple[int, float] | None = None
    """As of `Told`."""


class Sorting:
    """Sorts runs into those to tell, points to try first, and what is left out."""

    def __init__(
        self,
        study: str,
        settings: SearchSettings,
        candidates: Candidates,
        objectives: Objectives,
        data: str,
    ) -> None:
        """study: its name; runs of its own say nothing new."""
        self.study = study
        self.settings = settings
        self.candidates = candidates
        self.space = candidates.space
        self.names = {bare_key(name): name for name in self.space.distributions}
        self.objectives = objectives
        self.data = data
        self.left_out: Counter[str] = Counter()

    def sort(self, source: Source) -> WarmStart:
        """
        Raises:
            UserError: the source cannot be read, or none of its runs lies in the space.
        """
        runs = source.runs(self.objectives.names)
        alike: defaultdict[Key, list[_Found]] = defaultdict(list)
        others: defaultdict[Key, list[_Found]] = defaultdict(list)
        keys: Counter[str] = Counter()
        for run in runs:
            try:
                found = self._find(run)
            except _LeftOutError as error:
                self.left_out[str(error)] += 1
                continue
            (others if found.differs else alike)[point_key(found.params)].append(found)
            keys.update(found.differs)
        if not alike and not others:
            raise UserError(
                f"{WARM_START}={source.shown}: none of its {len(runs)} runs lies in the space: "
                f"{_counts(self.left_out)}; widen the space, or leave it out"
            )
        told = self._best_first(self._told(found) for found in alike.values())
        worth = self._best_first(
            self._told(found) for point, found in others.items() if point not in alike
        )
        number, seen = sum(map(len, alike.values())), ""
        if not learns(self.settings):
            sampler = str(self.settings.sampler.get("_target_")).rpartition(".")[2]
            seen = f"{number} runs cannot be told to {sampler}; "
            told, worth = [], [*told, *worth]
        first = [one.params for one in worth if one.at is None][: self._most_first]
        texts = []
        if told:
            texts.append(f"{number} runs told to the sampler{_points(len(told), number)}")
        if first:
            why = f" (runs with another {_some(keys)})" if keys else ""
            texts.append(f"{seen}{len(first)} of {len(worth)} points to be tried first{why}")
        if self.left_out:
            total = sum(self.left_out.values())
            texts.append(f"{total} left out: {_counts(self.left_out)}")
        return WarmStart(source.shown, told[:MOST_TOLD], first, "; ".join(texts))

    @property
    def _most_first(self) -> int:
        n_trials = self.settings.n_trials
        return MOST_FIRST if n_trials is None else max(1, min(MOST_FIRST, n_trials // 4))

    def _composer(self, overrides: Sequence[str]) -> Composer:
        """Of the sweep that the run was a part of; a job cannot bring in another sweeper."""
        composer = self.candidates.composer
        sweeps = [o.partition("=")[2] for o in overrides if o.lstrip("+").startswith("sweep=")]
        return composer.of_sweep(sweeps[-1]) if sweeps else composer

    def _find(self, run: PastRun) -> _Found:
        """
        Raises:
            _LeftOutError: it is of no use.
        """
        if run.study == self.study:
            raise _LeftOutError("of this very study")
        if run.status not in ("completed", "pruned"):
            raise _LeftOutError("not finished")
        if run.overrides is None:
            if run.status == "pruned":
                raise _LeftOutError("cut short")
            return _Found(run, self._point(run, {}, {}), None, ["program, or settings unknown"])
        try:
            config, choices = self._composer(run.overrides).task(run.overrides)
        except (UserError, HydraException, OmegaConfBaseException) as error:
            raise _LeftOutError("with keys or choices that are not there today") from error
        params = self._point(run, config, choices)
        candidate = self.candidates.make(params)
        if candidate.reason is not None:
            raise _LeftOutError("over the budget, or no valid net")
        expected = self._really(candidate.config, None)
        config = self._really(config, run.data)
        differs = []
        if run.config_hash is not None and config_hash(config) != run.config_hash:
            differs.append("config file of its time")
        at = self._cut_short(run, config["trainer"]["epochs"])
        if at is not None or self._is_whole(config["trainer"]["epochs"]):
            config = _with(config, "trainer", "epochs", expected["trainer"]["epochs"])
        differs += differing(config, expected, NOT_COMPARED)
        found = _Found(run, params, config, differs, at)
        self._check_measured(found)
        return found

    def _point(
        self, run: PastRun, config: Mapping[str, Any], choices: Mapping[str, Any]
    ) -> dict[str, Any]:
        """
        Raises:
            _LeftOutError: it is not in the space.
        """
        proposed = {bare_key(name): value for name, value in run.proposed.items()}
        flat = flat_config(config)

        def value(name: str, distribution: BaseDistribution) -> Any:
            key = bare_key(name)
            try:
                if key in proposed:
                    return value_in(distribution, proposed[key])
                if self.candidates.composer.is_group(key):
                    return value_in(distribution, choices.get(key, config.get(key)))
                return value_in(distribution, flat[key])
            except KeyError as error:
                raise _LeftOutError(f"without {key}") from error
            except ValueError as error:
                raise _LeftOutError(f"with another {key}") from error

        return self.space.choose(value)

    def _really(self, config: Mapping[str, Any], data: str | None) -> dict[str, Any]:
        """The config with the data set that is meant by it. data: that was used; None: as here."""
        name = config["data"]["name"]
        return _with(config, "data", "name", data or (self.data if name == "auto" else name))

    def _is_whole(self, epochs: int) -> bool:
        """Whether a whole run of so many epochs is a whole trial of a search by rungs."""
        return self.settings.rungs is not None and epochs == self.settings.rungs[-1]

    def _cut_short(self, run: PastRun, epochs: int) -> tuple[int, float] | None:
        """As of `Told`: how far a run came that was pruned, or that of a rung's schedule. epochs:
        of its schedule.

        Raises:
            _LeftOutError: where it was pruned says nothing here.
        """
        is_whole = run.status == "completed" or run.epochs_done == epochs
        rungs, name = self.settings.rungs, self.objectives.names[0]
        if is_whole:
            is_of_rung = rungs is not None and epochs in rungs[:-1]
            return (epochs, run.measured.get(name, math.nan)) if is_of_rung else None
        if rungs is not None or len(self.objectives.names) > 1 or not run.epochs_done:
            raise _LeftOutError("cut short")
        return (run.epochs_done, run.measured.get(name, math.nan))

    def _check_measured(self, found: _Found) -> None:
        """
        Raises:
            _LeftOutError: there is nothing to learn from it.
        """
        if found.differs:
            if found.at is not None:
                raise _LeftOutError(f"cut short, and with another {found.differs[0]}")
            return
        names = self.objectives.names if found.at is None else self.objectives.names[:1]
        for name in names:
            if name not in found.run.measured:
                raise _LeftOutError(f"without a {name}")

    def _told(self, found: Sequence[_Found]) -> Told:
        """Of the runs at one point: the mean of the whole ones, or that which came furthest."""
        whole = [one for one in found if one.at is None]
        first = (whole or found)[0]
        excess = 0.0
        if first.config is not None and "num_params" in first.run.measured:
            budget = unchecked(first.config).budget
            measured = first.run.measured
            excess = excess_of(measured["num_params"], measured.get("macs"), budget)
        if not whole:
            return Told(first.params, None, max(one.at for one in found if one.at), excess)
        names = self.objectives.names
        known = [one.run.measured for one in whole if set(names) <= set(one.run.measured)]
        values = [statistics.fmean(run[name] for run in known) for name in names] if known else None
        return Told(first.params, values, None, excess)

    def _best_first(self, points: Iterable[Told]) -> list[Told]:
        """Where there are several objectives, those that no other one beats come first."""
        found = list(points)
        scores = [self.objectives.scores(one.values) for one in found if one.values is not None]
        on_front = iter(non_dominated(np.array(scores)) if scores else ())

        def rank(one: Told) -> tuple[bool, bool, list[float]]:
            if one.values is not None:
                return (True, bool(next(on_front)), self.objectives.scores(one.values))
            last = [] if one.at is None else [one.at[0], *self.objectives.scores([one.at[1]])]
            return (False, False, last)

        ranks = list(map(rank, found))
        order = sorted(range(len(found)), key=ranks.__getitem__, reverse=True)
        return [found[number] for number in order]


def learns(settings: SearchSettings) -> bool:
    """Whether the sampler can be told of runs that are no trials of its study."""
    return str(settings.sampler.get("_target_")).endswith(LEARNING)


def _with(config: Mapping[str, Any], group: str, key: str, value: Any) -> dict[str, Any]:
    return {**config, group: {**config[group], key: value}}


def _points(points: int, runs: int) -> str:
    return f" as {points} points" if points < runs else ""


def _some(keys: Counter[str]) -> str:
    """The most frequent ones."""
    shown = ", ".join(key for key, _ in keys.most_common(3))
    return shown if len(keys) <= 3 else f"{shown} and {len(keys) - 3} more"


def _counts(reasons: Counter[str]) -> str:
    """`40 with another model.depth, 17 not finished`."""
    shown = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(4))
    return shown if len(reasons) <= 4 else f"{shown} and others"
