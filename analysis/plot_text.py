"""The words of the Pareto picture: names that do not collide, title, legend, footnote."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.comparison import Comparison
from analysis.labels import Box, place
from analysis.objectives import noise_mark
from analysis.scene import CROWD, FAINT, FRONT, INK, MOST_BARS, MOST_LABELS, MOST_NAMED, SOFT, Array, Scene, barred
from trainables import metric_keys as keys

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_labels(figure: "Figure", scene: Scene) -> None:
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


def _labelled(comparison: Comparison) -> list[int]:
    """Return the points to name: the front and teachers first, then the rest while they are few."""
    points = comparison.points
    sign = -1.0 if comparison.y.maximise else 1.0

    def rank(index: int) -> tuple[bool, bool, float]:
        point = points[index]
        return (not point.on_front, point.trial.role != "teacher", sign * point.y)

    if len(points) <= MOST_NAMED:
        return sorted(range(len(points)), key=rank)
    front = sorted(
        (i for i in range(len(points)) if points[i].on_front), key=lambda i: (points[i].x, sign * points[i].y)
    )
    named = dict.fromkeys([comparison.knee] if comparison.knee is not None else [])
    named |= dict.fromkeys(_spread(comparison, front))
    named |= dict.fromkeys([i for i in range(len(points)) if points[i].trial.role == "teacher"][:3])
    return list(named)


def _spread(comparison: Comparison, front: Sequence[int]) -> list[int]:
    """Return points of a front, its ends among them, at about equal distances along the drawn line."""
    if len(front) <= MOST_LABELS:
        return list(front)
    at = np.array([(comparison.points[index].x, comparison.points[index].y) for index in front])
    steps = np.abs(np.diff(at / np.maximum(np.ptp(at, axis=0), 1e-12), axis=0)).sum(axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0, along[-1], MOST_LABELS)
    return [front[int(np.argmin(np.abs(along - place)))] for place in wanted]


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
        on_front = [index for index, point in enumerate(comparison.points) if point.on_front]
        centres = scene.to_pixels(scene.at[on_front])
        return found + [(Box.around(float(left), float(up), 9 * pixel, 9 * pixel), 1.0) for left, up in centres]
    centres = scene.to_pixels(scene.at)
    found += [(Box.around(float(left), float(up), 12 * pixel, 12 * pixel), 6.0) for left, up in centres]
    for index in barred(comparison):
        span = comparison.points[index].y_interval
        if span:
            ups = scene.to_pixels(np.array([(scene.at[index][0], end * y.scale) for end in span]))
            left = float(ups[0, 0])
            found.append((Box(left=left - pixel, right=left + pixel, bottom=ups[:, 1].min(), top=ups[:, 1].max()), 2.0))
    return found


def draw_words(figure: "Figure", scene: Scene, title: str, subtitle: str) -> None:
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
    if scene.comparison.knee is not None:
        ring: Any = {"color": INK, "mfc": "none", "ls": "none"}
        handles.append(Line2D([], [], **ring, marker="o", markersize=13, label="knee"))
    if scene.published:
        cross: Any = {"color": FAINT, "marker": "x", "mew": 1.8, "ls": "none"}
        handles.append(Line2D([], [], **cross, markersize=7, label="published, SCSE23-0504"))
    if len(points) > CROWD:
        dot: Any = {"color": SOFT, "marker": "o", "ls": "none", "alpha": 0.5}
        return [*handles, Line2D([], [], **dot, markersize=3, label="dominated")]
    if any(not point.on_front and not point.surely_dominated for point in points):
        handles.append(Line2D([], [], **grey, markersize=8, label="dominated"))
    if any(point.surely_dominated for point in points):
        handles.append(Line2D([], [], **grey, markersize=5.5, alpha=0.5, label="dominated, 95 % confident"))
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
    noisy = sum(bool(noise_mark(point.trial, comparison.x.key)) for point in points)
    if noisy:
        parts.append(f"Noisy (above {100 * keys.NOISY:.0f} %): {noisy} of {len(points)} latencies.")
    if len({point.x for point in points}) < len(points) <= MOST_BARS:
        parts.append("Points of equal cost stand side by side.")
    if scene.published:
        parts.append("Published points: test accuracy on other data, another split and other hardware.")
    worst = ", ".join(axis.show(end) for axis, end in zip(comparison.objectives, comparison.reference, strict=True))
    volume = f"Hypervolume {comparison.hypervolume:.3f} of the box from ({worst}) to the ideal corner."
    parts += [volume, *(f"{note[0].upper()}{note[1:]}." for note in comparison.notes)]
    return "\n".join(textwrap.wrap(" ".join(parts), 150, max_lines=3, placeholder=" ..."))
