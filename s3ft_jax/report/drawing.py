"""The means of drawing of the report room: figures that take their colours from the page, and where names may stand.

Matplotlib can only write fixed colours, so each role (ink, grid, a method, an origin) is drawn in a stand-in colour
that occurs nowhere else, and the stand-in is then replaced by a CSS variable; light and dark are chosen by the page.
Text stays text (``svg.fonttype: none``) and takes the page's font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from s3ft_jax.records import ORIGINS
from s3ft_jax.report.evidence import BASE
from s3ft_jax.report.wording import MINUS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.6
"""Inches; at 72 points per inch and 9.5 point text this reads well both on a phone and in two columns."""

_AXES_POINTS = (280.0, 205.0)
"""Nominal width and height of the scatter's axes in points, for placing names."""

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


def figure_of(height: float) -> tuple[Figure, Axes]:
    """An empty figure of the common width and this height, in inches."""
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
        spine.set_color(stand_in("muted"))
    axes.tick_params(colors=stand_in("muted"), labelcolor=stand_in("ink"), labelsize=9, length=3)
    axes.grid(visible=True, color=stand_in("grid"), linewidth=0.7)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(stand_in("ink"))
        axis.label.set_size(9.5)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", MINUS)))
    return figure, axes


def frame(axes: Axes, spots: Sequence[tuple[float, float]]) -> None:
    """Limits around the marks with room for labels; zero is always inside."""
    array = np.array(spots)
    for low, high, setter in zip(array.min(axis=0), array.max(axis=0), (axes.set_xlim, axes.set_ylim), strict=True):
        room = max(1.0, 0.16 * (high - low))
        setter(low - room, high + room)


def label_spots(axes: Axes, names: Sequence[tuple[float, float, str]]) -> None:
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
            axes.plot([x, tx], [y, ty], color=stand_in("muted"), linewidth=0.6, zorder=1)
        axes.text(
            tx,
            ty,
            name,
            ha="center",
            va="center",
            color=stand_in("ink"),
            fontsize=10,
            fontweight="bold",
            bbox={"facecolor": stand_in("paper"), "edgecolor": "none", "alpha": 0.75, "pad": 1},
        )


def stand_in(role: str) -> str:
    """A colour for one role that occurs nowhere else in the drawing; ``svg`` turns it into the role's variable."""
    return f"#0b0c{16 + ROLES.index(role):02x}"


def svg(figure: Figure, name: str) -> str:
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
        text = text.replace(stand_in(role), f"var(--{role})")
    text = re.sub(
        r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', text
    )
    return re.sub(r"\n\s*", "\n", text).strip()
