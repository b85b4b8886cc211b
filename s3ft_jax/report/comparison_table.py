"""The comparisons of every pair of models as a table of the report room."""

from __future__ import annotations

from collections.abc import Sequence

from s3ft_jax.evaluation.statistics import Interval
from s3ft_jax.report.comparisons import SURE, Comparison
from s3ft_jax.report.tables import DOWN, FLAT, UP, Cell, Table, label
from s3ft_jax.report.wording import bounds, chance, method_name, percent, points


def comparisons_table(comparisons: Sequence[Comparison], number: int) -> Table | None:
    """One line per pair; None if there is none.

    Args:
      comparisons: to show.
      number: of all in the report, for which p is corrected.
    """
    if not comparisons:
        return None
    caption = (
        "Differences in points with 95 % intervals over tuning seeds and examples together, and over each; p, the "
        "larger of two: of the paired bootstrap over examples, and of Student's t over seeds and examples; the same "
        f"corrected for the {number:,} comparisons of this report (Holm); McNemar's p (mid-p, of the seed in which it "
        "is largest); and the smallest true difference that these seeds and examples would show four times in five in "
        f"spite of the correction. A filled arrow stands where the corrected p is below {SURE} and every interval "
        "leaves zero out; all else may be noise."
    )
    columns = ("on", "", "difference", "over seeds", "over examples", "p", "corrected", "McNemar", "could be seen")
    return Table(caption, columns, tuple(_row(one) for one in comparisons))


def _row(one: Comparison) -> tuple[Cell, ...]:
    mean, over = one.contrast.mean, one.contrast.interval
    sign = FLAT if points(mean) == "0.0" else UP if mean > 0 else DOWN
    pair = f"{method_name(one.first)} \u2212 {method_name(one.second)}"
    return (
        label(one.where),
        label(pair),
        Cell(points(mean), bounds(over.low, over.high), sign, one.is_sure, 0.5 if one.is_sure else 0.0),
        Cell(_interval(one.contrast.over_seeds)),
        Cell(_interval(one.contrast.over_examples)),
        Cell(chance(one.p)),
        Cell(chance(one.corrected)),
        Cell("\u2013" if one.mcnemar is None else chance(one.mcnemar)),
        Cell(percent(one.detectable) if one.detectable == one.detectable else "\u2013"),
    )


def _interval(interval: Interval | None) -> str:
    return "\u2013" if interval is None else bounds(interval.low, interval.high)
