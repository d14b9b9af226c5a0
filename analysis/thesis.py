"""The thesis's experiments as data: which of our trials answers which of its rows, and what it claims.

Figures are read from `published.json`; section numbers are those of report SCSE23-0504.
"""

from dataclasses import dataclass

FLOAT: dict[str, object] = {"ratio": 0.0, "quantisation": "none"}
PLAIN: dict[str, object] = {**FLOAT, "alpha": 0.0, "fine_tuned": False, "scheduled": True}
TUNED: dict[str, object] = {**FLOAT, "alpha": 0.0, "fine_tuned": True}
PRUNED: dict[str, object] = {"architecture": "Lite0", "alpha": 0.0, "by": "channels", "quantisation": "none"}
STUDENT: dict[str, object] = {**FLOAT, "architecture": "Lite0", "start": "trained Lite0", "fine_tuned": True}

MODELS: dict[str, dict[str, object]] = {
    "B0, no pretrained weights": {**PLAIN, "architecture": "B0", "start": "none"},
    "B0, ImageNet": {**PLAIN, "architecture": "B0", "start": "imagenet"},
    "B1, ImageNet": {**PLAIN, "architecture": "B1", "start": "imagenet"},
    "B2, ImageNet": {**PLAIN, "architecture": "B2", "start": "imagenet"},
    "B3, ImageNet": {**PLAIN, "architecture": "B3", "start": "imagenet"},
    "B0, fine-tuned": {**TUNED, "architecture": "B0", "start": "trained B0"},
    "Lite0, from B0 ImageNet weights": {**PLAIN, "architecture": "B0-lite", "start": "imagenet"},
    "Lite0, from trained B0 weights": {**PLAIN, "architecture": "B0-lite", "start": "trained B0"},
    "Lite0, from Lite0 ImageNet weights": {**PLAIN, "architecture": "Lite0", "start": "imagenet"},
    "Lite0, fine-tuned": {**TUNED, "architecture": "Lite0", "start": "trained Lite0"},
    "Lite2, from Lite2 ImageNet weights": {**PLAIN, "architecture": "Lite2", "start": "imagenet"},
    "Lite0, local pruning 5%": {**PRUNED, "ratio": 0.05, "scope": "local", "steps": 1},
    "Lite0, global pruning 5%": {**PRUNED, "ratio": 0.05, "scope": "global", "steps": 1},
    "Lite0, one-shot pruning 20%": {**PRUNED, "ratio": 0.2, "scope": "global", "steps": 1},
    "Lite0, iterative (5) pruning 20%": {**PRUNED, "ratio": 0.2, "scope": "global", "steps": 5},
    "Lite0, KD alpha 0.25, fine-tuned": {**STUDENT, "alpha": 0.25},
    "Lite0, KD alpha 0.75, fine-tuned": {**STUDENT, "alpha": 0.75},
    "Lite0, KD, iterative pruning 35%": {**PRUNED, "alpha": 0.25, "ratio": 0.35, "scope": "global", "steps": 5},
}
"""Name in `published.json` -> what a trial must be to stand beside it."""

ALPHAS = ("0", "0.25", "0.5", "0.75", "1")


def alpha_row(alpha: str) -> dict[str, object]:
    """Return what a trial of the alpha sweep must be."""
    return {**PLAIN, "architecture": "Lite0", "start": ("imagenet", "none"), "alpha": float(alpha)}


def ratio_row(ratio: float, *, kd: bool) -> dict[str, object]:
    """Return what a trial of the prune ratio sweep must be (global, in five steps)."""
    return {**PRUNED, "alpha": 0.25 if kd else 0.0, "ratio": ratio, "scope": "global", "steps": 5}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One thing that the thesis found: one model is more accurate than another."""

    words: str
    """`ImageNet weights beat a random start`."""
    better: str
    """Name of the model that is said to be better, a key of `MODELS` or `alpha=0.25`."""
    worse: str
    """Name of the other."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One section of the thesis: its rows, and what it concludes from them."""

    title: str
    section: str
    """Section of the thesis."""
    finding: str
    """What the thesis says, in a sentence."""
    rows: tuple[str, ...]
    """Names of models, keys of `MODELS`."""
    claims: tuple[Claim, ...]
    command: str
    """What runs it here."""
    curves: tuple[str, ...] = ()
    """Models whose training curves the thesis shows."""
    any_start: bool = False
    """Models that start from random weights may stand in, all of them, where none starts from ImageNet's."""


EXPERIMENTS = (
    Experiment(
        title="Transfer learning",
        section="6.2.1",
        finding="ImageNet weights make B0 far better than a random start (90.0 % against 64.7 %).",
        rows=("B0, no pretrained weights", "B0, ImageNet"),
        claims=(
            Claim(
                words="ImageNet weights beat a random start", better="B0, ImageNet", worse="B0, no pretrained weights"
            ),
        ),
        command="python sweeps/transfer.py --store ~/faces",
        curves=("B0, no pretrained weights", "B0, ImageNet"),
    ),
    Experiment(
        title="Fine-tuning",
        section="6.2.2 and 6.2.3",
        finding="A second stage with Adam and no schedule adds 4 points to B0 and 3 to Lite0.",
        rows=("B0, ImageNet", "B0, fine-tuned", "Lite0, from Lite0 ImageNet weights", "Lite0, fine-tuned"),
        claims=(
            Claim(words="fine-tuning improves B0", better="B0, fine-tuned", worse="B0, ImageNet"),
            Claim(
                words="fine-tuning improves Lite0",
                better="Lite0, fine-tuned",
                worse="Lite0, from Lite0 ImageNet weights",
            ),
        ),
        command="python sweeps/kd_prune.py --store ~/faces",
        any_start=True,
    ),
    Experiment(
        title="Model scaling",
        section="6.2.2, Table 6.2.2.1",
        finding="A larger EfficientNet is no better: B0 has the highest accuracy of B0 to B3.",
        rows=("B0, ImageNet", "B1, ImageNet", "B2, ImageNet", "B3, ImageNet"),
        claims=tuple(
            Claim(words=f"B0 beats {other}", better="B0, ImageNet", worse=f"{other}, ImageNet")
            for other in ("B1", "B2", "B3")
        ),
        command="python sweeps/model_scaling.py",
        any_start=True,
    ),
    Experiment(
        title="EfficientNet-Lite and its start weights",
        section="6.2.3.1",
        finding="Lite0 needs its own ImageNet weights (87.9 %): B0's, published or trained, leave it at 71 to 78 %.",
        rows=(
            "Lite0, from B0 ImageNet weights",
            "Lite0, from trained B0 weights",
            "Lite0, from Lite0 ImageNet weights",
        ),
        claims=(
            Claim(
                words="Lite0's own weights beat trained B0's",
                better="Lite0, from Lite0 ImageNet weights",
                worse="Lite0, from trained B0 weights",
            ),
            Claim(
                words="trained B0's weights beat B0's ImageNet weights",
                better="Lite0, from trained B0 weights",
                worse="Lite0, from B0 ImageNet weights",
            ),
        ),
        command="python sweeps/lite.py --store ~/faces",
    ),
    Experiment(
        title="Scaling EfficientNet-Lite",
        section="6.2.3.2",
        finding="Lite2 is no better than Lite0 (87.6 % against 87.9 %, before fine-tuning).",
        rows=("Lite0, from Lite0 ImageNet weights", "Lite2, from Lite2 ImageNet weights"),
        claims=(
            Claim(
                words="Lite0 beats Lite2",
                better="Lite0, from Lite0 ImageNet weights",
                worse="Lite2, from Lite2 ImageNet weights",
            ),
        ),
        command="python sweeps/lite.py` and `python sweeps/model_scaling.py",
        any_start=True,
    ),
    Experiment(
        title="Local or global pruning",
        section="6.2.4.1",
        finding="At a ratio of 5 %, pruning each layer alike costs 17 points, pruning globally none.",
        rows=("Lite0, local pruning 5%", "Lite0, global pruning 5%"),
        claims=(
            Claim(
                words="global pruning beats local", better="Lite0, global pruning 5%", worse="Lite0, local pruning 5%"
            ),
        ),
        command="python sweeps/prune_ratio.py",
    ),
    Experiment(
        title="One-shot or iterative pruning",
        section="6.2.4.2",
        finding="At a ratio of 20 %, five steps with fine-tuning between them beat one (90.0 % against 88.3 %).",
        rows=("Lite0, one-shot pruning 20%", "Lite0, iterative (5) pruning 20%"),
        claims=(
            Claim(
                words="iterative pruning beats one-shot",
                better="Lite0, iterative (5) pruning 20%",
                worse="Lite0, one-shot pruning 20%",
            ),
        ),
        command="python sweeps/prune_ratio.py",
    ),
)

DISTILLED = Experiment(
    title="B0, Lite0 and distilled Lite0",
    section="6.2.5.1, Table 6.2.5.1.9",
    finding="Fine-tuned with its teacher (alpha 0.25), Lite0 comes within a point of B0 (93.3 % against 94.1 %).",
    rows=(
        "B0, fine-tuned",
        "Lite0, fine-tuned",
        "Lite0, KD alpha 0.25, fine-tuned",
        "Lite0, KD alpha 0.75, fine-tuned",
    ),
    claims=(
        Claim(
            words="distillation lifts fine-tuned Lite0",
            better="Lite0, KD alpha 0.25, fine-tuned",
            worse="Lite0, fine-tuned",
        ),
        Claim(
            words="B0 still beats distilled Lite0", better="B0, fine-tuned", worse="Lite0, KD alpha 0.25, fine-tuned"
        ),
        Claim(
            words="after fine-tuning, alpha 0.25 beats 0.75",
            better="Lite0, KD alpha 0.25, fine-tuned",
            worse="Lite0, KD alpha 0.75, fine-tuned",
        ),
    ),
    command="python sweeps/kd_prune.py --store ~/faces` and `python sweeps/kd_alpha.py --store ~/faces",
)
