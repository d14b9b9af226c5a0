"""Our trials beside a published row, and whether a published finding held here: a paired bootstrap decides.

The trial that stands beside a row is the one with the best *validation* accuracy of those that fit and may stand
there (`protocol.eligible`); the rows of a table come from one seed where one seed has them. What is compared with the
thesis is the *test* accuracy, since that is what the thesis gives.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from analysis import intervals
from analysis.lineage import Kind, fits, kinds, sources
from analysis.protocol import Eligible, eligible, seeds, unlike
from analysis.runs import Trial
from analysis.thesis import Claim

Row = Mapping[str, object]
"""What a trial must be to stand in a row: fields of `Kind` and their values."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a claim held."""

    state: str
    """`held`, `reversed`, `undecided` or `not run`."""
    words: str
    """A plain sentence."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The trials of one store and split, and their test predictions, read once each."""

    trials: tuple[Trial, ...]
    tracking_uri: str

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """What each trial is, by run id."""
        return kinds(self.trials)

    @cached_property
    def _sources(self) -> dict[str, Trial]:
        return sources(self.trials)

    def source(self, trial: Trial) -> Trial | None:
        """Return the recorded trial whose model this one starts from."""
        return self._sources.get(trial.run_id)

    def base(self, trial: Trial) -> Trial | None:
        """Return the unpruned model that a pruned or quantised trial goes back to, None when it is not recorded."""
        found = self.source(trial)
        while found and (self.kinds[found.run_id].ratio or self.kinds[found.run_id].quantisation != "none"):
            found = self.source(found)
        return found

    @cached_property
    def _predictions(self) -> dict[tuple[str, str], intervals.Predictions | None]:
        return {}

    @cached_property
    def eligible(self) -> Eligible:
        """The trials that may stand in the rows of the thesis."""
        return eligible(self.trials)

    def find(self, wanted: Row, *, among: Sequence[Trial] | None = None) -> Trial | None:
        """Return the eligible trial of that kind with the best validation accuracy, None when there is none.

        Args:
            wanted: what it must be.
            among: the trials to choose from; None for all that are eligible.
        """
        return max(self._fitting(wanted, among), key=_validated, default=None)

    def find_together(self, wanted: Mapping[str, Row]) -> dict[str, Trial | None]:
        """Return the trial of each kind, by name, from the seed that has most of them, of equal ones the best.

        What that seed has no trial for is found among all.
        """
        by_seed: dict[tuple[str | None, ...], list[Trial]] = {}
        for trial in self.eligible.trials:
            by_seed.setdefault(seeds(trial), []).append(trial)
        tables = [{name: self.find(row, among=group) for name, row in wanted.items()} for group in by_seed.values()]

        def worth(table: Mapping[str, Trial | None]) -> tuple[int, float]:
            found = [_validated(trial) for trial in table.values() if trial]
            return len(found), sum(found)

        best = max(tables, key=worth, default={})
        return {name: best.get(name) or self.find(row) for name, row in wanted.items()}

    def find_alike(self, one: Row, other: Row) -> tuple[Trial, Trial] | None:
        """Return a trial of each kind, two that share seed and recipe, the best such pair, None when there is none."""
        pairs = itertools.product(self._fitting(one), self._fitting(other))
        alike = [pair for pair in pairs if seeds(pair[0]) == seeds(pair[1]) and not self.unlike(*pair)]
        return max(alike, key=lambda pair: _validated(pair[0]) + _validated(pair[1]), default=None)

    def unlike(self, one: Trial, other: Trial) -> tuple[str, ...]:
        """Return what two trials should share and do not, as `data_seed 0 and 1`."""
        return unlike(one, other, (self.kinds[one.run_id], self.kinds[other.run_id]))

    def _fitting(self, wanted: Row, among: Sequence[Trial] | None = None) -> list[Trial]:
        """Return the trials of that kind that have a validation accuracy."""
        within = self.eligible.trials if among is None else among
        fitting = [trial for trial in within if fits(self.kinds[trial.run_id], wanted)]
        return [trial for trial in fitting if math.isfinite(_validated(trial))]

    def predictions(self, trial: Trial, split: str = "test") -> intervals.Predictions | None:
        """Return a trial's predictions on a split."""
        key = (trial.run_id, split)
        if key not in self._predictions:
            self._predictions[key] = intervals.read_predictions(trial, self.tracking_uri, split)
        return self._predictions[key]

    def interval(self, trial: Trial, score: str = "accuracy", split: str = "test") -> tuple[float, float] | None:
        """Return the 95 % interval of a trial's score."""
        entry = self.predictions(trial, split)
        found = intervals.interval_of(entry, score) if entry is not None else None
        return None if found is None or found.undefined else (found.low, found.high)

    def difference(self, one: Trial, other: Trial) -> tuple[float, float, float] | None:
        """Return the difference of two test accuracies and its 95 % interval, over shared draws."""
        entries = [self.predictions(one), self.predictions(other)]
        if entries[0] is None or entries[1] is None:
            return None
        drawn = intervals.replicate_scores([entries[0], entries[1]], "accuracy")
        low, high = intervals.interval(drawn[0] - drawn[1])
        return one.metrics["test_accuracy"] - other.metrics["test_accuracy"], low, high


def _validated(trial: Trial) -> float:
    """Return a trial's validation accuracy, `nan` when it has none."""
    return trial.metrics.get("val_accuracy", math.nan)


def judge(claim: Claim, better: Trial | None, worse: Trial | None, evidence: Evidence) -> Verdict:
    """Say whether a claim held: the interval of the difference lies above 0, below it, or across it.

    Where the two differ in more than the claim is about, that is said.
    """
    if better is None or worse is None:
        missing = claim.better if better is None else claim.worse
        return Verdict(state="not run", words=f"Not run: {claim.words} (no trial for {missing}).")
    found = evidence.difference(better, worse)
    if found is None:
        return Verdict(state="undecided", words=f"Undecided: {claim.words} (a run is without predictions).")
    middle, low, high = (100 * value for value in found)
    shown = f"{middle:+.1f} points [{low:+.1f}, {high:+.1f}]"
    apart = evidence.unlike(better, worse)
    beside = f" Not of one seed and recipe: {', '.join(apart)}." if apart else ""
    if low > 0:
        return Verdict(state="held", words=f"Held: {claim.words}, by {shown}.{beside}")
    if high < 0:
        words = f"Did not hold, the reverse is true: {claim.words}, by {shown}.{beside}"
        return Verdict(state="reversed", words=words)
    words = f"Undecided: {claim.words}, by {shown}; the interval includes 0.{beside}"
    return Verdict(state="undecided", words=words)


def upper_ratio(evidence: Evidence, rows: Sequence[tuple[float, Trial]], base: Trial | None, drop: float) -> str:
    """Return in a sentence how far pruning goes before it costs more than `drop` of test accuracy.

    Args:
        evidence: the trials, for intervals.
        rows: (prune ratio, trial), at least one.
        base: the unpruned model, None to compare with the smallest ratio.
        drop: a fraction, 0.05 for five points.
    """
    reference = base or rows[0][1]
    limit = reference.metrics["test_accuracy"] - drop
    against = f"{reference.name} ({100 * reference.metrics['test_accuracy']:.1f} %)"
    rising = sorted(rows, key=lambda row: row[0])
    kept = list(itertools.takewhile(lambda row: row[1].metrics["test_accuracy"] >= limit, rising))
    beyond = [f"{100 * ratio:.0f} %" for ratio, trial in rising[len(kept) :] if trial.metrics["test_accuracy"] >= limit]
    again = f"; {', '.join(beyond)} again keeps within it" if beyond else ""
    if not kept:
        which = "Every ratio" if not beyond else f"The smallest ratio, {100 * rising[0][0]:.0f} %,"
        return f"{which} costs more than {100 * drop:.0f} points against {against}{again}."
    ratio, trial = kept[-1]
    more = "; no larger ratio was tried" if len(kept) == len(rising) else again
    span = evidence.interval(trial)
    shown = f" [{100 * span[0]:.1f}, {100 * span[1]:.1f}]" if span else ""
    return (
        f"Up to {100 * ratio:.0f} % can be pruned ({100 * trial.metrics['test_accuracy']:.1f} %{shown}) within "
        f"{100 * drop:.0f} points of {against}{more}."
    )
