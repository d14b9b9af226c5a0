"""Our trials beside a published row, and whether a published finding held here: a paired bootstrap decides.

The trial that stands beside a row is the one with the best *validation* accuracy of those that fit; what is
compared with the thesis is its *test* accuracy, since that is what the thesis gives.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from analysis import intervals
from analysis.lineage import Kind, fits, kinds, sources
from analysis.runs import Trial
from analysis.thesis import Claim


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

    def find(self, wanted: Mapping[str, object], *, among: Sequence[Trial] | None = None) -> Trial | None:
        """Return the trial of that kind (among these) with the best validation accuracy, None when there is none."""
        within = self.trials if among is None else among
        fitting = [trial for trial in within if fits(self.kinds[trial.run_id], wanted)]
        scored = [trial for trial in fitting if math.isfinite(trial.metrics.get("val_accuracy", math.nan))]
        return max(scored, key=lambda trial: trial.metrics["val_accuracy"], default=None)

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


def judge(claim: Claim, better: Trial | None, worse: Trial | None, evidence: Evidence) -> Verdict:
    """Say whether a claim held: the interval of the difference lies above 0, below it, or across it."""
    if better is None or worse is None:
        missing = claim.better if better is None else claim.worse
        return Verdict(state="not run", words=f"Not run: {claim.words} (no trial for {missing}).")
    found = evidence.difference(better, worse)
    if found is None:
        return Verdict(state="undecided", words=f"Undecided: {claim.words} (a run is without predictions).")
    middle, low, high = (100 * value for value in found)
    shown = f"{middle:+.1f} points [{low:+.1f}, {high:+.1f}]"
    if low > 0:
        return Verdict(state="held", words=f"Held: {claim.words}, by {shown}.")
    if high < 0:
        return Verdict(state="reversed", words=f"Did not hold, the reverse is true: {claim.words}, by {shown}.")
    return Verdict(state="undecided", words=f"Undecided: {claim.words}, by {shown}; the interval includes 0.")


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
