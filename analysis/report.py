"""One page that answers: what did the thesis find, does it hold here, and what is new.

    python analysis/report.py                     # results/report/report.html, and report.md
    python analysis/report.py --sweep kd_alpha

Every table and curve of report SCSE23-0504 is made again from our runs, ours beside its figure.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis import report_new, report_thesis
from analysis.addresses import TRACKING_HELP, project_root
from analysis.blocks import Block, Figure, Heading, Text, to_html, to_markdown
from analysis.comparison import by_data
from analysis.figures import Curve
from analysis.findings import Evidence
from analysis.pareto import draw
from analysis.pick import one_data
from analysis.published import published
from analysis.runs import CACHE, Runs, Trial, read_histories, read_runs
from data_store.errors import InputError, run_command
from trainables import metric_keys as keys

CURVES = {
    "train_loss": keys.EPOCH_TRAIN_LOSS,
    "val_loss": keys.EPOCH_VAL_LOSS,
    "train_accuracy": keys.EPOCH_TRAIN_ACCURACY,
    "val_accuracy": keys.EPOCH_VAL_ACCURACY,
}


def write(runs: Runs, out_dir: Path, data: str | None = None) -> tuple[Path, Path]:
    """Write the report of the runs of one store and split.

    Args:
        runs: finished trials.
        out_dir: folder for the page, the Markdown and the figures; made when missing.
        data: store and split, `1a2b3c4d/official`; None for the one with most trials.

    Returns:
        The HTML page and the Markdown file.

    Raises:
        InputError: an unknown store and split, or a folder that cannot be written.
    """
    groups = by_data(runs.trials)
    trials = one_data(runs.trials, data) if data else groups[0]
    evidence = Evidence(trials=trials, tracking_uri=runs.tracking_uri)

    def histories(chosen: Sequence[Trial]) -> dict[str, dict[str, Curve]]:
        found = read_histories(runs.tracking_uri, [trial.run_id for trial in chosen], list(CURVES.values()))
        return {
            trial.name: {name: found[trial.run_id][key] for name, key in CURVES.items()}
            for trial in chosen
            if any(found[trial.run_id].values())
        }

    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        thesis = report_thesis.sections(evidence, histories)
        blocks: list[Block] = [
            *_preface(trials, [group[0].data.text for group in groups if group[0].data != trials[0].data], runs),
            *([Text(text=evidence.eligible.left_out)] if evidence.eligible.left_out else []),
            Heading(text="At a glance"),
            report_thesis.at_a_glance(thesis),
            *thesis,
            *report_new.sections(evidence, _pictures(trials, out_dir, runs.tracking_uri), histories),
        ]
        return _files(out_dir, blocks)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"--out must be a folder that can be written, but {out_dir} is not: {reason}") from error


def _preface(trials: Sequence[Trial], others: Sequence[str], runs: Runs) -> list[Block]:
    """Return what the reader must know before the first table."""
    last = max(trials, key=lambda trial: trial.ended)
    profiles = sorted({trial.tags.get("profile", "unknown") for trial in trials})
    guarantees = sorted({trial.tags.get("guarantee", "unknown") for trial in trials})
    blocks: list[Block] = [
        Text(
            text=f"{len(trials)} trial{'s' * (len(trials) > 1)} of {trials[0].data.text} "
            f"(it guarantees: {', '.join(guarantees)}), "
            f"{', '.join(profiles)} profile, the last of {last.date}. Read from `{runs.tracking_uri}`."
        ),
        Text(
            text=f"Beside them: {published()['source']}. Its figures are test accuracies on a random split of frames, "
            "so that frames of one video are in training and in test; on a split that keeps people apart, lower "
            "figures are to be expected. Ours: test accuracy of the run with the best validation accuracy of those "
            "that fit the row, the rows of a table from one seed where one seed has them; 95 % intervals by bootstrap "
            "over source videos. A finding is held or reversed when the interval of the paired difference leaves out 0."
        ),
    ]
    if "demo" in profiles:
        blocks.append(
            Text(
                text="These are demo runs on drawn faces at 64 px, trained from scratch: they show that the methods "
                "run and how they compare with one another there, nothing about real deepfakes.",
                state="undecided",
            )
        )
    if others:
        words = f"Left out, since runs of different stores or splits do not compare: {'; '.join(others)} (`--data`)."
        blocks.append(Text(text=words))
    return [*blocks, *(Text(text=f"{note[0].upper()}{note[1:]}.") for note in runs.notes)]


def _pictures(trials: Sequence[Trial], out_dir: Path, tracking_uri: str) -> list[Figure]:
    """Draw the front against size and latency, where a trial has them."""
    found = []
    for x, words in (("size_mb", "size"), ("latency_ratio", "CPU latency")):
        try:
            pictures = draw(trials, out_dir / "figures", x=x, tracking_uri=tracking_uri, published=x == "size_mb")
        except InputError:
            continue  # no trial has this cost: the section of the other one stands
        svg = pictures.svg[0].read_text(encoding="utf-8")
        caption = f"Validation accuracy against {words}."
        found.append(Figure(name=f"front-{x}", svg=svg[svg.index("<svg") :], caption=caption))
    return found


def _files(out_dir: Path, blocks: Sequence[Block]) -> tuple[Path, Path]:
    """Write page, Markdown and figures."""
    title = "What our runs say about SCSE23-0504, and beyond"
    page, markdown = out_dir / "report.html", out_dir / "report.md"
    (out_dir / "figures").mkdir(exist_ok=True)
    for block in blocks:
        if isinstance(block, Figure):
            (out_dir / "figures" / f"{block.name}.svg").write_text(block.svg, encoding="utf-8")
    page.write_text(to_html(title, blocks), encoding="utf-8")
    markdown.write_text(to_markdown(title, blocks, "figures"), encoding="utf-8")
    return page, markdown


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the runs, write the report, and say where it is."""
    parser = argparse.ArgumentParser(description="Write the report: the thesis's tables again, and what is new.")
    parser.add_argument("--sweep", nargs="+", default=[], metavar="NAME", help="sweeps to report on (default: all)")
    parser.add_argument("--data", metavar="STORE[/SPLIT]", help="store digest and split (default: most trials)")
    parser.add_argument("--out", type=Path, help="folder for the report (default: results/report)")
    parser.add_argument("--tracking-uri", help=TRACKING_HELP)
    options = parser.parse_args(arguments)
    runs = read_runs(options.tracking_uri, options.sweep, cache=project_root() / CACHE)
    page, markdown = write(runs, options.out or project_root() / "results" / "report", options.data)
    sys.stdout.write(f"{page}\n{markdown}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
