"""What a sweep file says: its name, its question and its trials; and the setting that it says them in."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from trainables.recipes import (
    DEMO_FINE_TUNING,
    DEMO_TRAINING,
    RECIPE_VERSION,
    THESIS_FINE_TUNING,
    THESIS_TRAINING,
    LatencyRates,
    Pruning,
    Quantisation,
    Recipe,
    TrialConfig,
    digest,
    identity,
)

if TYPE_CHECKING:
    from sweeps.engine.axes import Space

Known = Mapping[str, Mapping[str, float]]
"""What a sweep knows so far: ``val_`` metrics and costs of each finished trial by its identity."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Settings that the trials of a sweep share.

    Attributes:
        name: ``demo`` or ``thesis``.
        recipe: How every model is trained.
        fine_tuning: How a trained model is trained on, and how a pruned one recovers.
        weights: Where every model starts.
        resolution_px: Input side of B0 and Lite0.
        fine_tuned_models: Whether models that others start from or learn from are fine-tuned first.
        note: One line for the user on what the figures are good for.
    """

    name: str
    recipe: Recipe
    fine_tuning: Recipe
    weights: str
    resolution_px: int
    fine_tuned_models: bool
    note: str


PROFILES = {
    "demo": Profile(
        name="demo",
        recipe=DEMO_TRAINING,
        fine_tuning=DEMO_FINE_TUNING,
        weights="none",
        resolution_px=64,
        fine_tuned_models=False,
        note="AdamW from scratch at 64 px; its scores rank these models, and say nothing of real deepfakes",
    ),
    "thesis": Profile(
        name="thesis",
        recipe=THESIS_TRAINING,
        fine_tuning=THESIS_FINE_TUNING,
        weights="imagenet",
        resolution_px=224,
        fine_tuned_models=True,
        note="the settings of report SCSE23-0504: SGD, warm-up and cosine, 224 px, ImageNet start",
    ),
}


def recipe_digest(profile: Profile) -> str:
    """Return 8 hex digits of all that decides how a profile's models are trained, and from where."""
    recipes = [asdict(replace(recipe, name="")) for recipe in (profile.recipe, profile.fine_tuning)]
    return digest([RECIPE_VERSION, recipes, profile.weights, profile.fine_tuned_models])[:8]


@dataclass(frozen=True, kw_only=True)
class GivenModel:
    """A trained model that the user names, such as a teacher.

    Attributes:
        folder: Where it lies.
        digest: Of its content.
        architecture: Its network.
        resolution_px: Its input side.
    """

    folder: str
    digest: str
    architecture: str
    resolution_px: int


def _as_it_is(config: TrialConfig) -> TrialConfig:
    return config


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a sweep's trials depend on besides its space.

    Attributes:
        profile: Shared settings.
        seed: Both ``data_seed`` and ``init_seed`` of every trial.
        store_digest: Identity of the data.
        device: ``cpu`` or ``cuda``.
        num_threads: CPU threads of a trial.
        teacher: A model given by ``--teacher``, or None.
        start: A model given by ``--weights``, whose digest is then the profile's ``weights``; or None.
        rates: What pruning by latency predicts it by; None before a sweep has fitted them.
        smoke: Whether to plan two short trials only.
        fit: Makes a config fit the memory budget; every config goes through it before it has an identity.
    """

    profile: Profile
    seed: int
    store_digest: str
    device: str
    num_threads: int
    teacher: GivenModel | None = None
    start: GivenModel | None = None
    rates: LatencyRates | None = None
    smoke: bool = False
    fit: Callable[[TrialConfig], TrialConfig] = field(default=_as_it_is, compare=False, repr=False)

    @property
    def given(self) -> dict[str, GivenModel]:
        """The models that the user named, by the digest under which configs name them."""
        return {model.digest: model for model in (self.teacher, self.start) if model is not None}

    def config(
        self,
        architecture: str,
        *,
        weights: str | None = None,
        recipe: Recipe | None = None,
        resolution_px: int | None = None,
        alpha: float = 0.0,
        temperature: float = 1.0,
        teacher: str | None = None,
        pruning: Pruning | None = None,
        quantisation: Quantisation = "none",
    ) -> TrialConfig:
        """Return a trial's config in this setting; what is left out is the profile's.

        Args:
            architecture: A name of ``trainables.architectures``.
            weights: Where it starts; the identity of another planned trial makes it wait for that one.
            recipe: How it is trained.
            resolution_px: Side of its input.
            alpha: Weight of the teacher's soft labels.
            temperature: Softens teacher and student; 1 where alpha is 0, which no temperature changes.
            teacher: Identity of the teacher's trial; left out where alpha is 0.
            pruning: What the start model loses.
            quantisation: What becomes of the trained model.
        """
        if pruning is not None and pruning.by == "latency":
            pruning = replace(pruning, rates=self.rates)
        config = TrialConfig(
            architecture=architecture,
            resolution_px=resolution_px or self.profile.resolution_px,
            weights=weights or self.profile.weights,
            recipe=recipe or self.profile.recipe,
            alpha=alpha,
            temperature=temperature if alpha > 0 else 1.0,
            teacher=teacher if alpha > 0 else None,
            pruning=pruning,
            quantisation=quantisation,
            data_seed=self.seed,
            init_seed=self.seed,
            num_threads=self.num_threads,
            device=self.device,
        )
        return self.fit(config)

    def evaluation(self, model: GivenModel) -> TrialConfig:
        """Return the config that trains nothing and scores a given model on this store."""
        recipe = replace(self.profile.recipe, name="evaluation", epochs=0, warmup_epochs=0)
        return self.config(model.architecture, weights=model.digest, recipe=recipe, resolution_px=model.resolution_px)

    def identity(self, config: TrialConfig) -> str:
        """Return a trial's identity in this setting."""
        return identity(config, self.store_digest)


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """One cell of a sweep.

    Attributes:
        name: Shown to people, unique in the sweep: ``alpha=0.25``.
        role: What it is in the sweep: ``teacher``, ``start`` (others start from it), ``student`` (learns from a
            teacher), ``model`` (learns from labels alone), ``pruned`` or ``quantised``.
        config: What is computed.
    """

    name: str
    role: str
    config: TrialConfig


def needs(config: TrialConfig) -> set[str]:
    """Return the digests of the models that a trial reads: what it starts from, and its teacher."""
    return {name for name in (config.weights, config.teacher) if name not in (None, "none", "imagenet")}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A question and the trials that answer it.

    Attributes:
        name: Name of the sweep and of its MLflow experiment.
        question: One line.
        trials: Plans the trials in a setting; the first ones are started first.
        more: Plans further trials from what is known: a pure function that may repeat trials already planned.
            Asked after every trial's end and at each launch; None where ``trials`` says it all.
        space: What a search chooses further trials from; None where the sweep lists its cells.
    """

    name: str
    question: str
    trials: Callable[[Setting], list[PlannedTrial]]
    more: Callable[[Setting, Known], list[PlannedTrial]] | None = None
    space: "Space | None" = None
