"""The report's second half: what SCSE23-0504 does not have."""

import math
from collections.abc import Sequence

import numpy as np

from analysis import figures
from analysis.blocks import Block, Figure, Heading, Table, Text
from analysis.comparison import compare
from analysis.findings import Evidence
from analysis.fronts import costs, hypervolume
from analysis.importance import FEWEST, importances, varied
from analysis.objectives import COSTS, Objective, describe_score, noise_mark
from analysis.published import model_name, published
from analysis.report_thesis import Histories, accuracy_cell, with_noise
from analysis.runs import Trial
from trainables import metric_keys as keys
from trainables.metrics import NUM_BINS, calibration_error

ACCURACY = describe_score("accuracy")
MOST_MODELS = 24
MOST_CALIBRATED = 4


def sections(evidence: Evidence, pictures: Sequence[Figure], histories: Histories) -> list[Block]:
    """Return the blocks of what is new.

    Args:
        evidence: the trials of one store and split, at least one.
        pictures: the Pareto pictures, drawn before.
        histories: reads the training curves of some trials, by name.
    """
    return [
        Heading(text="The Pareto front"),
        Text(text="Chosen on validation. The interactive page: `figures/pareto-size_mb-accuracy.html`."),
        *pictures,
        *_growth(evidence),
        *_equal_cost(evidence),
        *_equal_macs(evidence),
        *_quantised(evidence),
        *_categories(evidence),
        *_curves(evidence, histories),
        *_calibration(evidence),
        *_confusion(evidence),
        *_settings(evidence),
        *_cost(evidence),
    ]


def chosen(evidence: Evidence, most: int) -> list[Trial]:
    """Return the trials on the front of size and validation accuracy, then the next best on validation."""
    scored = [trial for trial in evidence.trials if math.isfinite(ACCURACY.value(trial))]
    compared = compare(scored, COSTS["size_mb"], ACCURACY) if scored else None
    front = [point.trial for point in compared.front] if compared else []
    rest = sorted(scored, key=lambda trial: -ACCURACY.value(trial))
    return list({trial.run_id: trial for trial in (*front, *rest)}.values())[:most]


def _growth(evidence: Evidence) -> list[Block]:
    """Return the hypervolume of size and validation accuracy after each trial."""
    have = [t for t in evidence.trials if math.isfinite(ACCURACY.value(t)) and math.isfinite(COSTS["size_mb"].value(t))]
    if len(have) < 2:
        return []
    have.sort(key=lambda trial: trial.ended)
    size, accuracy = (np.array([axis.value(trial) for trial in have]) for axis in (COSTS["size_mb"], ACCURACY))
    points, worst = costs((size, False), (accuracy, True)), np.array([size.max() * 1.1, -0.5])
    counts = sorted({*np.linspace(1, len(have), min(len(have), 400)).astype(int).tolist()})
    box = worst[0] * 0.5
    volumes = np.interp(
        range(1, len(have) + 1), counts, [hypervolume(points[:count], worst) / box for count in counts]
    ).tolist()
    words = "Hypervolume of size and validation accuracy after each trial, as a share of the box from "
    words += f"({worst[0]:.2f} MB, 50 %) to the ideal corner."
    return [Figure(name="hypervolume", svg=figures.growth(volumes, "share of the box"), caption=words)]


def _equal_cost(evidence: Evidence) -> list[Block]:
    """Return the best model at most as large as each of the thesis's."""
    rows = []
    for row in published()["summary"]:
        within = [t for t in evidence.trials if COSTS["size_mb"].value(t) <= row["size_mb"] + 0.005]
        scored = [trial for trial in within if math.isfinite(ACCURACY.value(trial))]
        best = max(scored, key=ACCURACY.value, default=None)
        name = model_name(row["model"], row["prune_ratio"], kd=row["kd"])
        rows.append(
            (
                f"{row['size_mb']:.2f} MB",
                f"{name}: {100 * row['accuracy']:.1f}",
                f"{best.name} ({best.sweep})" if best else "none this small",
                COSTS["size_mb"].show(COSTS["size_mb"].value(best)) if best else "-",
                ACCURACY.show(ACCURACY.value(best), unit=False) if best else "-",
                accuracy_cell(best, evidence) if best else "-",
            )
        )
    header = ("at most", "thesis, test", "ours, chosen on validation", "size", "validation", "test [95 %]")
    return [
        Heading(text="At equal cost"),
        Text(text="The best of all our models that is no larger than each model of the thesis; accuracies in %."),
        Table(header=header, rows=tuple(rows)),
    ]


def _equal_macs(evidence: Evidence) -> list[Block]:
    """Return the ways to prune beside one another where they leave the same number of multiply-accumulates."""
    found = [(evidence.kinds[t.run_id], t) for t in evidence.trials if evidence.kinds[t.run_id].by == "macs"]
    blocks: list[Block] = [
        Heading(text="Ways to prune, at equal cost"),
        Text(
            text="A prune ratio removes channels, and the same ratio leaves each way of pruning with other costs. "
            "Here every way removes the same share of the multiply-accumulates."
        ),
    ]
    if not found:
        return [*blocks, Text(text="Not run: `python sweeps/prune_ratio.py`.", state="not run")]
    found.sort(key=lambda row: (row[0].ratio, row[0].architecture, row[0].scope, row[0].steps))
    rows = tuple(
        (
            f"{kind.scope}, {'one-shot' if kind.steps == 1 else f'in {kind.steps} steps'}",
            f"{100 * kind.ratio:.0f} % of MACs",
            accuracy_cell(trial, evidence),
            *(cost.text(trial) for cost in (COSTS["macs"], COSTS["size_mb"], COSTS["latency_ratio"])),
        )
        for kind, trial in found
    )
    header = ("way", "removed", "test accuracy [95 %]", "MACs left", "size", "latency to B0")
    return [*blocks, Table(header=header, rows=rows, caption=with_noise("Test accuracy in %.", rows))]


def _quantised(evidence: Evidence) -> list[Block]:
    """Return int8 models beside the float models they come from."""
    rows = []
    for trial in evidence.trials:
        how = evidence.kinds[trial.run_id].quantisation
        if how == "none":
            continue
        source = evidence.source(trial)
        change = evidence.difference(trial, source) if source else None
        shown = "-" if change is None else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * value for value in change))
        rows.append(
            (
                trial.name,
                source.name if source else "not recorded",
                accuracy_cell(source, evidence) if source else "-",
                accuracy_cell(trial, evidence),
                shown,
                _from_to(COSTS["size_mb"], source, trial),
                f"{_deployed(source) if source else '-'} to {_deployed(trial)}",
            )
        )
    blocks: list[Block] = [Heading(text="Quantised models")]
    if not rows:
        return [*blocks, Text(text="Not run: `python sweeps/quantise.py`.", state="not run")]
    header = ("int8 model", "from", "float [95 %]", "int8 [95 %]", "difference [95 %]", "size", "latency to B0")
    caption = with_noise("Test accuracy in %; costs: float, then int8.", rows)
    return [*blocks, Table(header=header, rows=tuple(rows), caption=caption)]


def _from_to(cost: Objective, source: Trial | None, trial: Trial) -> str:
    """Return a cost before and after: `13.74 to 3.60 MB`."""
    before = cost.show(cost.value(source), unit=False) if source else "-"
    return f"{before} to {cost.show(cost.value(trial))}"


def _deployed(trial: Trial) -> str:
    """Return the latency ratio in the quickest runtime that was measured, named: `0.412 int8`."""
    for runtime in ("int8", "onnx", "eager"):
        key = keys.latency("ratio", runtime)
        value = trial.metrics.get(key)
        if value is not None:
            return f"{noise_mark(trial, key)}{value:.3f} {runtime}"
    return "-"


def _curves(evidence: Evidence, histories: Histories) -> list[Block]:
    """Return how the front and the next best learned."""
    found = histories([t for t in chosen(evidence, MOST_MODELS) if t.metrics.get("epochs", 1)][:MOST_CALIBRATED])
    if not found:
        return []
    caption = "The front first, then the next best on validation; a curve ends where its trial did."
    return [Heading(text="Learning curves"), Figure(name="curves-best", svg=figures.curves(found), caption=caption)]


def _categories(evidence: Evidence) -> list[Block]:
    """Return the accuracy by category of the front and the next best."""
    trials = chosen(evidence, MOST_MODELS)
    names = sorted({key.removeprefix("test_accuracy_") for t in trials for key in t.metrics if "test_accuracy_" in key})
    if not names:
        return []
    entries = [entry for trial in trials[:1] if (entry := evidence.predictions(trial)) is not None]
    genuine = entries[0].genuine if entries else frozenset()
    names.sort(key=lambda name: name not in genuine)
    values = np.array([[trial.metrics.get(f"test_accuracy_{name}", math.nan) for name in names] for trial in trials])
    svg = figures.heat_map([f"{trial.name} ({trial.architecture})" for trial in trials], names, values)
    caption = "Test accuracy in % by category: the front first, then the next best on validation."
    return [Heading(text="By category"), Figure(name="categories", svg=svg, caption=caption)]


def _calibration(evidence: Evidence) -> list[Block]:
    """Return whether probabilities mean what they say."""
    models, rows = [], []
    for trial in chosen(evidence, MOST_CALIBRATED):
        entry = evidence.predictions(trial)
        if entry is not None:
            probability = 1 / (1 + np.exp(-entry.logit))
            models.append((trial.name, probability, entry.label))
            error = calibration_error(entry.label, probability)
            rows.append((trial.name, f"{error:.3f}", f"{trial.metrics.get('test_log_loss', math.nan):.3f}"))
    if not models:
        return []
    header = ("model", f"expected calibration error ({NUM_BINS} bins)", "log loss")
    return [
        Heading(text="Calibration"),
        Figure(
            name="calibration",
            svg=figures.calibration(models),
            caption="Test split; on the diagonal, a probability is right as often as it says.",
        ),
        Table(header=header, rows=tuple(rows)),
    ]


def _confusion(evidence: Evidence) -> list[Block]:
    """Return what the best model on validation calls real and fake at 0.5."""
    for trial in sorted(chosen(evidence, MOST_MODELS), key=lambda trial: -ACCURACY.value(trial))[:1]:
        entry = evidence.predictions(trial)
        if entry is None:
            continue
        names = sorted(set(entry.category.tolist()), key=lambda name: (name not in entry.genuine, name))
        fake = [int((entry.logit[entry.category == name] > 0).sum()) for name in names]
        total = [int((entry.category == name).sum()) for name in names]
        svg = figures.confusion(f"{trial.name} ({trial.architecture}), test split", names, fake, total)
        real = [name for name in names if name in entry.genuine]
        which = f"; {' and '.join(real)} {'is' if len(real) == 1 else 'are'} real" if real else ""
        caption = f"Crops called fake (a probability above 0.5) and real, by true category{which}."
        return [Heading(text="Confusion at 0.5"), Figure(name="confusion", svg=svg, caption=caption)]
    return []


def _settings(evidence: Evidence) -> list[Block]:
    """Return which settings vary over the students, and how much of the accuracy they explain."""
    students = [t for t in evidence.trials if t.role != "teacher" and math.isfinite(ACCURACY.value(t))]
    parameters = varied(students)
    blocks: list[Block] = [Heading(text="Settings")]
    if not parameters or len(students) < 2:
        return [*blocks, Text(text="No setting varies over the trials.")]
    score = np.array([ACCURACY.value(trial) for trial in students])
    columns, ticks, names = [], [], []
    for row in parameters:
        numbers = row.numbers
        words = sorted(set(row.values))
        if numbers is None:
            numbers = np.array([words.index(value) for value in row.values], dtype=np.float64)
            ends = (words[0][:14], words[-1][:14])
        else:
            ends = (f"{np.nanmin(numbers):g}", f"{np.nanmax(numbers):g}")
        columns.append((numbers - np.nanmin(numbers)) / (np.ptp(numbers[np.isfinite(numbers)]) or 1))
        ticks.append(ends)
        names.append(row.name.removeprefix("recipe."))
    for axis in (COSTS["macs"], COSTS["size_mb"], ACCURACY):
        values = np.array([axis.value(trial) for trial in students])
        if len(np.unique(values[np.isfinite(values)])) < 2:
            continue  # it tells no trial from another
        columns.append((values - np.nanmin(values)) / float(np.nanmax(values) - np.nanmin(values)))
        ticks.append((axis.show(float(np.nanmin(values)), unit=False), axis.show(float(np.nanmax(values)), unit=False)))
        names.append(axis.column)
    svg = figures.parallel(names, np.column_stack(columns), ticks, 100 * score, "validation accuracy (%)")
    blocks.append(Figure(name="settings", svg=svg, caption="One line a trial: its settings, costs and accuracy."))
    if len(students) < FEWEST or np.ptp(score) == 0:
        few = f"Importance needs at least {FEWEST} students that differ in accuracy; there are {len(students)}."
        return [*blocks, Text(text=few)]
    shares = importances(parameters, score)
    svg = figures.bars(list(shares), list(shares.values()), "share of the variance of validation accuracy (fANOVA)")
    caption = "Parameter importance over all students; settings that were varied together share what they explain."
    return [*blocks, Figure(name="importance", svg=svg, caption=caption)]


def _cost(evidence: Evidence) -> list[Block]:
    """Return what each sweep cost."""
    rows = []
    for sweep in dict.fromkeys(trial.sweep for trial in evidence.trials):
        mine = [trial for trial in evidence.trials if trial.sweep == sweep]
        hours = sum(trial.metrics.get("seconds", 0.0) for trial in mine) / 3600
        wall = (max(trial.ended for trial in mine) - min(trial.started for trial in mine)) / 3.6e6
        energy = [trial.metrics["energy_wh"] for trial in mine if "energy_wh" in trial.metrics]
        epochs = sum(trial.metrics.get("epochs", 0.0) for trial in mine)
        shown = f"{sum(energy):.1f} Wh" if len(energy) == len(mine) else "not measured"
        rows.append((sweep, str(len(mine)), f"{epochs:.0f}", f"{hours:.2f} h", f"{wall:.2f} h", shown))
    header = ("sweep", "trials", "epochs", "training", "first start to last end", "energy")
    return [Heading(text="What it cost"), Table(header=header, rows=tuple(rows))]
