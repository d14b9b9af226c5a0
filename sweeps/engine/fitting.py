"""Plans a sweep so that every trial fits the memory budget, while Ray and MLflow start; fits latency's rates."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from sweeps.engine import resources
from sweeps.engine.forecast import Forecasts
from sweeps.engine.journal import Journal
from sweeps.engine.ladder import Ladder
from sweeps.engine.options import Options
from sweeps.engine.space import PlannedTrial, Setting
from sweeps.engine.terminal import Terminal
from trainables.predicted_latency import LatencyFit

TIMED_BESIDE = ("B0", "Lite0", "Lite2")
"""Timed at the input sizes of the networks that are pruned by latency: they call more and fewer operations."""
TIMED_SHARES = (0.0, 0.3, 0.6)
"""Of each network's channels, taken off: so small a pruned one becomes, about."""


def with_ladder(setting: Setting, options: Options) -> tuple[Setting, Ladder]:
    """Return the setting whose configs fit the budget that the user gave, and what makes them fit."""
    ladder = Ladder(
        resources.budget_bytes(setting.device, options.gpu_memory_gb, workers=1),
        Forecasts(options.results / "cache"),
        setting.store_digest,
        {model.digest: (model.architecture, model.resolution_px) for model in setting.given.values()},
    )
    return replace(setting, fit=ladder), ladder


def planned(
    plan: Callable[[], list[PlannedTrial]], ladder: Ladder, meanwhile: Callable[[], object], *, preview: bool = False
) -> list[PlannedTrial]:
    """Plan once to learn which predictions are missing, make them, and plan with them.

    Args:
        plan: Makes every config by a setting that has the ladder.
        ladder: Still gathering.
        meanwhile: Called while another process predicts, only if it has to.
        preview: Whether to predict mixed precision even of what fits without.

    Raises:
        InputError: A trial fits on no rung.
    """
    trials = plan()
    if not ladder.complete:
        with ThreadPoolExecutor(1) as pool:
            prediction = pool.submit(ladder.predict, least_rungs=2 if preview else 1)
            meanwhile()
            prediction.result()
        trials = plan()
    ladder.gathering = False
    return trials


def with_rates(
    setting: Setting, planned: Iterable[PlannedTrial], journal: Journal, forecasts: Forecasts, terminal: Terminal
) -> Setting:
    """Return the setting that pruning by latency has its rates from; as it is where nothing is pruned so.

    They are fitted once in a sweep's life, before its trials start, and kept in the journal.
    """
    networks = {
        (row.config.architecture, row.config.resolution_px)
        for row in planned
        if row.config.pruning is not None and row.config.pruning.by == "latency"
    }
    if not networks:
        return setting
    if journal.state.latency_fit is None:
        timed = sorted(networks | {(name, px) for _, px in networks for name in TIMED_BESIDE})
        terminal.line("latency", f"timing {len(timed) * len(TIMED_SHARES)} networks, to predict it by ...")
        fit = forecasts.latency_fit(timed, shares=TIMED_SHARES)
        journal.append("latency_fit", fit=fit)
    fitted = LatencyFit(**(journal.state.latency_fit or {}))
    terminal.line(
        "latency",
        f"predicted for pruning; off by {fitted.error:.0%} (median) and {fitted.worst_error:.0%} (worst) of "
        f"{fitted.num_graphs} networks left out in turn",
    )
    return replace(setting, rates=fitted.rates)


def start_all(address: str | None) -> None:
    """Start Ray, whose workers take longest, and load MLflow meanwhile: what a sweep needs soon."""
    from sweeps.engine.ray_start import start_ray

    start_ray(address)
    from mlflow import MlflowClient  # noqa: F401 - loaded now, used soon
