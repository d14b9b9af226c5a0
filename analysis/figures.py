"""The report's figures, each as a string of SVG: colour-blind safe, legible in grey, no script, no network."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.scene import COLOURS, FAINT, INK, MARKERS, SOFT
from trainables.metrics import reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Curve = Sequence[tuple[int, float]]
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points along an axis, ours with intervals or published ones."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spans: Sequence[tuple[float, float] | None] = ()
    """95 % interval of each point, empty without."""
    published: bool = False
    """Drawn as grey crosses."""


def lines(series: Sequence[Series], *, x_label: str, y_label: str, percent_x: bool = False) -> str:
    """Draw accuracies (fractions, shown in %) along alpha or the prune ratio, ours and published."""
    with _figure((7.2, 3.9)) as (figure, out):
        axes = figure.add_axes((0.1, 0.15, 0.86, 0.74))
        scale = 100 if percent_x else 1
        for index, row in enumerate(series):
            colour = FAINT if row.published else COLOURS[index % len(COLOURS)]
            marker = "x" if row.published else MARKERS[index % len(MARKERS)]
            xs = [value * scale for value in row.x]
            shift = 0.004 * index * (max(xs) - min(xs) or 1)
            for x, span in zip(xs, row.spans, strict=False):
                if span:
                    axes.plot([x + shift] * 2, [100 * end for end in span], color=colour, alpha=0.5, linewidth=1.4)
            look: Any = {"color": colour, "marker": marker, "markersize": 7, "linewidth": 1.4}
            axes.plot([x + shift for x in xs], [100 * y for y in row.y], ls=LINES[index % 4], label=row.name, **look)
        _plain(axes, x_label, y_label)
        axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=len(series))
        return out()


def curves(histories: Mapping[str, Mapping[str, Curve]]) -> str:
    """Draw training and validation curves, one panel a quantity.

    Args:
        histories: trial's name -> `loss` or `accuracy` and split, such as `val_loss` -> (epoch, value).
    """
    with _figure((7.6, 3.8)) as (figure, out):
        left = figure.add_axes((0.08, 0.14, 0.4, 0.7))
        right = figure.add_axes((0.57, 0.14, 0.4, 0.7))
        for index, (name, found) in enumerate(histories.items()):
            colour = COLOURS[index % len(COLOURS)]
            for axes, key, line, scale in (
                (left, "train_loss", ":", 1),
                (left, "val_loss", "-", 1),
                (right, "train_accuracy", ":", 100),
                (right, "val_accuracy", "-", 100),
            ):
                curve = found.get(key, ())
                if curve:
                    steps, values = zip(*curve, strict=True)
                    label = name if key == "val_loss" else None
                    shown = [value * scale for value in values]
                    axes.plot(steps, shown, line, color=colour, linewidth=1.5, label=label, marker=_dot(curve))
        _plain(left, "epoch", "loss (dotted: training)")
        _plain(right, "epoch", "accuracy (%; dotted: training)")
        figure.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(0.06, 0.99), ncols=4)
        return out()


def heat_map(rows: Sequence[str], columns: Sequence[str], values: Array) -> str:
    """Draw accuracies (num_rows, num_columns), fractions, with the figure in each cell; `nan` is left empty."""
    tall = 0.34 * len(rows) + 0.45
    with _figure((7.6, tall)) as (figure, out):
        axes = figure.add_axes((0.3, 0.02, 0.68, 0.34 * len(rows) / tall))
        low = min(0.5, float(np.nanmin(values))) if np.isfinite(values).any() else 0.5
        axes.imshow(values, aspect="auto", cmap="cividis", vmin=low, vmax=1.0)
        for row, column in np.argwhere(np.isfinite(values)).tolist():
            value = float(values[row, column])
            dark = (value - low) / (1 - low) < 0.55
            colour = "white" if dark else "black"
            axes.text(column, row, f"{100 * value:.1f}", ha="center", va="center", color=colour, fontsize=8.5)
        axes.set_xticks(range(len(columns)), columns, fontsize=9)
        axes.set_yticks(range(len(rows)), rows, fontsize=9)
        axes.xaxis.tick_top()
        axes.tick_params(length=0, colors=INK)
        for side in axes.spines.values():
            side.set_visible(False)
        return out()


def calibration(models: Sequence[tuple[str, Array, NDArray[np.int64]]]) -> str:
    """Draw how often a fake probability is right, in the bins of the recorded error: on the diagonal, as it says.

    Args:
        models: (name, probability of fake (num_crops,), label (num_crops,)).
    """
    with _figure((5.4, 4.4)) as (figure, out):
        axes = figure.add_axes((0.13, 0.12, 0.83, 0.72))
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
        for index, (name, probability, label) in enumerate(models):
            bins = reliability(label, probability)
            look: Any = {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index % 4], "linewidth": 1.4}
            look |= {"marker": MARKERS[index % len(MARKERS)], "label": name}
            axes.plot(bins.mean_probabilities, bins.fake_shares, **look)
        _plain(axes, "said: probability of fake", "was: share of fakes")
        axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2)
        return out()


def confusion(name: str, categories: Sequence[str], called_fake: Sequence[int], total: Sequence[int]) -> str:
    """Draw how many crops of each category were called real and fake at 0.5, as shares of the category."""
    with _figure((6.4, 0.9 + 0.36 * len(categories))) as (figure, out):
        axes = figure.add_axes((0.2, 0.2, 0.6, 0.66))
        for row, (fake, all_) in enumerate(zip(called_fake, total, strict=True)):
            share = fake / all_ if all_ else 0.0
            axes.barh(row, share, color="#D55E00", edgecolor="white")
            axes.barh(row, 1 - share, left=share, color="#9fc7e0", edgecolor="white")
            axes.text(1.015, row, f"{fake} fake, {all_ - fake} real", va="center", fontsize=8.5, color=INK)
        axes.set_yticks(range(len(categories)), categories, fontsize=9)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_title(name, fontsize=10, loc="left")
        axes.set_xlabel("share of the category's crops that is called fake (orange) or real (blue)", fontsize=9)
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        return out()


def parallel(axes_names: Sequence[str], values: Array, ticks: Sequence[Sequence[str]], score: Array, label: str) -> str:
    """Draw one line a trial across its settings and results, coloured by a score.

    Args:
        axes_names: name of each axis.
        values: (num_trials, num_axes) in [0, 1], already scaled; `nan` breaks the line.
        ticks: lower and upper label of each axis.
        score: (num_trials,) what colours a line.
        label: of the colour bar.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    with _figure((8.6, 4.1)) as (figure, out):
        axes = figure.add_axes((0.07, 0.24, 0.81, 0.68))
        norm = Normalize(float(np.nanmin(score)), float(np.nanmax(score)) or 1.0)
        for index in np.argsort(score).tolist():
            colour = colormaps["cividis"](norm(score[index]))
            axes.plot(range(len(axes_names)), values[index], color=colour, alpha=0.75, linewidth=1.2)
        for place, (low, high) in enumerate(ticks):
            axes.axvline(place, color="#bbbbbb", linewidth=1, zorder=0)
            axes.text(place, -0.03, low, ha="center", va="top", fontsize=8, color=SOFT)
            axes.text(place, 1.03, high, ha="center", va="bottom", fontsize=8, color=SOFT)
        axes.set_xticks(range(len(axes_names)), axes_names, fontsize=8.5, rotation=20, ha="right")
        axes.tick_params(length=0, pad=14)
        axes.set_yticks([])
        axes.set_ylim(-0.02, 1.02)
        for side in axes.spines.values():
            side.set_visible(False)
        bar = figure.colorbar(ScalarMappable(norm, "cividis"), cax=figure.add_axes((0.91, 0.24, 0.018, 0.68)))
        bar.set_label(label, fontsize=9)
        bar.ax.tick_params(labelsize=8)
        return out()


def bars(names: Sequence[str], shares: Sequence[float], x_label: str) -> str:
    """Draw named shares, the largest on top."""
    with _figure((6.4, 0.9 + 0.3 * len(names))) as (figure, out):
        axes = figure.add_axes((0.32, 0.24, 0.62, 0.72))
        axes.barh(range(len(names)), shares, color="#0072B2")
        for row, share in enumerate(shares):
            axes.text(share, row, f" {share:.2f}", va="center", fontsize=8.5)
        axes.set_yticks(range(len(names)), names, fontsize=9)
        axes.invert_yaxis()
        axes.set_xlim(0, max([*shares, 0.01]) * 1.15)
        axes.set_xlabel(x_label, fontsize=9)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        return out()


def growth(volumes: Sequence[float], y_label: str) -> str:
    """Draw the hypervolume after each finished trial."""
    from matplotlib.ticker import MaxNLocator

    with _figure((7.2, 2.6)) as (figure, out):
        axes = figure.add_axes((0.1, 0.2, 0.86, 0.74))
        axes.step(range(1, len(volumes) + 1), volumes, where="post", color="#0072B2", linewidth=1.8)
        axes.set_ylim(0, max([*volumes, 1e-9]) * 1.1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _plain(axes, "finished trials", y_label)
        return out()


def _dot(curve: Curve) -> str | None:
    """Return a marker for a curve of one point, which would not show as a line."""
    return "o" if len(curve) == 1 else None


def _plain(axes: Any, x_label: str, y_label: str) -> None:  # noqa: ANN401 - matplotlib's axes
    axes.set_xlabel(x_label, fontsize=9.5, color=INK)
    axes.set_ylabel(y_label, fontsize=9.5, color=INK)
    axes.grid(visible=True, color="#e8e8e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


@contextmanager
def _figure(size: tuple[float, float]) -> "Iterator[tuple[Figure, Callable[[], str]]]":
    """Give a figure and what turns it into SVG text."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {"svg.hashsalt": "report", "font.family": "DejaVu Sans"}
    with mpl.rc_context(settings):
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)

        def out() -> str:
            stream = io.StringIO()
            figure.savefig(stream, format="svg", metadata={"Date": None})
            text = stream.getvalue()
            return text[text.index("<svg") :]

        yield figure, out
