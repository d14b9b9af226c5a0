"""Draw the Pareto front of recorded trials: PNG, SVG and a page that works offline.

    python analysis/pareto.py                                  # every recorded sweep, accuracy against size
    python analysis/pareto.py --sweep kd_alpha --x latency     # one question, against CPU latency

Fronts are chosen on validation scores; test scores are shown on hover and in the table.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis import objectives, plots
from analysis.addresses import TRACKING_HELP, default_tracking_uri, project_root, ui_address
from analysis.comparison import Comparison, by_data, compare, front_probabilities, sample
from analysis.page import write_page
from analysis.published import PublishedModel, published_models
from analysis.runs import CACHE, Trial, read_runs
from data_store.errors import InputError, run_command

FILE_WIDTH = 160
"""Columns of the table where no terminal says how many there are."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The files that were written, and what they show."""

    png: tuple[Path, ...]
    """One a store and split."""
    svg: tuple[Path, ...]
    """The same for print."""
    html: Path
    """The interactive page, all stores in one."""
    comparisons: tuple[Comparison, ...]
    """One a store and split, most trials first."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file."""
        return (*self.png, *self.svg, self.html)


def draw(
    trials: Sequence[Trial],
    out_dir: Path,
    *,
    x: str = "size_mb",
    y: str = "accuracy",
    z: str | None = None,
    tracking_uri: str | None = None,
    log_x: bool = False,
    published: bool = False,
    questions: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Pictures:
    """Draw the front of the given trials, one picture for each store and split.

    Args:
        trials: finished trials, at least one.
        out_dir: folder for the pictures; made when missing.
        x: cost: `size_mb`, `latency`, `latency_ratio`, `macs` or `parameters`.
        y: validation score: `accuracy`, `auc`, `accuracy_Deepfakes`, ...
        z: a second cost: filled points are then on the front of all three.
        tracking_uri: MLflow's address, for links to the runs and predictions on a server.
        log_x: logarithmic cost axis.
        published: draw the models of report SCSE23-0504 beside ours, where they have that cost.
        questions: experiments for the title; those of all trials when empty.
        notes: sentences for the page on what the trials leave out.

    Raises:
        InputError: an unknown cost or score, no trial with both, or a folder that cannot be written.
    """
    uri = tracking_uri or default_tracking_uri()
    cost, score = objectives.cost(x), objectives.score(y, trials)
    third = objectives.cost(z, "--z") if z else None
    if third is cost:
        raise InputError(f"--z must be another cost than --x, but both are {x}; leave --z out")
    comparisons, probabilities = [], []
    for group in by_data(trials):
        samples = sample(group, score, tracking_uri=uri)
        compared = compare(group, cost, score, samples, z=third)
        if compared.points:
            comparisons.append(compared)
            axes = objectives.COSTS.values()
            chances = {axis.name: front_probabilities(group, (axis,), score, samples) for axis in axes}
            if third:
                both = front_probabilities(group, (cost, third), score, samples)
                chances |= {f"{cost.name}|{third.name}": both, f"{third.name}|{cost.name}": both}
            probabilities.append(chances)
    if not comparisons:
        raise InputError(
            f"a point needs a finite {cost.key} and {score.key}, but none of {len(trials)} trials has both; "
            "choose another --x or --y, or let the sweep end"
        )
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        models = published_models() if published else ()
        return _write(
            out_dir,
            comparisons,
            probabilities,
            uri,
            log_x=log_x,
            published=models,
            questions=questions,
            notes=notes,
        )
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--out must be a folder that can be written, but {out_dir} is not: {reason}") from error


def _write(
    out_dir: Path,
    comparisons: Sequence[Comparison],
    probabilities: Sequence[dict[str, dict[str, float]]],
    uri: str,
    *,
    log_x: bool,
    published: Sequence[PublishedModel],
    questions: Sequence[str],
    notes: Sequence[str],
) -> Pictures:
    """Write all files."""
    apart = len(comparisons) > 1
    titles, subtitles, png, svg = [], [], [], []
    for number, compared in enumerate(comparisons, start=1):
        title, subtitle = _words(compared, questions)
        if apart:
            subtitle += f" \N{MIDDLE DOT} {number} of {len(comparisons)} data sets, not to be compared"
        mark = f"-{compared.data.store_digest[:8]}-{compared.data.split_kind}" if apart else ""
        stem = f"pareto-{compared.x.name}-{compared.y.name}{mark}"
        files = (out_dir / f"{stem}.png", out_dir / f"{stem}.svg")
        models = published if compared.y.name == "accuracy" else ()
        plots.draw_front(compared, files, title=title, subtitle=subtitle, log_x=log_x, published=models)
        png.append(files[0])
        svg.append(files[1])
        titles.append(title)
        subtitles.append(subtitle)
    page = out_dir / f"pareto-{comparisons[0].x.name}-{comparisons[0].y.name}.html"
    shown = [point.trial for compared in comparisons for point in compared.points]
    write_page(
        page,
        comparisons,
        subtitles,
        title=titles[0] if not apart else f"{_asked(questions, shown)} on {len(comparisons)} data sets, drawn apart",
        link=ui_address(uri),
        probabilities=probabilities,
        notes=notes,
    )
    return Pictures(png=tuple(png), svg=tuple(svg), html=page, comparisons=tuple(comparisons))


def _words(compared: Comparison, questions: Sequence[str]) -> tuple[str, str]:
    """Return title (questions and data set) and subtitle (store, split, profile, count, date)."""
    trials = [point.trial for point in compared.points]
    sweeps = _asked(questions, trials)
    paths = {trial.tags["store"] for trial in trials if "store" in trial.tags}
    stores = sorted({path.rstrip("/").rpartition("/")[2] for path in paths})
    profiles = sorted({trial.tags["profile"] for trial in trials if "profile" in trial.tags})
    title = f"{sweeps} on {_listed(stores)}" if stores else sweeps
    last = max(trials, key=lambda trial: trial.ended)
    dot = " \N{MIDDLE DOT} "
    parts = [
        compared.data.text,
        *([f"{_listed(profiles)} profile"] if profiles else []),
        f"{len(trials)} trials" if len(trials) > 1 else "1 trial",
        *([last.date] if last.ended else []),
    ]
    return title, dot.join(parts)


def _asked(questions: Sequence[str], trials: Sequence[Trial]) -> str:
    """Return the questions as words, or those of the trials where none was named."""
    return _listed(questions or sorted({trial.experiment for trial in trials}))


def _listed(names: Sequence[str], most: int = 3) -> str:
    """Return names as words: `a, b and 4 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _print_front(compared: Comparison) -> None:
    """Print the front as a table, cheapest first."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    y, test = compared.y, compared.y.test()
    worst = ", ".join(axis.show(end) for axis, end in zip(compared.objectives, compared.reference, strict=True))
    costs = [axis for axis in compared.objectives if axis is not y]
    noisy = any(objectives.noise_mark(point.trial, axis.key) for point in compared.front for axis in costs)
    explained = f"\n{objectives.NOISE_NOTE}" if noisy else ""
    table = Table(
        title=f"Pareto front, {compared.data.text}",
        caption=f"hypervolume {compared.hypervolume:.3f} from ({worst}); [ ] is the 95 % interval{explained}",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("trial", no_wrap=True)
    table.add_column("model", no_wrap=True)
    heads = [*(axis.column for axis in costs), y.column, test.column if test else "", "on front"]
    for head in heads:
        table.add_column(head.replace(" (", "\n("), justify="right", no_wrap=True)
    knee = compared.points[compared.knee].trial.run_id if compared.knee is not None else None
    for point in compared.front:
        ends = [y.show(end, unit=False) for end in point.y_interval or ()]
        table.add_row(
            f"{point.trial.name}{' (knee)' if point.trial.run_id == knee else ''}",
            point.trial.architecture,
            *(axis.text(point.trial, unit=False) for axis in costs),
            f"{y.show(point.y, unit=False)}{f' [{ends[0]}, {ends[1]}]' if ends else ''}",
            test.show(test.value(point.trial), unit=False) if test else "",
            f"{100 * point.front_probability:.0f} %" if point.front_probability is not None else "-",
        )
    console = Console()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    console.print(table)
    for note in compared.notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the runs, draw, and say where the pictures are."""
    parser = argparse.ArgumentParser(description="Draw the Pareto front of the trials recorded in MLflow.")
    parser.add_argument("--tracking-uri", help=TRACKING_HELP)
    parser.add_argument("--sweep", nargs="+", default=[], metavar="NAME", help="sweeps to draw (default: all)")
    parser.add_argument("--x", default="size_mb", help=f"cost: {', '.join(objectives.COSTS)} (default: size_mb)")
    parser.add_argument("--y", default="accuracy", help="validation score: accuracy, auc, accuracy_Deepfakes, ...")
    parser.add_argument("--z", help="a second cost: a front of three objectives")
    parser.add_argument("--published", action="store_true", help="draw the models of report SCSE23-0504 beside ours")
    parser.add_argument("--log-x", action="store_true", help="logarithmic cost axis")
    parser.add_argument("--out", type=Path, help="folder for the pictures (default: results/plots)")
    options = parser.parse_args(arguments)
    objectives.cost(options.x)
    runs = read_runs(options.tracking_uri, options.sweep, cache=project_root() / CACHE)
    pictures = draw(
        runs.trials,
        options.out or project_root() / "results" / "plots",
        x=options.x,
        y=options.y,
        z=options.z,
        published=options.published,
        tracking_uri=runs.tracking_uri,
        log_x=options.log_x,
        questions=runs.questions,
        notes=runs.notes,
    )
    for compared in pictures.comparisons:
        _print_front(compared)
    if len(pictures.comparisons) > 1:
        sys.stdout.write("note: runs of different stores or splits are drawn apart; their scores do not compare\n")
    sys.stdout.write("".join(f"note: {note}\n" for note in runs.notes))
    sys.stdout.write("".join(f"{path}\n" for path in (*pictures.png, pictures.html)))
    return 0


if __name__ == "__main__":
    run_command(main)
