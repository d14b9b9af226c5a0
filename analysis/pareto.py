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
from analysis.comparison import Comparison, by_data, compare, front_probabilities, sample
from analysis.page import write_page
from analysis.runs import TRACKING_HELP, Trial, default_tracking_uri, project_root, read_runs, ui_address
from data_store.errors import InputError, run_command


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
    tracking_uri: str | None = None,
    log_x: bool = False,
    notes: Sequence[str] = (),
) -> Pictures:
    """Draw the front of the given trials, one picture for each store and split.

    Args:
        trials: finished trials, at least one.
        out_dir: folder for the pictures; made when missing.
        x: cost: `size_mb`, `latency`, `latency_ratio`, `macs` or `parameters`.
        y: validation score: `accuracy`, `auc`, `accuracy_Deepfakes`, ...
        tracking_uri: MLflow's address, for links to the runs and predictions on a server.
        log_x: logarithmic cost axis.
        notes: sentences for the page on what the trials leave out.

    Raises:
        InputError: an unknown cost or score, no trial with both, or a folder that cannot be written.
    """
    uri = tracking_uri or default_tracking_uri()
    cost, score = objectives.cost(x), objectives.score(y, trials)
    comparisons, probabilities = [], []
    for group in by_data(trials):
        samples = sample(group, score, tracking_uri=uri)
        compared = compare(group, cost, score, samples)
        if compared.points:
            comparisons.append(compared)
            axes = objectives.COSTS.values()
            probabilities.append({axis.name: front_probabilities(group, axis, score, samples) for axis in axes})
    if not comparisons:
        raise InputError(
            f"a point needs a finite {cost.key} and {score.key}, but none of {len(trials)} trials has both; "
            "choose another --x or --y, or let the sweep end"
        )
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        return _write(out_dir, comparisons, probabilities, trials, uri, log_x=log_x, notes=notes)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--out must be a folder that can be written, but {out_dir} is not: {reason}") from error


def _write(
    out_dir: Path,
    comparisons: Sequence[Comparison],
    probabilities: Sequence[dict[str, dict[str, float]]],
    trials: Sequence[Trial],
    uri: str,
    *,
    log_x: bool,
    notes: Sequence[str],
) -> Pictures:
    """Write all files."""
    apart = len(comparisons) > 1
    titles, subtitles, png, svg = [], [], [], []
    for number, compared in enumerate(comparisons, start=1):
        title, subtitle = _words(compared)
        if apart:
            subtitle += f" \N{MIDDLE DOT} {number} of {len(comparisons)} data sets, not to be compared"
        mark = f"-{compared.data.store_digest[:8]}-{compared.data.split_kind}" if apart else ""
        stem = f"pareto-{compared.x.name}-{compared.y.name}{mark}"
        files = (out_dir / f"{stem}.png", out_dir / f"{stem}.svg")
        plots.draw_front(compared, files, title=title, subtitle=subtitle, log_x=log_x)
        png.append(files[0])
        svg.append(files[1])
        titles.append(title)
        subtitles.append(subtitle)
    page = out_dir / f"pareto-{comparisons[0].x.name}-{comparisons[0].y.name}.html"
    sweeps = _listed(sorted({trial.experiment for trial in trials}))
    write_page(
        page,
        comparisons,
        subtitles,
        title=titles[0] if not apart else f"{sweeps} on {len(comparisons)} data sets, drawn apart",
        link=ui_address(uri),
        probabilities=probabilities,
        notes=notes,
    )
    return Pictures(png=tuple(png), svg=tuple(svg), html=page, comparisons=tuple(comparisons))


def _words(compared: Comparison) -> tuple[str, str]:
    """Return title (sweep and data set) and subtitle (store, split, profile, count, date)."""
    trials = [point.trial for point in compared.points]
    sweeps = _listed(sorted({trial.experiment for trial in trials}))
    paths = {trial.tags["store"] for trial in trials if "store" in trial.tags}
    stores = sorted({path.rstrip("/").rpartition("/")[2] for path in paths})
    profiles = sorted({trial.tags["profile"] for trial in trials if "profile" in trial.tags})
    title = f"{sweeps} on {_listed(stores)}" if stores else sweeps
    ends = [trial.ended for trial in trials if trial.ended]
    dot = " \N{MIDDLE DOT} "
    parts = [
        compared.data.text,
        *([f"{_listed(profiles)} profile"] if profiles else []),
        f"{len(trials)} trials" if len(trials) > 1 else "1 trial",
        *([f"{max(ends).day} {max(ends):%B %Y}"] if ends else []),
    ]
    return title, dot.join(parts)


def _listed(names: Sequence[str], most: int = 3) -> str:
    """Return names as words: `a, b and 4 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _print_front(compared: Comparison) -> None:
    """Print the front as a table, cheapest first."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    x, y, test = compared.x, compared.y, compared.y.test()
    worst = f"{x.show(compared.reference[0])}, {y.show(compared.reference[1])}"
    table = Table(
        title=f"Pareto front, {compared.data.text}",
        caption=f"hypervolume {compared.hypervolume:.3f} from ({worst}); [ ] is the 95 % interval",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("trial", no_wrap=True)
    table.add_column("model")
    for head in (x.column, y.column, test.column if test else "", "on the front in"):
        table.add_column(head.replace(" (", "\n("), justify="right", no_wrap=True)
    knee = compared.points[compared.knee].trial.run_id if compared.knee is not None else None
    for point in compared.front:
        ends = [y.show(end, unit=False) for end in point.y_interval or ()]
        table.add_row(
            f"{point.trial.name}{' (knee)' if point.trial.run_id == knee else ''}",
            point.trial.architecture,
            x.show(point.x, unit=False),
            f"{y.show(point.y, unit=False)}{f' [{ends[0]}, {ends[1]}]' if ends else ''}",
            test.show(test.value(point.trial), unit=False) if test else "",
            f"{100 * point.front_probability:.0f} %" if point.front_probability is not None else "-",
        )
    console = Console()
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
    parser.add_argument("--log-x", action="store_true", help="logarithmic cost axis")
    parser.add_argument("--out", type=Path, help="folder for the pictures (default: results/plots)")
    options = parser.parse_args(arguments)
    objectives.cost(options.x)
    runs = read_runs(options.tracking_uri, options.sweep)
    unfinished = _listed(list(runs.unfinished))
    notes = [f"not drawn, unfinished: {unfinished}"] if runs.unfinished else []
    pictures = draw(
        runs.trials,
        options.out or project_root() / "results" / "plots",
        x=options.x,
        y=options.y,
        tracking_uri=runs.tracking_uri,
        log_x=options.log_x,
        notes=notes,
    )
    for compared in pictures.comparisons:
        _print_front(compared)
    if len(pictures.comparisons) > 1:
        sys.stdout.write("note: runs of different stores or splits are drawn apart; their scores do not compare\n")
    sys.stdout.write("".join(f"note: {note}\n" for note in notes))
    sys.stdout.write("".join(f"{path}\n" for path in (*pictures.png, pictures.html)))
    return 0


if __name__ == "__main__":
    run_command(main)
