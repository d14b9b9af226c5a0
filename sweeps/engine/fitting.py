"""Plans a sweep so that every trial fits the memory budget, while Ray and MLflow start."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from sweeps.engine import resources
from sweeps.engine.forecast import Forecasts
from sweeps.engine.ladder import Ladder
from sweeps.engine.options import Options
from sweeps.engine.space import PlannedTrial, Setting


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


def start_all(address: str | None) -> None:
    """Start Ray and load MLflow: what a sweep needs soon."""
    from mlflow import MlflowClient  # noqa: F401 - loaded now, used soon

    from sweeps.engine.tune import start_ray

    start_ray(address)
