"""Models that a sweep needs before it can ask its question, and what is made of them.

A chain is a list of planned trials, each starting from the one before; the last one's identity is what other
trials name. Two sweeps that need the same chain plan the same identities, so it is trained once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sweeps.engine.space import Known, PlannedTrial, Setting
from trainables import metric_keys as keys
from trainables.recipes import Pruning

ACCURACY_FLOOR = 0.9
RATIO_STEP = 0.05
HIGHEST_RATIO = 0.9


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Trials that make one model.

    Attributes:
        trials: In the order in which they depend on one another.
        digest: What other trials name: the last one's identity, or the content digest of a given model.
    """

    trials: Sequence[PlannedTrial]
    digest: str


def teacher(setting: Setting) -> Chain:
    """Return the teacher: the one that ``--teacher`` names, else B0, fine-tuned where the profile says so."""
    if setting.teacher:
        config = setting.evaluation(setting.teacher)
        planned = PlannedTrial(name=f"teacher {config.architecture}", role="teacher", config=config)
        return Chain(trials=[planned], digest=setting.teacher.digest)
    return trained(setting, "B0", name="teacher B0", role="teacher")


def trained(
    setting: Setting, architecture: str, *, name: str, role: str, alpha: float = 0.0, teacher: str | None = None
) -> Chain:
    """Return a model trained by the profile's recipe, then fine-tuned where the profile fine-tunes.

    Args:
        setting: Of the sweep.
        architecture: A name of ``trainables.architectures``.
        name: Shown to people.
        role: Of the last trial.
        alpha: Weight of the teacher's soft labels, in both stages.
        teacher: The teacher's digest.
    """
    first = setting.config(architecture, alpha=alpha, teacher=teacher)
    if not setting.profile.fine_tuned_models:
        return Chain(trials=[PlannedTrial(name=name, role=role, config=first)], digest=setting.identity(first))
    tuned = setting.config(
        architecture,
        weights=setting.identity(first),
        recipe=setting.profile.fine_tuning,
        alpha=alpha,
        teacher=teacher,
    )
    return Chain(
        trials=[
            PlannedTrial(name=f"{name}, before fine-tuning", role="start", config=first),
            PlannedTrial(name=name, role=role, config=tuned),
        ],
        digest=setting.identity(tuned),
    )


def pruned(
    setting: Setting, start: Chain, pruning: Pruning, *, alpha: float = 0.0, teacher: str | None = None
) -> PlannedTrial:
    """Return the trial that prunes a chain's model and recovers it by the profile's fine-tuning."""
    config = setting.config(
        start.trials[-1].config.architecture,
        weights=start.digest,
        recipe=setting.profile.fine_tuning,
        alpha=alpha,
        teacher=teacher,
        pruning=pruning,
    )
    of = "" if pruning.by == "channels" else f" of {pruning.by}"
    steps = "one-shot" if pruning.iterations == 1 else f"in {pruning.iterations} steps"
    return PlannedTrial(name=f"{pruning.ratio:g}{of} {pruning.scope} {steps}", role="pruned", config=config)


def pruned_further(
    setting: Setting, known: Known, plan: Callable[[float], PlannedTrial], last_ratio: float
) -> list[PlannedTrial]:
    """Raise the prune ratio by 0.05 until validation accuracy falls below 0.9 (section 5.7 of the thesis).

    It ends before where every layer is at its floor: a higher ratio would train the same network under another name.

    Args:
        setting: Of the sweep.
        known: Results so far.
        plan: Plans the trial of a ratio.
        last_ratio: The highest ratio planned anyhow.

    Returns:
        Every trial up to the first that fell below, has nothing left to lose, or is not known yet.
    """
    planned: list[PlannedTrial] = []
    ratio, trial = last_ratio, plan(last_ratio)
    while ratio < HIGHEST_RATIO:
        result = known.get(setting.identity(trial.config))
        if result is None or result.get(keys.scored("val", keys.ACCURACY), 0.0) < ACCURACY_FLOOR:
            break
        if keys.PRUNED_SHARE in result and result[keys.PRUNED_SHARE] >= result[keys.PRUNED_SHARE_LIMIT]:
            break  # results of earlier revisions do not say
        ratio = round(ratio + RATIO_STEP, 2)
        trial = plan(ratio)
        planned.append(trial)
    return planned
