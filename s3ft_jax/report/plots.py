"""The plots of the report room: matplotlib figures as SVG text that takes its colours from the page.

In: summary rows, flow, log-probabilities, curves. Out: one ``<svg>`` element each, without any address in it, to be put
straight into the page.

Matplotlib can only write fixed colours, so each role (ink, grid, a method, an origin) is drawn in a stand-in colour
that occurs nowhere else, and the stand-in is then replaced by a CSS variable; light and dark are chosen by the page.
Text stays text (``svg.fonttype: none``) and takes the page's font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from s3ft_jax.records import ORIGINS
from s3ft_jax.report.evidence import BASE
from s3ft_jax.report.flow import Flow
from s3ft_jax.report.summary import Row
from s3ft_jax.report.wording import MINUS, method_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.6
"""Inches; at 72 points per inch and 9.5 point text this reads well both on a phone and in two columns."""

_AXES_POINTS = (280.0, 205.0)
"""Nominal width and height of the scatter's axes in points, for placing names."""

MAX_CURVE_POINTS = 150
BINS = 36

METHODS = (BASE, "sft", "ssr", "sdft", "s3ft", "rft")
"""Methods with a colour of their own; others share the spare ones."""

SPARE_COLOURS = 6
ROLES = (
    *("ink", "muted", "grid", "paper"),
    *(f"origin-{origin}" for origin in ORIGINS),
    *(f"method-{method}" for method in METHODS),
    *(f"method-spare{number}" for number in range(SPARE_COLOURS)),
)
"""The CSS variables a drawing may use; ``page.css`` gives each a value for light and one for dark."""


def method_role(method: str, methods: Sequence[str]) -> str:
    """The CSS variable of a method's colour, without its dashes: ``method-s3ft``; unknown methods share spare ones."""
    if method in METHODS:
        return f"method-{method}"
    strangers = [name for name in methods if name not in METHODS]
    return f"method-spare{strangers.index(method) % SPARE_COLOURS}"


def scatter(rows: Sequence[Row]) -> str:
    """Gain on the target against change on general skills, in points: one mark per method, small marks per seed.

    The axes follow the marks, not the bars; a bar that is longer runs to the edge of the plot.
    """
    methods = [row.method for row in rows]
    figure, axes = _figure(3.5)
    axes.axhline(0, color=_stand_in("muted"), linewidth=0.8)
    axes.axvline(0, color=_stand_in("muted"), linewidth=0.8)
    spots: list[tuple[float, float]] = [(0.0, 0.0)]
    axes.plot([0], [0], marker="D", color=_stand_in("method-base"), markersize=7, linestyle="none")
    names = [(0.0, 0.0, method_name(BASE))]
    for row in rows:
        if row.method == BASE:
            continue
        colour = _stand_in(method_role(row.method, methods))
        x, y = 100 * (row.general_change.mean if row.general_change else 0.0), 100 * row.target_change.mean
        seeds = [(100 * general, 100 * target) for general, target in row.points.values()]
        spots += [(x, y), *seeds]
        if row.general_change:
            ends = (100 * row.general_change.low, 100 * row.general_change.high)
            axes.plot(ends, (y, y), color=colour, linewidth=1.6, alpha=0.75)
        axes.plot(
            (x, x), (100 * row.target_change.low, 100 * row.target_change.high), color=colour, linewidth=1.6, alpha=0.75
        )
        axes.plot(*zip(*seeds, strict=True), "o", color=colour, markersize=3.5, alpha=0.6, markeredgewidth=0)
        axes.plot([x], [y], "o", color=colour, markersize=9, markeredgecolor=_stand_in("paper"), markeredgewidth=1.2)
        names.append((x, y, method_name(row.method)))
    _frame(axes, spots)
    _label_spots(axes, names)
    axes.set_xlabel("mean change on general skills, points")
    axes.set_ylabel("change on target, points")
    return _svg(figure, "scatter")


def flow_bars(flow: Flow) -> str:
    """One stacked bar per method: the share of training targets that come from each origin."""
    methods = list(flow.targets)
    figure, axes = _figure(0.75 + 0.42 * len(methods))
    for place, counts in enumerate(flow.targets.values()):
        left, total = 0.0, max(1, sum(counts.values()))
        for origin, count in counts.items():
            width = 100 * count / total
            axes.barh(
                place,
                width,
                left=left,
                height=0.66,
                color=_stand_in(f"origin-{origin}"),
                edgecolor=_stand_in("paper"),
                linewidth=1.0,
            )
            if width >= 7:
                axes.text(
                    left + width / 2,
                    place,
                    f"{width:.0f}",
                    ha="center",
                    va="center",
                    color=_stand_in("paper"),
                    fontweight="bold",
                )
            left += width
    axes.set_yticks(range(len(methods)), [method_name(method) for method in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of training targets, %")
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    return _svg(figure, "flow")


def logprob_histograms(logprobs: Mapping[str, Sequence[tuple[float, int]]]) -> tuple[str, str]:
    """Log-probability under the base by origin: per token, and in total per text (both nats)."""
    per_token = {origin: np.array([total / tokens for total, tokens in pairs]) for origin, pairs in logprobs.items()}
    totals = {origin: np.array([total for total, _ in pairs]) for origin, pairs in logprobs.items()}
    return (
        _histogram(per_token, "logprob-token", "log-probability under the base, nats per token"),
        _histogram(totals, "logprob-total", "log-probability under the base, nats per text"),
    )


def loss_curves(curves: Mapping[tuple[str, int], Sequence[tuple[int, float]]], methods: Sequence[str]) -> str:
    """Training loss by step, one line per method and seed, thinned to block means when there are many steps."""
    figure, axes = _figure(3.1)
    for (method, _), curve in curves.items():
        points = np.array([(step, loss) for step, loss in curve if np.isfinite(loss)], dtype=float)
        if len(points):
            blocks = np.array_split(points, min(MAX_CURVE_POINTS, len(points)))
            steps, losses = zip(*(block.mean(axis=0) for block in blocks), strict=True)
            axes.plot(steps, losses, color=_stand_in(method_role(method, methods)), linewidth=1.3, alpha=0.8)
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats per trained token")
    axes.set_ylim(bottom=0)
    return _svg(figure, "curves")


def _histogram(values: Mapping[str, np.ndarray], name: str, caption: str) -> str:
    figure, axes = _figure(2.7)
    everything = np.concatenate([array for array in values.values() if len(array)])
    low = float(np.quantile(everything, 0.005))
    edges = np.linspace(min(low, -1e-3), 0.0, BINS + 1)
    for origin in ORIGINS:
        array = values.get(origin)
        if array is None or not len(array):
            continue
        # What lies below the axis is counted in the first bin, so that every bar chart adds up to all texts.
        counts, _ = np.histogram(np.clip(array, edges[0], 0.0), bins=edges)
        colour = _stand_in(f"origin-{origin}")
        axes.stairs(100 * counts / len(array), edges, color=colour, linewidth=1.6)
        axes.stairs(100 * counts / len(array), edges, fill=True, color=colour, alpha=0.22)
    axes.set_xlabel(caption)
    axes.set_ylabel("share of texts, %")
    axes.set_ylim(bottom=0)
    return _svg(figure, name)


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0.0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_stand_in("muted"))
    axes.tick_params(colors=_stand_in("muted"), labelcolor=_stand_in("ink"), labelsize=9, length=3)
    axes.grid(visible=True, color=_stand_in("grid"), linewidth=0.7)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(_stand_in("ink"))
        axis.label.set_size(9.5)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", MINUS)))
    return figure, axes


def _frame(axes: Axes, spots: Sequence[tuple[float, float]]) -> None:
    """Limits around the marks with room for labels; zero is always inside."""
    array = np.array(spots)
    for low, high, setter in zip(array.min(axis=0), array.max(axis=0), (axes.set_xlim, axes.set_ylim), strict=True):
        room = max(1.0, 0.16 * (high - low))
        setter(low - room, high + room)


def _label_spots(axes: Axes, names: Sequence[tuple[float, float, str]]) -> None:
    """A name near each mark, where it covers no mark and no other name; a thin line leads to one that is further off.

    Worked in points (1/72 inch) on the nominal size of the axes; exact text widths depend on the reader's font.
    """
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    scale = np.array([_AXES_POINTS[0] / (right - left), _AXES_POINTS[1] / (top - bottom)])
    origin = np.array([left, bottom])
    marks = [(np.array([x, y]) - origin) * scale for x, y, _ in names]
    boxes = [(mark, np.array([6.0, 6.0])) for mark in marks]
    angles = np.pi * np.array([0.25, 0.75, 1.75, 1.25, 0.5, 1.5, 0.0, 1.0, 0.125, 0.875, 1.875, 1.125])
    for (x, y, name), mark in zip(names, marks, strict=True):
        half = np.array([3.5 * len(name), 6.5])
        best, least = mark, np.inf
        for radius in (9.0, 18.0, 30.0, 44.0, 60.0):
            for angle in angles:
                way = np.array([np.cos(angle), np.sin(angle)])
                place = mark + way * (radius + np.array([half[0], 4.0]))
                outside = np.maximum(0, np.abs(place - np.array(_AXES_POINTS) / 2) + half - np.array(_AXES_POINTS) / 2)
                covered = sum(
                    float(np.prod(np.maximum(0, size + half - np.abs(place - middle)))) for middle, size in boxes
                )
                if covered + 100 * outside.sum() < least:
                    best, least, far = place, covered + 100 * outside.sum(), radius > 18
            if least == 0:
                break
        boxes.append((best, half))
        tx, ty = best / scale + origin
        if far:
            axes.plot([x, tx], [y, ty], color=_stand_in("muted"), linewidth=0.6, zorder=1)
        axes.text(
            tx,
            ty,
            name,
            ha="center",
            va="center",
            color=_stand_in("ink"),
            fontsize=10,
            fontweight="bold",
            bbox={"facecolor": _stand_in("paper"), "edgecolor": "none", "alpha": 0.75, "pad": 1},
        )


def _stand_in(role: str) -> str:
    """A colour for one role that occurs nowhere else in the drawing; ``_svg`` turns it into the role's variable."""
    return f"#0b0c{16 + ROLES.index(role):02x}"


def _svg(figure: Figure, name: str) -> str:
    """The figure as one svg element: colours as variables, ids prefixed by ``name``, no addresses, no fixed size."""
    import matplotlib

    buffer = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9.5, "font.family": ["DejaVu Sans"]}
    with matplotlib.rc_context(settings):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r"\s*<!--.*?-->", "", text, flags=re.DOTALL)
    # Ids are made unique in the page, where several drawings stand together.
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r"font:\s*([^;\"]*?)'DejaVu Sans'", r"font: \1var(--sans)", text)
    text = re.sub(r"font-family:\s*'DejaVu Sans'", "font-family: var(--sans)", text)
    for role in ROLES:
        text = text.replace(_stand_in(role), f"var(--{role})")
    text = re.sub(
        r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', text
    )
    return re.sub(r"\n\s*", "\n", text).strip()
