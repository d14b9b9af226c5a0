"""The report's first half: every table and curve of SCSE23-0504, ours beside its figure, and whether it held."""

from collections.abc import Callable, Mapping, Sequence

from analysis import figures
from analysis.blocks import MARKS, Block, Figure, Heading, Table, Text
from analysis.findings import Evidence, Row, judge, upper_ratio
from analysis.objectives import NOISE_NOTE, noise_mark
from analysis.published import model_name, published
from analysis.runs import Trial
from analysis.thesis import (
    ALPHAS,
    DISTILLED,
    EXPERIMENTS,
    FLOAT,
    MODELS,
    PLAIN,
    Claim,
    Experiment,
    alpha_row,
    ratio_row,
)
from trainables import metric_keys as keys

NOT_RUN = "not run"
FOOTPRINT_AFTER = "Scaling EfficientNet-Lite"
BEST_PRUNED = "Lite0, KD, iterative pruning 35%"
SUMMARY = "Thesis / ours; where no fine-tuned model was recorded, the one before fine-tuning stands in."
PARAMETERS, TIME = (keys.PARAMETERS,), (keys.latency("ratio", batch_size=32), keys.LATENCY_RATIO)
MEGABYTES = (keys.STATE_DICT_MB, keys.SIZE_MB)
COSTS = ((PARAMETERS, 0), (MEGABYTES, 2), (TIME, 2))
"""Recorded keys, the thesis's own measure first, and the digits shown."""
CONDITIONS = ("data_seed", "init_seed", "temperature", "resolution_px", "recipe.name", "recipe.learning_rate")
"""Settings in which two trials of one sweep may differ, over several seeds or in a search."""
Histories = Callable[[Sequence[Trial]], dict[str, dict[str, figures.Curve]]]


def sections(evidence: Evidence, histories: Histories) -> list[Block]:
    """Return the blocks of every experiment of the thesis.

    Args:
        evidence: the trials of one store and split.
        histories: reads the training curves of some trials, by name.
    """
    blocks: list[Block] = []
    for experiment in EXPERIMENTS:
        blocks += _experiment(experiment, evidence, histories)
        if experiment.title == FOOTPRINT_AFTER:
            blocks += _footprint(evidence)
    blocks += _alphas(evidence, histories)
    blocks += _experiment(DISTILLED, evidence, histories)
    blocks += _without_schedule(evidence, histories)
    blocks += _ratios(evidence)
    blocks += _summary(evidence)
    return blocks


def at_a_glance(blocks: Sequence[Block]) -> Table:
    """Return every verdict of the sections in one table, to stand before them."""
    rows, title = [], ""
    for block in blocks:
        if isinstance(block, Heading):
            title = block.text
        elif isinstance(block, Text) and block.state:
            words = block.text.split(": ", 1)[-1]
            rows.append((title, f"{MARKS[block.state]} {block.state}", words[0].upper() + words[1:]))
            title = ""  # said once
    return Table(header=("question", "the thesis's finding", "here"), rows=tuple(rows), words=True)


def accuracy_cell(trial: Trial | None, evidence: Evidence) -> str:
    """Return a test accuracy with its interval: `91.2 [87.7, 94.6]`."""
    if trial is None or "test_accuracy" not in trial.metrics:
        return NOT_RUN
    span = evidence.interval(trial)
    shown = f" [{100 * span[0]:.1f}, {100 * span[1]:.1f}]" if span else ""
    return f"{100 * trial.metrics['test_accuracy']:.1f}{shown}"


def _experiment(experiment: Experiment, evidence: Evidence, histories: Histories) -> list[Block]:
    """Return one experiment: what the thesis found, the table, the verdicts, the curves."""
    wanted, ours, stand_in = _rows(experiment, evidence)
    blocks: list[Block] = [
        Heading(text=experiment.title),
        Text(text=f"SCSE23-0504, section {experiment.section}: {experiment.finding}"),
    ]
    if not any(ours.values()):
        return [*blocks, _not_run(experiment.command)]
    blocks.append(_accuracies(experiment.rows, ours, evidence, stand_in=stand_in))
    if stand_in:
        blocks.append(Text(text="No run here starts from ImageNet weights: ours start from random ones, all alike."))
    blocks += [_verdict(claim, wanted, ours, evidence) for claim in experiment.claims]
    if any(trial is None for trial in ours.values()):
        blocks.append(Text(text=f"What is missing: `{experiment.command}`."))
    found = histories([trial for name in experiment.curves if (trial := ours[name])])
    if found:
        name = f"curves-{experiment.title.lower().replace(' ', '-')}"
        blocks.append(Figure(name=name, svg=figures.curves(found), caption="Training curves."))
    return blocks


def _rows(experiment: Experiment, evidence: Evidence) -> tuple[dict[str, Row], dict[str, Trial | None], bool]:
    """Return what each row wants, our trial beside it, and whether random starts stand in for ImageNet's."""
    wanted: dict[str, Row] = {name: MODELS[name] for name in experiment.rows}
    ours = evidence.find_together(wanted)
    published_start = [name for name, row in wanted.items() if row.get("start") == "imagenet"]
    if not experiment.any_start or any(ours[name] for name in published_start):
        return wanted, ours, False
    wanted |= {name: {**wanted[name], "start": "none"} for name in published_start}
    ours = evidence.find_together(wanted)
    return wanted, ours, any(ours[name] for name in published_start)


def _footprint(evidence: Evidence) -> list[Block]:
    """Return parameters, size and time of Lite0 beside B0."""
    lines = []
    for row in published()["summary"][:2]:
        trial = evidence.find({**FLOAT, "architecture": row["model"]})
        ratio = row["inference_s"] / published()["summary"][0]["inference_s"]
        ours = [_cost(trial, names, decimals) for names, decimals in COSTS]
        pairs = zip((f"{row['parameters']:,}", f"{row['size_mb']:.2f}", f"{ratio:.2f}"), ours, strict=True)
        lines.append((row["model"], *(f"{theirs} / {mine}" for theirs, mine in pairs)))
    finding = "Lite0 has 16 % fewer parameters and bytes than B0, and is 5 % quicker on the CPU."
    return [
        Heading(text="Lite0 beside B0"),
        Text(text=f"SCSE23-0504, section 6.2.3.1, Figure 6.2.3.1.5: {finding}"),
        Table(
            header=("model", "parameters", "MB", "time to B0"),
            rows=tuple(lines),
            caption=with_noise("Thesis / ours.", lines),
        ),
    ]


def _accuracies(
    rows: Sequence[str], ours: dict[str, Trial | None], evidence: Evidence, *, stand_in: bool = False
) -> Table:
    """Return test accuracies by category, the thesis's and ours."""
    categories = ("youtube", *(name for name in published()["categories"] if name != "youtube"))
    lines = []
    for name in rows:
        trial, theirs = ours[name], published()["accuracy"][name]
        cells = []
        for category in categories:
            value = trial.metrics.get(f"test_accuracy_{category}") if trial else None
            cells.append(f"{100 * theirs[category]:.1f} / {'-' if value is None else f'{100 * value:.1f}'}")
        random = stand_in and MODELS[name].get("start") == "imagenet" and trial
        shown = f"{name} (ours: random start)" if random else name
        lines.append((shown, f"{100 * theirs['overall']:.1f}", accuracy_cell(trial, evidence), *cells))
    return Table(
        header=("model", "thesis", "ours [95 %]", *categories),
        rows=tuple(lines),
        caption="Test accuracy in %; by category: thesis / ours.",
    )


def _ratios(evidence: Evidence) -> list[Block]:
    """Return how far pruning goes, without and with distillation."""
    blocks: list[Block] = [
        Heading(text="The upper prune ratio, without and with distillation"),
        Text(
            text="SCSE23-0504, sections 6.2.4.3 and 6.2.5.2: 30 % is the furthest before accuracy falls off; "
            "distilling from B0 while fine-tuning moves that to 35 %."
        ),
    ]
    rows = published()["prune_ratio"]
    wanted: dict[str, Row] = {_ratio(row["ratio"], kd=row["kd"]): ratio_row(row["ratio"], kd=row["kd"]) for row in rows}
    found = evidence.find_together(wanted)
    baseline = published()["summary"][0]["inference_s"]
    if not any(found.values()):
        return [*blocks, _not_run("python sweeps/prune_ratio.py", "python sweeps/kd_prune.py")]
    lines = []
    for row in rows:
        trial = found[_ratio(row["ratio"], kd=row["kd"])]
        lines.append(
            (
                _ratio(row["ratio"], kd=row["kd"]),
                f"{100 * row['accuracy']:.1f}",
                accuracy_cell(trial, evidence),
                f"{row['size_mb']:.2f} / {_cost(trial, MEGABYTES, 2)}",
                f"{row['parameters']:,} / {_cost(trial, PARAMETERS, 0)}",
                f"{row['inference_s'] / baseline:.2f} / {_cost(trial, TIME, 2)}",
            )
        )
    header = ("model", "thesis", "ours [95 %]", "MB", "parameters", "time to B0")
    caption = with_noise("Test accuracy in %; costs: thesis / ours, the thesis's time over its own B0's.", lines)
    blocks.append(Table(header=header, rows=tuple(lines), caption=caption))
    series = []
    for kd in (False, True):
        name = "with KD" if kd else "without KD"
        points = [(row["ratio"], found[_ratio(row["ratio"], kd=kd)]) for row in rows if row["kd"] == kd]
        ours = [(ratio, trial) for ratio, trial in points if trial]
        theirs = [(row["ratio"], row["accuracy"]) for row in rows if row["kd"] == kd]
        series.append(_series(f"ours, {name}", ours, evidence))
        xs, ys = zip(*theirs, strict=True)
        series.append(figures.Series(name=f"thesis, {name}", x=xs, y=ys, published=True))
        if ours:
            base = evidence.base(ours[0][1])
            blocks.append(Text(text=f"Lite0 {name}: {upper_ratio(evidence, ours, base, 0.05)}"))
    for ratio in (0.25, 0.3, 0.35):
        words = f"at {100 * ratio:.0f} %, pruning with the teacher beats pruning without"
        claim = Claim(words=words, better=_ratio(ratio, kd=True), worse=_ratio(ratio, kd=False))
        blocks.append(_verdict(claim, wanted, found, evidence))
    svg = figures.lines(
        [row for row in series if row.x], x_label="prune ratio (%)", y_label="test accuracy (%)", percent_x=True
    )
    return [*blocks, Figure(name="prune-ratio", svg=svg, caption="Test accuracy over the prune ratio.")]


def _alphas(evidence: Evidence, histories: Histories) -> list[Block]:
    """Return the effect of alpha."""
    theirs = published()["kd_alpha_no_fine_tuning"]
    found = _one_sweep_of_alphas(evidence)
    blocks: list[Block] = [
        Heading(text="Alpha, the weight of the teacher"),
        Text(
            text="SCSE23-0504, section 6.2.5.1, Table 6.2.5.1.1: any distillation beats none, and 0.25 and 0.75 beat "
            "the even mixture (Lite0, before fine-tuning)."
        ),
    ]
    if sum(trial is not None for trial in found.values()) < 2:
        return [*blocks, _not_run("python sweeps/kd_alpha.py")]
    rows = tuple((a, f"{100 * theirs[a]:.2f}", accuracy_cell(found[a], evidence)) for a in ALPHAS)
    blocks.append(Table(header=("alpha", "thesis", "ours [95 %]"), rows=rows, caption="Test accuracy in %."))
    claims = [("0.25", "0"), ("0.5", "0"), ("0.75", "0"), ("1", "0"), ("0.25", "0.5"), ("0.75", "0.5")]
    for better, worse in claims:
        claim = Claim(words=f"alpha {better} beats {worse}", better=f"alpha {better}", worse=f"alpha {worse}")
        verdict = judge(claim, found[better], found[worse], evidence)
        blocks.append(Text(text=verdict.words, state=verdict.state))
    ours = [(float(alpha), trial) for alpha, trial in found.items() if trial]
    published_ = figures.Series(
        name="thesis", x=[float(a) for a in ALPHAS], y=[theirs[a] for a in ALPHAS], published=True
    )
    svg = figures.lines([_series("ours", ours, evidence), published_], x_label="alpha", y_label="test accuracy (%)")
    blocks.append(Figure(name="alpha", svg=svg, caption="Test accuracy over alpha; bars: 95 % interval."))
    curves = histories([trial for _, trial in ours])
    if curves:
        blocks.append(Figure(name="curves-alpha", svg=figures.curves(curves), caption="Training curves."))
    return blocks


def _one_sweep_of_alphas(evidence: Evidence) -> dict[str, Trial | None]:
    """Return the trial of each alpha from those of one sweep that differ in alpha alone, where most alphas are."""
    best: dict[str, Trial | None] = dict.fromkeys(ALPHAS)
    alike: dict[tuple[str | None, ...], list[Trial]] = {}
    for trial in reversed(evidence.eligible.trials):
        alike.setdefault((trial.sweep, *(trial.params.get(name) for name in CONDITIONS)), []).append(trial)
    for group in alike.values():
        found = {alpha: evidence.find(alpha_row(alpha), among=group) for alpha in ALPHAS}
        if sum(map(bool, found.values())) > sum(map(bool, best.values())):
            best = found
    return best


def _without_schedule(evidence: Evidence, histories: Histories) -> list[Block]:
    """Return whether distillation makes warm-up and schedule unnecessary."""
    alphas = (0.25, 0.5, 0.75, 1.0)
    lite0 = {**FLOAT, "architecture": "Lite0", "start": ("imagenet", "none")}
    constant = evidence.find({**lite0, "scheduled": False, "alpha": alphas})
    alpha = evidence.kinds[constant.run_id].alpha if constant else alphas
    wanted: dict[str, Row] = {
        "schedule, no KD": {**lite0, "fine_tuned": False, "scheduled": True, "alpha": 0.0},
        "no schedule, no KD": {**lite0, "scheduled": False, "alpha": 0.0},
        "schedule, KD": {**lite0, "fine_tuned": False, "scheduled": True, "alpha": alpha},
        "no schedule, KD": {**lite0, "scheduled": False, "alpha": alpha},
    }
    found = evidence.find_together(wanted)
    blocks: list[Block] = [
        Heading(text="Distillation without the schedule"),
        Text(
            text="SCSE23-0504, section 6.2.5.1 (curves: 5.4.4): with distillation, warm-up and cosine annealing are "
            "not needed; without it, leaving them out ended badly. It gives no figures."
        ),
    ]
    if constant is None or found["no schedule, no KD"] is None:
        return [*blocks, _not_run("python sweeps/schedule.py")]
    rows = tuple((name, accuracy_cell(trial, evidence)) for name, trial in found.items())
    blocks.append(Table(header=("Lite0", "ours [95 %]"), rows=rows, caption="Test accuracy in %."))
    for words, better, worse in (
        ("without a schedule, KD beats no KD", "no schedule, KD", "no schedule, no KD"),
        ("without KD, leaving the schedule out costs accuracy", "schedule, no KD", "no schedule, no KD"),
        ("with KD, a schedule still helps (the thesis says it does not)", "schedule, KD", "no schedule, KD"),
    ):
        claim = Claim(words=words, better=better, worse=worse)
        blocks.append(_verdict(claim, wanted, found, evidence))
    curves = histories([trial for trial in found.values() if trial])
    if curves:
        blocks.append(Figure(name="curves-schedule", svg=figures.curves(curves), caption="Training curves."))
    return blocks


def _summary(evidence: Evidence) -> list[Block]:
    """Return the thesis's last table: the best model of each step."""
    blocks: list[Block] = [
        Heading(text="Summary"),
        Text(
            text="SCSE23-0504, section 6.2.6, Table 6.2.6.1. Its times are seconds for a batch of 32 on another CPU; "
            "ours are given as the ratio to B0, measured side by side."
        ),
    ]
    baseline, lines = published()["summary"][0]["inference_s"], []
    for row in published()["summary"]:
        kd, ratio = row["kd"], row["prune_ratio"]
        name = model_name(row["model"], ratio, kd=kd)
        wanted = ratio_row(ratio, kd=kd) if ratio else MODELS[f"{row['model']}, fine-tuned"]
        trial = evidence.find(wanted)
        if trial is None and not ratio:
            trial = evidence.find({**PLAIN, "architecture": row["model"]})
        parameters, size, time = (_cost(trial, names, decimals) for names, decimals in COSTS)
        lines.append(
            (
                name,
                trial.name if trial else NOT_RUN,
                f"{100 * row['accuracy']:.1f} / {accuracy_cell(trial, evidence)}",
                f"{row['size_mb']:.2f} / {size}",
                f"{row['parameters']:,} / {parameters}",
                f"{row['inference_s'] / baseline:.2f} / {time}",
            )
        )
    header = ("model", "our trial", "test accuracy", "MB", "parameters", "time to B0")
    blocks.append(
        Table(
            header=header,
            rows=tuple(lines),
            caption=with_noise(SUMMARY, lines),
        )
    )
    best = evidence.find(MODELS[BEST_PRUNED])
    if best is None:
        return [*blocks, Text(text="By category, Figure 6.2.6.2:"), _not_run("python sweeps/kd_prune.py")]
    return [*blocks, _accuracies((BEST_PRUNED,), {BEST_PRUNED: best}, evidence)]


def _series(name: str, points: Sequence[tuple[float, Trial]], evidence: Evidence) -> figures.Series:
    return figures.Series(
        name=name,
        x=[x for x, _ in points],
        y=[trial.metrics["test_accuracy"] for _, trial in points],
        spans=[evidence.interval(trial) for _, trial in points],
    )


def _cost(trial: Trial | None, names: Sequence[str], decimals: int) -> str:
    """Return the first of the metrics that the trial has, `-` when it has none."""
    name = next((name for name in names if name in trial.metrics), None) if trial else None
    return "-" if trial is None or name is None else f"{noise_mark(trial, name)}{trial.metrics[name]:,.{decimals}f}"


def with_noise(caption: str, rows: Sequence[Sequence[str]]) -> str:
    """Return a table's caption, which says what `~` means where a cell has it."""
    return f"{caption} {NOISE_NOTE}." if any("~" in cell for row in rows for cell in row) else caption


def _ratio(ratio: float, *, kd: bool) -> str:
    """Return a pruned model's name: `Lite0 + KD, 25 %`."""
    return f"Lite0{' + KD' if kd else ''}, {100 * ratio:.0f} %"


def _verdict(claim: Claim, wanted: Mapping[str, Row], ours: Mapping[str, Trial | None], evidence: Evidence) -> Text:
    """Return the verdict on a claim, on two trials of one seed and recipe where there are two.

    Those of the table are taken when they are such; else others, which are then named.
    """
    better, worse = ours[claim.better], ours[claim.worse]
    verdict = judge(claim, better, worse, evidence)
    words = verdict.words
    if better and worse and evidence.unlike(better, worse):
        alike = evidence.find_alike(wanted[claim.better], wanted[claim.worse])
        if alike:
            verdict = judge(claim, *alike, evidence)
            named = " and ".join(f"{trial.name} ({trial.sweep})" for trial in alike)
            words = f"{verdict.words} Compared are {named}, of one seed and recipe; the table's are not."
    return Text(text=words, state=verdict.state)


def _not_run(*commands: str) -> Text:
    return Text(text=f"Not run: {' and '.join(f'`{command}`' for command in commands)}.", state="not run")
