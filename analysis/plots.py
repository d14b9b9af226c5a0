"""The Pareto picture for print: PNG and SVG, for colour-blind readers and grey printers alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.comparison import Comparison
from analysis.plot_text import draw_labels, draw_words
from analysis.published import PublishedModel
from analysis.scene import CROWD, DODGE_POINTS, FAINT, FRONT, INK, MOST_BARS, MOST_VECTORS, Array, Scene, barred, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_front(
    comparison: Comparison,
    files: Sequence[Path],
    *,
    title: str,
    subtitle: str,
    log_x: bool = False,
    published: Sequence[PublishedModel] = (),
) -> None:
    """Draw one comparison and save it under every given name (the suffix picks PNG, SVG or PDF)."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = {"svg.hashsalt": "pareto", "font.family": "DejaVu Sans"}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(9.0, 6.0), dpi=160)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.085, 0.225, 0.89, 0.63))
        shown = tuple(model for model in published if comparison.x.name in model.costs)
        _prepare(axes, comparison, shown, log_x=log_x)
        scene = Scene(
            axes=axes,
            comparison=comparison,
            style=styles([point.trial.architecture for point in comparison.points]),
            at=_side_by_side(axes, comparison),
            pixel=figure.dpi / 72,
            published=shown,
        )
        _draw_step(scene)
        _draw_published(scene)
        _draw_bars(scene)
        _draw_points(scene)
        draw_labels(figure, scene)
        draw_words(figure, scene, title, subtitle)
        for file in files:
            figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _prepare(axes: "Axes", comparison: Comparison, published: Sequence[PublishedModel], *, log_x: bool) -> None:
    """Set limits with room for labels, scales and the axes' words."""
    x, y = comparison.x, comparison.y
    others = [model.costs[x.name] * x.scale for model in published]
    lows = [point.x * x.scale for point in comparison.points] + others
    highs = [(point.x_high or point.x) * x.scale for point in comparison.points] + others
    ends = [value * y.scale for point in comparison.points for value in (point.y, *(point.y_interval or ()))]
    ends += [model.accuracy * y.scale for model in published]
    if log_x and min(lows) > 0:
        axes.set_xscale("log")
        ratio = max(max(highs) / min(lows), 1.2) ** 0.15
        axes.set_xlim(min(lows) / ratio, max(highs) * ratio**1.6)
    else:
        width = max(max(highs) - min(lows), 0.12 * max(highs), 1e-9)
        axes.set_xlim(max(min(lows) - 0.14 * width, 0.0), max(highs) + 0.3 * width)
    height = max(max(ends) - min(ends), 0.02 * max(map(abs, ends)), 1e-9)
    axes.set_ylim(min(ends) - 0.06 * height, max(ends) + 0.09 * height)
    axes.set_xlabel(f"{x.axis_label}   \N{LEFTWARDS ARROW} smaller is better", fontsize=10.5, color=INK)
    better = "higher is better \N{RIGHTWARDS ARROW}" if y.maximise else "\N{LEFTWARDS ARROW} lower is better"
    axes.set_ylabel(f"{y.axis_label}   {better}", fontsize=10.5, color=INK)
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _side_by_side(axes: "Axes", comparison: Comparison) -> Array:
    """Return where each point stands, in shown units.

    Points that share a cost stand side by side while they are few: the one on the front where it belongs, so
    that the step meets it, the dominated ones to its right, within the dominated area, by name.
    """
    points, x, y = comparison.points, comparison.x, comparison.y
    at = np.array([(point.x * x.scale, point.y * y.scale) for point in points], dtype=np.float64)
    if len(points) > MOST_BARS:
        return at
    columns: dict[float, list[int]] = {}
    for index, point in enumerate(points):
        columns.setdefault(point.x, []).append(index)
    shift = np.zeros(len(points))
    pixel = axes.figure.dpi / 72
    widest = axes.bbox.width / (2.5 * len(columns))
    for members in columns.values():
        gap = min(DODGE_POINTS * pixel, widest / len(members))
        members.sort(key=lambda index: (not points[index].on_line, points[index].trial.name))
        shift[members] = gap * np.arange(len(members))
    pixels = axes.transData.transform(at) + np.column_stack([shift, np.zeros(len(points))])
    return np.asarray(axes.transData.inverted().transform(pixels), dtype=np.float64)


def _draw_step(scene: Scene) -> None:
    """Draw the front of the two axes as a step, and tint what it dominates."""
    front, axes, x, y = scene.comparison.line, scene.axes, scene.comparison.x, scene.comparison.y
    worst = axes.get_ylim()[0] if y.maximise else axes.get_ylim()[1]
    xs = [front[0].x * x.scale, *(point.x * x.scale for point in front), axes.get_xlim()[1]]
    ys = [worst, *(point.y * y.scale for point in front), front[-1].y * y.scale]
    axes.fill_between(xs, ys, worst, step="post", color="#000000", alpha=0.035, linewidth=0, zorder=0)
    axes.step(xs, ys, where="post", color=FRONT, linewidth=1.4, zorder=2)


def _draw_published(scene: Scene) -> None:
    """Draw the published figures as crosses, apart from what was measured here."""
    x, y = scene.comparison.x, scene.comparison.y
    for model in scene.published:
        at = (model.costs[x.name] * x.scale, model.accuracy * y.scale)
        scene.axes.plot(*at, marker="x", markersize=7, color=FAINT, markeredgewidth=1.8, ls="none", zorder=2.6)


def _draw_bars(scene: Scene) -> None:
    """Draw interval bars: upright for the score, sideways from median to p90 for a latency."""
    x, y = scene.comparison.x, scene.comparison.y
    seen: set[tuple[float, float]] = set()  # points of one graph share their latency: one bar is enough
    for index in barred(scene.comparison):
        point, (at_x, at_y) = scene.comparison.points[index], scene.at[index]
        look: Any = {"color": scene.colour(point), "alpha": 0.25 if point.surely_dominated else 0.55}
        if point.y_interval:
            low, high = (end * y.scale for end in point.y_interval)
            scene.axes.plot([at_x, at_x], [low, high], **look, linewidth=1.3, zorder=1.5)
        if point.x_high is not None and (point.x, point.x_high) not in seen:
            seen.add((point.x, point.x_high))
            reach = at_x + (point.x_high - point.x) * x.scale
            wide: Any = {"linewidth": 3.0, "solid_capstyle": "butt", "zorder": 2.2}
            scene.axes.plot([at_x, reach], [at_y, at_y], **look, **wide)


def _draw_points(scene: Scene) -> None:
    """Draw markers: filled on the front, hollow when dominated, small and faint when surely so."""
    points = scene.comparison.points
    crowd = len(points) > CROWD
    if crowd:
        below = [index for index, point in enumerate(points) if not point.on_front]
        colours = [scene.colour(points[index]) for index in below]
        image = len(points) > MOST_VECTORS
        look: Any = {"c": colours, "s": 7, "alpha": 0.3, "linewidths": 0, "zorder": 2.4}
        scene.axes.scatter(scene.at[below, 0], scene.at[below, 1], **look, rasterized=image)
    kinds: dict[tuple[str, bool, bool, bool], list[int]] = {}
    for index, point in enumerate(points):
        if crowd and not point.on_front:
            continue
        teacher = point.trial.role == "teacher"
        kind = (point.trial.architecture, teacher, point.on_front, point.surely_dominated)
        kinds.setdefault(kind, []).append(index)
    for (architecture, teacher, on_front, sure), members in kinds.items():
        colour, marker = scene.style[architecture]
        scene.axes.plot(
            *scene.at[members].T,
            marker="*" if teacher else marker,
            markersize=15.0 if teacher else 5.5 if sure or crowd else 8.5,
            markerfacecolor=colour if on_front else "white",
            markeredgecolor="black" if on_front else colour,
            markeredgewidth=0.9 if on_front else 1.5,
            alpha=0.45 if sure else 1.0,
            linestyle="none",
            zorder=4 if on_front else 3,
        )
    if scene.comparison.knee is not None:
        ring: Any = {"marker": "o", "markersize": 18, "mfc": "none", "mec": INK, "mew": 1.2, "ls": "none"}
        scene.axes.plot(*scene.at[scene.comparison.knee], **ring, zorder=3)
