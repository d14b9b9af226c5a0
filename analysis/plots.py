"""The Pareto picture for print: PNG and SVG, for colour-blind readers and grey printers alike."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.comparison import Comparison, Point
from analysis.labels import Box, place
from analysis.published import PublishedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008), ordered so that neighbours differ in lightness as well as in hue.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, SOFT, FAINT, FRONT = "#222222", "#555555", "#8a8a8a", "#444444"
DODGE_POINTS = 9.0
"""Points of equal cost stand this far apart (1/72 inch) so that their bars can be told apart."""
MOST_NAMED = 15
"""Up to this many points, every one is named; else those on the front and the teachers."""
MOST_LABELS = 24
MOST_BARS = 60
"""Up to this many points, every one has its bars and stands beside its equals; else those on the front."""
MOST_VECTORS = 3000
"""With more points than this, those that are dominated are an image within the SVG."""

Style = dict[str, tuple[str, str]]
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A comparison on its axes: what every drawing step needs."""

    axes: "Axes"
    comparison: Comparison
    style: Style
    at: Array
    """(num_points, 2) where each point stands, in shown units, side by side where costs are equal."""
    pixel: float
    """Pixels in 1/72 inch."""
    published: tuple[PublishedModel, ...]

    def to_pixels(self, xy: Array) -> Array:
        """Return (n, 2) places in shown units as pixels."""
        return np.asarray(self.axes.transData.transform(xy), dtype=np.float64).reshape(-1, 2)

    def colour(self, point: Point) -> str:
        """Return the colour of a point's architecture."""
        return self.style[point.trial.architecture][0]


def styles(architectures: Sequence[str]) -> Style:
    """Return (colour, marker) for each architecture, the same for the same set of names."""
    names = sorted(set(architectures))
    return {name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}


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
        _draw_labels(figure, scene)
        _draw_words(figure, scene, title, subtitle)
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
        axes.set_xlim(min(lows) - 0.14 * width, max(highs) + 0.3 * width)
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
    """Draw the figures of the report as crosses, apart from what was measured here."""
    x, y = scene.comparison.x, scene.comparison.y
    for model in scene.published:
        at = (model.costs[x.name] * x.scale, model.accuracy * y.scale)
        scene.axes.plot(*at, marker="x", markersize=7, color=FAINT, markeredgewidth=1.8, ls="none", zorder=2.6)


def _draw_bars(scene: Scene) -> None:
    """Draw interval bars: upright for the score, sideways from median to p90 for a latency."""
    x, y = scene.comparison.x, scene.comparison.y
    seen: set[tuple[float, float]] = set()  # points of one graph share their latency: one bar is enough
    for index in _barred(scene.comparison):
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
    kinds: dict[tuple[str, bool, bool, bool], list[int]] = {}
    for index, point in enumerate(points):
        teacher = point.trial.role == "teacher"
        kind = (point.trial.architecture, teacher, point.on_front, point.surely_dominated)
        kinds.setdefault(kind, []).append(index)
    for (architecture, teacher, on_front, sure), members in kinds.items():
        colour, marker = scene.style[architecture]
        scene.axes.plot(
            *scene.at[members].T,
            marker="*" if teacher else marker,
            markersize=15.0 if teacher else 5.5 if sure else 8.5,
            markerfacecolor=colour if on_front else "white",
            markeredgecolor="black" if on_front else colour,
            markeredgewidth=0.9 if on_front else 1.5,
            alpha=0.45 if sure else 1.0,
            linestyle="none",
            zorder=4 if on_front else 3,
            rasterized=not on_front and len(points) > MOST_VECTORS,
        )
    if scene.comparison.knee is not None:
        ring: Any = {"marker": "o", "markersize": 18, "mfc": "none", "mec": INK, "mew": 1.2, "ls": "none"}
        scene.axes.plot(*scene.at[scene.comparison.knee], **ring, zorder=3)


def _barred(comparison: Comparison) -> list[int]:
    """Return the points that get interval bars, those on the front first: all while they are few."""
    points = comparison.points
    few = len(points) <= MOST_BARS
    return sorted(
        (index for index in range(len(points)) if few or points[index].on_front),
        key=lambda index: not points[index].on_front,
    )


def _labelled(comparison: Comparison) -> list[int]:
    """Return the points to name: the front and teachers first, then the rest while they are few."""
    points = comparison.points
    sign = -1.0 if comparison.y.maximise else 1.0

    def rank(index: int) -> tuple[bool, bool, float]:
        point = points[index]
        return (not point.on_front, point.trial.role != "teacher", sign * point.y)

    few = len(points) <= MOST_NAMED
    chosen = [i for i in range(len(points)) if few or points[i].on_front or points[i].trial.role == "teacher"]
    return sorted(chosen, key=rank)[:MOST_LABELS]


def _draw_labels(figure: "Figure", scene: Scene) -> None:
    """Name the points without letting names collide; a thin line leads from a name that had to move."""
    from matplotlib.patheffects import withStroke

    axes, pixel, points = scene.axes, scene.pixel, scene.comparison.points
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    wanted = _labelled(scene.comparison)
    named: list[tuple[Array, str, str, bool]] = [
        (scene.at[i], f"{points[i].trial.name}  {scene.comparison.y.show(points[i].y)}", INK, points[i].on_front)
        for i in wanted
    ]
    x, y = scene.comparison.x, scene.comparison.y
    for model in scene.published:
        at = np.array([model.costs[x.name] * x.scale, model.accuracy * y.scale])
        named.append((at, model.name, FAINT, False))
    sizes, texts = [], []
    for _, words, colour, bold in named:
        text = axes.text(0, 0, words, fontsize=8.5 if colour == INK else 7.5, color=colour, zorder=6, va="center")
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        text.set_fontweight("bold" if bold else "normal")
        extent = text.get_window_extent(renderer)
        sizes.append((extent.width + 3 * pixel, extent.height + 2 * pixel))
        texts.append(text)
    frame = axes.get_window_extent(renderer)
    centres = scene.to_pixels(np.array([at for at, *_ in named]))
    places = place(
        [(float(centre[0]), float(centre[1])) for centre in centres],
        sizes,
        obstacles=_obstacles(scene),
        frame=Box(left=frame.x0, bottom=frame.y0, right=frame.x1, top=frame.y1),
        gap=9 * pixel,
    )
    back = axes.transData.inverted()
    for centre, text, box in zip(centres, texts, places, strict=True):
        if box is None:
            text.remove()
            continue
        text.set_position(tuple(back.transform((box.left + 1.5 * pixel, box.middle))))
        end = box.near_end(float(centre[0]))
        if abs(centre[0] - end[0]) + abs(centre[1] - end[1]) > 16 * pixel:
            line = back.transform([tuple(centre), end])
            axes.plot(line[:, 0], line[:, 1], color=FAINT, linewidth=0.7, zorder=2.5)


def _obstacles(scene: Scene) -> list[tuple[Box, float]]:
    """Return what names should not cover, with the price of doing so: the step, points and bars."""
    comparison, pixel = scene.comparison, scene.pixel
    x, y = comparison.x, comparison.y
    line = scene.to_pixels(np.array([(point.x * x.scale, point.y * y.scale) for point in comparison.line]))
    ends = [*line[1:, 0], scene.axes.bbox.x1]
    found = [
        (Box(left=float(left), right=float(right), bottom=float(level) - pixel, top=float(level) + pixel), 4.0)
        for (left, level), right in zip(line, ends, strict=True)
    ]
    if len(comparison.points) > MOST_BARS:
        return found
    centres = scene.to_pixels(scene.at)
    found += [(Box.around(float(left), float(up), 12 * pixel, 12 * pixel), 6.0) for left, up in centres]
    for index in _barred(comparison):
        span = comparison.points[index].y_interval
        if span:
            ups = scene.to_pixels(np.array([(scene.at[index][0], end * y.scale) for end in span]))
            left = float(ups[0, 0])
            found.append((Box(left=left - pixel, right=left + pixel, bottom=ups[:, 1].min(), top=ups[:, 1].max()), 2.0))
    return found


def _draw_words(figure: "Figure", scene: Scene, title: str, subtitle: str) -> None:
    """Draw title, legend and the footnote that says how to read the picture."""
    figure.text(0.085, 0.945, title, fontsize=14, fontweight="bold", color="black")
    figure.text(0.085, 0.905, subtitle, fontsize=9.5, color="#444444")
    handles = _handles(scene)
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.077, 0.142),
        ncols=len(handles) if len(handles) <= 5 else (len(handles) + 1) // 2,
        frameon=False,
        fontsize=9,
        handletextpad=0.5,
        columnspacing=1.6,
    )
    small: Any = {"fontsize": 7.5, "color": SOFT, "va": "bottom", "linespacing": 1.35}
    figure.text(0.085, 0.012, _footnote(scene), **small)
    arrow = "\N{NORTH WEST ARROW}" if scene.comparison.y.maximise else "\N{SOUTH WEST ARROW}"
    scene.axes.text(0.004, 1.012, f"{arrow} better", transform=scene.axes.transAxes, fontsize=9, color=FAINT)


def _handles(scene: Scene) -> list[Any]:
    """Return the legend's entries: models, the front, and only the kinds of points that occur."""
    from matplotlib.lines import Line2D

    points, handles = scene.comparison.points, []
    for name, (colour, marker) in scene.style.items():
        roles = {point.trial.role for point in points if point.trial.architecture == name}
        plain: Any = {"color": colour, "ls": "none"}
        if "teacher" in roles:
            handles.append(Line2D([], [], **plain, marker="*", markersize=13, label=f"{name}, teacher"))
        if roles - {"teacher"}:
            handles.append(Line2D([], [], **plain, marker=marker, markersize=8, label=name))
    third = scene.comparison.z
    words = f"filled: on the front with {third.short}" if third else "Pareto front (filled points)"
    handles.append(Line2D([], [], color=FRONT, linewidth=1.4, label=words))
    grey: Any = {"color": SOFT, "marker": "o", "ls": "none", "mfc": "white", "mew": 1.5}
    if any(not point.on_front and not point.surely_dominated for point in points):
        handles.append(Line2D([], [], **grey, markersize=8, label="dominated"))
    if any(point.surely_dominated for point in points):
        handles.append(Line2D([], [], **grey, markersize=5.5, alpha=0.5, label="dominated, 95 % confident"))
    if scene.comparison.knee is not None:
        ring: Any = {"color": INK, "mfc": "none", "ls": "none"}
        handles.append(Line2D([], [], **ring, marker="o", markersize=13, label="knee"))
    if scene.published:
        cross: Any = {"color": FAINT, "marker": "x", "mew": 1.8, "ls": "none"}
        handles.append(Line2D([], [], **cross, markersize=7, label="published, SCSE23-0504"))
    return handles


def _footnote(scene: Scene) -> str:
    """Return what the bars mean, what the hypervolume counts from, and what was left out."""
    comparison = scene.comparison
    points = comparison.points
    parts = []
    if any(point.y_interval for point in points):
        parts.append("Bars: 95 % interval, bootstrap over source videos.")
    if any(point.x_high for point in points):
        parts.append("Sideways bars: median to p90.")
    if len({point.x for point in points}) < len(points) <= MOST_BARS:
        parts.append("Points of equal cost stand side by side.")
    if scene.published:
        parts.append("Published points: test accuracy on other data, another split and other hardware.")
    worst = ", ".join(axis.show(end) for axis, end in zip(comparison.objectives, comparison.reference, strict=True))
    volume = f"Hypervolume {comparison.hypervolume:.3f} of the box from ({worst}) to the ideal corner."
    parts += [volume, *(f"{note[0].upper()}{note[1:]}." for note in comparison.notes)]
    return "\n".join(textwrap.wrap(" ".join(parts), 150, max_lines=3, placeholder=" ..."))
