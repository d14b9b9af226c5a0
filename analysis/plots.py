"""The Pareto picture for print: PNG and SVG, for colour-blind readers and grey printers alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.comparison import Comparison, Point
from analysis.labels import Box, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008), ordered so that neighbours differ in lightness as well as in hue.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, FAINT, FRONT = "#222222", "#8a8a8a", "#444444"
DODGE_POINTS = 9.0
"""Points of equal cost stand this far apart (1/72 inch) so that their bars can be told apart."""
MOST_NAMED = 15
"""Up to this many points, every one is named; else those on the front and the teachers."""
MOST_LABELS = 24
MOST_BARS = 60

Style = dict[str, tuple[str, str]]


def styles(architectures: Sequence[str]) -> Style:
    """Return (colour, marker) for each architecture, the same for the same set of names."""
    names = sorted(set(architectures))
    return {name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}


def draw_front(
    comparison: Comparison, files: Sequence[Path], *, title: str, subtitle: str, log_x: bool = False
) -> None:
    """Draw one comparison and save it under every given name (the suffix picks PNG, SVG or PDF)."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": "pareto",
        "svg.fonttype": "none",
        "font.family": "DejaVu Sans",
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(9.0, 6.0), dpi=160)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.085, 0.215, 0.89, 0.635))
        _prepare(axes, comparison, log_x=log_x)
        style = styles([point.trial.architecture for point in comparison.points])
        shift = _dodge(axes, comparison)
        _draw_step(axes, comparison)
        _draw_points(axes, comparison, style, shift)
        _draw_labels(figure, axes, comparison, style, shift)
        _draw_words(figure, axes, comparison, style, title, subtitle)
        for file in files:
            figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _prepare(axes: "Axes", comparison: Comparison, *, log_x: bool) -> None:
    """Set limits with room for labels, scales and the axes' words."""
    x, y = comparison.x, comparison.y
    highs = [(point.x_high or point.x) * x.scale for point in comparison.points]
    lows = [point.x * x.scale for point in comparison.points]
    ends = [value * y.scale for point in comparison.points for value in (point.y, *(point.y_interval or ()))]
    if log_x:
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


def _dodge(axes: "Axes", comparison: Comparison) -> dict[int, float]:
    """Return each point's sideways shift (1/72 inch).

    Points that share a cost stand side by side: the one on the front where it belongs, so that the step meets
    it, the dominated ones to its right, within the dominated area, in the order of their names.
    """
    columns: dict[float, list[int]] = {}
    for index, point in enumerate(comparison.points):
        columns.setdefault(point.x, []).append(index)
    shift: dict[int, float] = {}
    widest = axes.bbox.width / axes.figure.dpi * 72 / (2.5 * len(columns))
    for members in columns.values():
        gap = min(DODGE_POINTS, widest / len(members))
        points = comparison.points
        ordered = sorted(members, key=lambda index: (not points[index].on_front, points[index].trial.name))
        shift |= {index: position * gap for position, index in enumerate(ordered)}
    return shift


def _draw_step(axes: "Axes", comparison: Comparison) -> None:
    """Draw the front as a step, and tint what it dominates."""
    front = comparison.front
    if not front:
        return
    x, y = comparison.x, comparison.y
    worst = axes.get_ylim()[0] if y.maximise else axes.get_ylim()[1]
    xs = [front[0].x * x.scale, *(point.x * x.scale for point in front), axes.get_xlim()[1]]
    ys = [worst, *(point.y * y.scale for point in front), front[-1].y * y.scale]
    axes.fill_between(xs, ys, worst, step="post", color="#000000", alpha=0.035, linewidth=0, zorder=0)
    axes.step(xs, ys, where="post", color=FRONT, linewidth=1.4, zorder=2)


def _draw_points(axes: "Axes", comparison: Comparison, style: Style, shift: dict[int, float]) -> None:
    """Draw markers and interval bars: filled on the front, hollow when dominated, small when surely so."""
    from matplotlib.transforms import ScaledTranslation

    x, y = comparison.x, comparison.y
    barred = _barred(comparison)
    sideways: set[tuple[float, float]] = set()  # points of one graph share their latency: one bar is enough
    for index in sorted(shift, key=lambda index: not comparison.points[index].on_front):
        point = comparison.points[index]
        colour, marker = style[point.trial.architecture]
        teacher = point.trial.role == "teacher"
        move = axes.transData + ScaledTranslation(shift[index] / 72, 0, axes.figure.dpi_scale_trans)
        at = (point.x * x.scale, point.y * y.scale)
        fade = 0.45 if point.surely_dominated else 1.0
        if index in barred:
            bar: dict[str, Any] = {
                "color": colour,
                "alpha": 0.55 * fade,
                "linewidth": 1.3,
                "zorder": 1.5,
                "transform": move,
            }
            if point.y_interval:
                axes.plot([at[0], at[0]], [end * y.scale for end in point.y_interval], **bar)
            if point.x_high is not None and (point.x, point.x_high) not in sideways:
                sideways.add((point.x, point.x_high))
                ends = ([at[0], point.x_high * x.scale], [at[1], at[1]])
                axes.plot(*ends, **bar | {"linewidth": 3.0, "zorder": 2.2}, solid_capstyle="butt")
        size = 15.0 if teacher else 5.5 if point.surely_dominated else 8.5
        axes.plot(
            *at,
            marker="*" if teacher else marker,
            markersize=size,
            markerfacecolor=colour if point.on_front else "white",
            markeredgecolor="black" if point.on_front else colour,
            markeredgewidth=0.9 if point.on_front else 1.5,
            alpha=fade,
            linestyle="none",
            zorder=4 if point.on_front else 3,
            transform=move,
        )
        if index == comparison.knee:
            axes.plot(
                *at,
                marker="o",
                markersize=18,
                mfc="none",
                mec=INK,
                mew=1.2,
                ls="none",
                zorder=3,
                transform=move,
            )


def _barred(comparison: Comparison) -> set[int]:
    """Return the points that get interval bars: all while they are few, else the front's."""
    indices = range(len(comparison.points))
    few = len(comparison.points) <= MOST_BARS
    return {index for index in indices if few or comparison.points[index].on_front}


def _labelled(comparison: Comparison) -> list[int]:
    """Return the points to name: the front, the knee and teachers first, then the rest while they are few."""
    points = comparison.points

    def rank(index: int) -> tuple[bool, bool, float]:
        point = points[index]
        return (
            not point.on_front,
            point.trial.role != "teacher",
            -point.y if comparison.y.maximise else point.y,
        )

    order = sorted(range(len(points)), key=rank)
    wanted = [i for i in order if len(points) <= 15 or points[i].on_front or points[i].trial.role == "teacher"]
    return wanted[:MOST_LABELS]


def _draw_labels(figure: "Figure", axes: "Axes", comparison: Comparison, style: Style, shift: dict[int, float]) -> None:
    """Name the points without letting names collide; a thin line leads from a name that had to move."""
    from matplotlib.patheffects import withStroke

    x, y = comparison.x, comparison.y
    pixel = figure.dpi / 72
    centres = {}
    for index, point in enumerate(comparison.points):
        at = axes.transData.transform((point.x * x.scale, point.y * y.scale))
        centres[index] = (float(at[0]) + shift[index] * pixel, float(at[1]))
    few = len(centres) <= 400
    obstacles = [(box, 4.0) for box in _step_boxes(axes, comparison, pixel)]
    if few:
        obstacles += [(Box.around(*centre, 12 * pixel, 12 * pixel), 6.0) for centre in centres.values()]
        for index in _barred(comparison):
            obstacles += [(box, 2.0) for box in _bar_boxes(axes, comparison, index, centres[index][0], pixel)]
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    wanted = _labelled(comparison)
    sizes, texts = [], []
    for index in wanted:
        point = comparison.points[index]
        text = axes.text(0, 0, _label(point, comparison), fontsize=8.5, color=INK, zorder=6, va="center")
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        if point.on_front:
            text.set_fontweight("bold")
        extent = text.get_window_extent(renderer)
        sizes.append((extent.width + 3 * pixel, extent.height + 2 * pixel))
        texts.append(text)
    frame = axes.get_window_extent(renderer)
    places = place(
        [centres[index] for index in wanted],
        sizes,
        obstacles=obstacles,
        frame=Box(left=frame.x0, bottom=frame.y0, right=frame.x1, top=frame.y1),
        gap=9 * pixel,
    )
    back = axes.transData.inverted()
    for index, text, box in zip(wanted, texts, places, strict=True):
        if box is None:
            text.remove()
            continue
        text.set_position(tuple(back.transform((box.left + 1.5 * pixel, box.middle))))
        start, end = centres[index], box.near_end(centres[index][0])
        if abs(start[0] - end[0]) + abs(start[1] - end[1]) > 16 * pixel:
            line = back.transform([start, end])
            colour = style[comparison.points[index].trial.architecture][0]
            axes.plot(line[:, 0], line[:, 1], color=colour, linewidth=0.7, alpha=0.7, zorder=2.5)


def _bar_boxes(axes: "Axes", comparison: Comparison, index: int, centre_x: float, pixel: float) -> list[Box]:
    """Return the room that a point's interval bar takes, in pixels."""
    point = comparison.points[index]
    if not point.y_interval:
        return []
    ends = [axes.transData.transform((point.x, end * comparison.y.scale))[1] for end in point.y_interval]
    return [Box(left=centre_x - pixel, right=centre_x + pixel, bottom=min(ends), top=max(ends))]


def _step_boxes(axes: "Axes", comparison: Comparison, pixel: float) -> list[Box]:
    """Return the room that the level stretches of the front's line take, in pixels."""
    x, y, front = comparison.x, comparison.y, comparison.front
    corners = [axes.transData.transform((point.x * x.scale, point.y * y.scale)) for point in front]
    ends = [*(float(corner[0]) for corner in corners[1:]), float(axes.bbox.x1)]
    return [
        Box(left=float(corner[0]), right=end, bottom=float(corner[1]) - pixel, top=float(corner[1]) + pixel)
        for corner, end in zip(corners, ends, strict=True)
    ]


def _label(point: Point, comparison: Comparison) -> str:
    """Return a point's name with its score."""
    return f"{point.trial.name}  {comparison.y.show(point.y)}"


def _draw_words(
    figure: "Figure", axes: "Axes", comparison: Comparison, style: Style, title: str, subtitle: str
) -> None:
    """Draw title, legend and the footnote that says how to read the picture."""
    from matplotlib.lines import Line2D

    figure.text(0.085, 0.945, title, fontsize=14, fontweight="bold", color="black")
    figure.text(0.085, 0.905, subtitle, fontsize=9.5, color="#444444")
    points = comparison.points
    handles = []
    for name, (colour, marker) in style.items():
        roles = {point.trial.role for point in points if point.trial.architecture == name}
        plain: Any = {"color": colour, "ls": "none"}
        if "teacher" in roles:
            handles.append(Line2D([], [], **plain, marker="*", markersize=13, label=f"{name}, teacher"))
        if roles - {"teacher"}:
            handles.append(Line2D([], [], **plain, marker=marker, markersize=8, label=name))
    grey: Any = {"color": "#555555", "marker": "o", "ls": "none"}
    handles.append(Line2D([], [], color=FRONT, linewidth=1.4, label="Pareto front (filled points)"))
    if any(not point.on_front and not point.surely_dominated for point in points):
        handles.append(Line2D([], [], **grey, mfc="white", mew=1.5, markersize=8, label="dominated"))
    if any(point.surely_dominated for point in points):
        label = "dominated, 95 % confident"
        handles.append(Line2D([], [], **grey, mfc="white", mew=1.5, markersize=5.5, alpha=0.5, label=label))
    if comparison.knee is not None:
        handles.append(Line2D([], [], color=INK, marker="o", mfc="none", ls="none", markersize=13, label="knee"))
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.077, 0.135),
        ncols=5,
        frameon=False,
        fontsize=9,
        handletextpad=0.5,
        columnspacing=1.6,
    )
    figure.text(0.085, 0.02, _footnote(comparison), fontsize=7.5, color="#555555", va="bottom", linespacing=1.35)
    arrow = "\N{NORTH WEST ARROW}" if comparison.y.maximise else "\N{SOUTH WEST ARROW}"
    axes.text(0.004, 1.012, f"{arrow} better", transform=axes.transAxes, fontsize=9, color=FAINT)


def _footnote(comparison: Comparison) -> str:
    """Return what the bars mean, what the hypervolume counts from, and what was left out."""
    x, y = comparison.x, comparison.y
    parts = []
    if any(point.y_interval for point in comparison.points):
        parts.append("Bars: 95 % interval, bootstrap over source videos.")
    if any(point.x_high for point in comparison.points):
        parts.append("Sideways bars: median to p90.")
    if len({point.x for point in comparison.points}) < len(comparison.points):
        parts.append("Points of equal cost stand side by side.")
    worst = f"{x.show(comparison.reference[0])}, {y.show(comparison.reference[1])}"
    volume = f"Hypervolume {comparison.hypervolume:.3f} of the box from ({worst}) to the ideal corner."
    lines = [" ".join(parts), volume]
    if comparison.notes:
        lines[1] += f" {'; '.join(comparison.notes).capitalize()}."
    return "\n".join(line if len(line) < 165 else f"{line[:162]}..." for line in lines if line)
