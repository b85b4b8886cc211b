"""The plots of the report room: matplotlib figures as SVG text that takes its colours from the page.

In: summary rows, flow, log-probabilities, curves, looks, grid. Out: one ``<svg>`` element each, without any address in
it, to be put straight into the page. How they take their colours: ``drawing``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from s3ft_jax.report.drawing import figure_of, frame, label_spots, method_role, stand_in, svg
from s3ft_jax.report.evidence import BASE
from s3ft_jax.report.flow import Flow
from s3ft_jax.report.frontier import Forgetting, Spot, edge
from s3ft_jax.report.likelihoods import PER_TEXT, PER_TOKEN, bars, series
from s3ft_jax.report.summary import Row
from s3ft_jax.report.training_curves import LOOKS
from s3ft_jax.report.wording import method_name

MAX_CURVE_POINTS = 150


def scatter(rows: Sequence[Row]) -> str:
    """Gain on the target against change on general skills, in points: one mark per method, small marks per seed.

    The axes follow the marks, not the bars; a bar that is longer runs to the edge of the plot.
    """
    methods = [row.method for row in rows]
    figure, axes = figure_of(3.5)
    axes.axhline(0, color=stand_in("muted"), linewidth=0.8)
    axes.axvline(0, color=stand_in("muted"), linewidth=0.8)
    spots: list[tuple[float, float]] = [(0.0, 0.0)]
    axes.plot([0], [0], marker="D", color=stand_in("method-base"), markersize=7, linestyle="none")
    names = [(0.0, 0.0, method_name(BASE))]
    for row in rows:
        if row.method == BASE:
            continue
        colour = stand_in(method_role(row.method, methods))
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
        axes.plot([x], [y], "o", color=colour, markersize=9, markeredgecolor=stand_in("paper"), markeredgewidth=1.2)
        names.append((x, y, method_name(row.method)))
    frame(axes, spots)
    label_spots(axes, names)
    axes.set_xlabel("mean change on general skills, points")
    axes.set_ylabel("change on target, points")
    return svg(figure, "scatter")


def skills(rows: Sequence[Row], shown: Sequence[str]) -> str:
    """Change of each general skill, in points with its interval, one line of marks per skill.

    Args:
      rows: of all models, for their colours.
      shown: the methods that are drawn, in order.
    """
    methods, mine = [row.method for row in rows], [row for row in rows if row.method in shown]
    names = list(mine[0].skills)
    step = 0.62 / max(1, len(mine))
    figure, axes = figure_of(0.8 + len(names) * (0.2 + 0.16 * len(mine)))
    axes.axvline(0, color=stand_in("muted"), linewidth=0.8)
    ends: list[float] = [0.0]
    for place, row in enumerate(mine):
        colour = stand_in(method_role(row.method, methods))
        for line, name in enumerate(names):
            change, y = row.skills[name][1], line + (place - (len(mine) - 1) / 2) * step
            ends.append(100 * change.mean)
            axes.plot((100 * change.low, 100 * change.high), (y, y), color=colour, linewidth=1.6, alpha=0.75)
            axes.plot([100 * change.mean], [y], "o", color=colour, markersize=5, markeredgewidth=0)
    room = max(1.0, 0.25 * (max(ends) - min(ends)))
    axes.set_xlim(min(ends) - room, max(ends) + room)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("change against the base, points")
    return svg(figure, "skills")


def frontier(spots: Sequence[Spot], base: float, labels: Sequence[str]) -> str:
    """Score against change on general skills for every setting tried, in percent and points.

    One mark per setting; a line joins those of a method that none of its others beats; the setting taken is ringed.
    """
    figure, axes = figure_of(3.9)
    axes.axhline(100 * base, color=stand_in("muted"), linewidth=0.8, linestyle=(0, (4, 3)))
    axes.axvline(0, color=stand_in("muted"), linewidth=0.8)
    axes.plot([0], [100 * base], marker="D", color=stand_in("method-base"), markersize=7, linestyle="none")
    names, places = [(0.0, 100 * base, method_name(BASE))], [(0.0, 100 * base)]
    for name in dict.fromkeys(spot.label for spot in spots):
        colour = stand_in(method_role(name, labels))
        mine = [spot for spot in spots if spot.label == name and spot.change is not None]
        marks = [(100 * spot.change, 100 * spot.score) for spot in mine]
        places += marks
        axes.plot(*_ends([(100 * one.change, 100 * one.score) for one in edge(mine)]), color=colour, linewidth=1.4)
        axes.plot(*_ends(marks), "o", color=colour, markersize=5, markeredgewidth=0, alpha=0.85)
        for spot in (spot for spot in mine if spot.chosen):
            at = (100 * spot.change, 100 * spot.score)
            axes.plot(*_ends([at]), "o", markersize=11, markerfacecolor="none", markeredgecolor=colour, linewidth=0)
            names.append((*at, method_name(name)))
    frame(axes, places)
    label_spots(axes, names)
    axes.set_xlabel("mean change on general skills, points")
    axes.set_ylabel("score on validation questions, %")
    return svg(figure, "frontier")


def forgetting(found: Forgetting, labels: Sequence[str]) -> str:
    """Change on general skills, in points, against KL(base || model) on the task, one mark per model."""
    figure, axes = figure_of(3.3)
    axes.axhline(0, color=stand_in("muted"), linewidth=0.8)
    for name in dict.fromkeys(mark[0] for mark in found.marks):
        mine = [(kl, 100 * change) for label, kl, change in found.marks if label == name]
        colour = stand_in(method_role(name, labels))
        axes.plot(*_ends(mine), "o", color=colour, markersize=5, markeredgewidth=0, alpha=0.8)
    if min(mark[1] for mark in found.marks) > 0:
        axes.set_xscale("log")  # distances of gentle and of rough tunings differ a hundredfold
        axes.xaxis.set_major_formatter(axes.yaxis.get_major_formatter())
        axes.minorticks_off()
    axes.set_xlabel("KL(base || model) on the task, nats per token")
    axes.set_ylabel("mean change on general skills, points")
    return svg(figure, "forgetting")


def _ends(points: Sequence[tuple[float, float]]) -> tuple[Sequence[float], Sequence[float]]:
    """[(x, y), ...] -> ([x, ...], [y, ...]), also of none."""
    return [x for x, _ in points], [y for _, y in points]


def flow_bars(flow: Flow) -> str:
    """One stacked bar per method: the share of training targets that come from each origin."""
    methods = list(flow.targets)
    figure, axes = figure_of(0.75 + 0.42 * len(methods))
    for place, counts in enumerate(flow.targets.values()):
        left, total = 0.0, max(1, sum(counts.values()))
        for origin, count in counts.items():
            width = 100 * count / total
            axes.barh(
                place,
                width,
                left=left,
                height=0.66,
                color=stand_in(f"origin-{origin}"),
                edgecolor=stand_in("paper"),
                linewidth=1.0,
            )
            if width >= 7:
                axes.text(
                    left + width / 2,
                    place,
                    f"{width:.0f}",
                    ha="center",
                    va="center",
                    color=stand_in("paper"),
                    fontweight="bold",
                )
            left += width
    axes.set_yticks(range(len(methods)), [method_name(method) for method in methods])
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of training targets, %")
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    return svg(figure, "flow")


def logprob_histograms(logprobs: Mapping[str, Sequence[tuple[float, int]]]) -> tuple[str, str]:
    """Log-probability under the base by origin: per token, and in total per text (both nats)."""
    found = series(logprobs)
    return (
        _histogram(found[PER_TOKEN], "logprob-token", f"log-probability under the base, {PER_TOKEN}"),
        _histogram(found[PER_TEXT], "logprob-total", f"log-probability under the base, {PER_TEXT}"),
    )


def loss_curves(curves: Mapping[tuple[str, int], Sequence[tuple[int, float]]], methods: Sequence[str]) -> str:
    """Training loss by step, one line per method and seed, thinned to block means when there are many steps."""
    figure, axes = figure_of(3.1)
    for (method, _), curve in curves.items():
        points = np.array([(step, loss) for step, loss in curve if np.isfinite(loss)], dtype=float)
        if len(points):
            blocks = np.array_split(points, min(MAX_CURVE_POINTS, len(points)))
            steps, losses = zip(*(block.mean(axis=0) for block in blocks), strict=True)
            axes.plot(steps, losses, color=stand_in(method_role(method, methods)), linewidth=1.3, alpha=0.8)
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats per trained token")
    axes.set_ylim(bottom=0)
    return svg(figure, "curves")


def looks(looked: Mapping[tuple[str, int], Sequence[Mapping[str, float]]], methods: Sequence[str]) -> dict[str, str]:
    """What looks at validation examples measured, by step: a small drawing of each number that is there, by its name.

    Args:
      looked: ``Evidence.looks``.
      methods: for the colours.
    """
    drawn = {}
    for name, caption in LOOKS.items():
        whole = 100.0 if name == "validation_score" else 1.0
        lines = [
            (model, [(row["step"], whole * row[name]) for row in rows if np.isfinite(row.get(name, np.nan))])
            for model, rows in looked.items()
        ]
        if not any(points for _, points in lines):
            continue
        figure, axes = figure_of(2.1)
        for (method, _), points in lines:
            colour = stand_in(method_role(method, methods))
            axes.plot(*_ends(points), color=colour, linewidth=1.3, alpha=0.8, marker="o", markersize=3)
        axes.set_xlabel("step")
        axes.set_ylabel(caption)
        axes.set_ylim(bottom=0)
        drawn[name] = svg(figure, name)
    return drawn


def _histogram(values: Mapping[str, np.ndarray], name: str, caption: str) -> str:
    figure, axes = figure_of(2.7)
    edges, counts = bars(values)
    for origin, array in values.items():
        colour, shares = stand_in(f"origin-{origin}"), 100 * counts[origin] / len(array)
        axes.stairs(shares, edges, color=colour, linewidth=1.6)
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.22)
    axes.set_xlabel(caption)
    axes.set_ylabel("share of texts, %")
    axes.set_ylim(bottom=0)
    return svg(figure, name)
