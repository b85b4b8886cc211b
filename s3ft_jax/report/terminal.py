"""The terminal of the report room: the result as one table and the claims as one line each.

In: ``Contents``. Out: printed with rich, which falls back to plain text when the output is no terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3ft_jax.report.claims import FAILS, FAILS_BEFORE, HOLDS, HOLDS_BEFORE, NOISE
from s3ft_jax.report.contents import Contents
from s3ft_jax.report.references import reference_line
from s3ft_jax.report.summary import Estimate
from s3ft_jax.report.tables import arrows_legend, change_cell, spread
from s3ft_jax.report.wording import method_name, percent

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

MARKS = {HOLDS: ("\u2713", "green"), FAILS: ("\u2717", "red")}
MARKS |= dict.fromkeys((NOISE, HOLDS_BEFORE, FAILS_BEFORE), ("~", "yellow"))


def print_result(contents: Contents, console: Console | None = None) -> None:
    """Print the headline, the table (one line per model) and the claims.

    Args:
      contents: what to print.
      console: where to; default the standard output.
    """
    from rich.console import Console

    console = console or Console(highlight=False)
    for part in build_result(contents):
        console.print(part)


def build_result(contents: Contents) -> list[RenderableType]:
    """The parts that ``print_result`` prints, in order."""
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=arrows_legend(contents.rows), caption_justify="left")
    general = contents.board.skills
    table.add_column("")
    for column in ("target %", "change", *(("general change",) if general else ())):
        table.add_column(column, justify="right")
    if general:
        table.add_column("worst skill")
    for row in contents.rows:
        level = Text.assemble(percent(row.target.mean), (f" {spread(row.target)}", "dim"))
        cells = [Text(method_name(row.method), style="bold"), level]
        if row.seeds:
            cells.append(_text(row.target_change))
            cells += [_text(row.general_change)] if row.general_change else []
            cells += [_worst({skill: change for skill, (_, change) in row.skills.items()})] if general else []
        table.add_row(*cells)
    lines = []
    for claim in contents.claims:
        mark, colour = MARKS.get(claim.verdict, ("\u2013", "dim"))
        lines.append(Text.assemble((f"{mark} ", colour), f"{claim.statement}: ", (claim.verdict, colour)))
    if contents.reference:
        lines.append(Text(reference_line(contents.reference, contents.reference_rows), style="dim"))
    return [Text(contents.headline, style="bold"), table, *lines]


def _text(change: Estimate) -> RenderableType:
    from rich.text import Text

    cell = change_cell(change)
    colour = ("green" if cell.sign == "up" else "red") if cell.certain else ""
    return Text.assemble((f"{cell.arrow} {cell.text}".strip(), colour), (f" {spread(change)}", "dim"))


def _worst(changes: dict[str, Estimate]) -> RenderableType:
    from rich.text import Text

    skill, change = min(changes.items(), key=lambda pair: pair[1].mean)
    cell = change_cell(change)
    return Text(f"{skill} {cell.arrow} {cell.text}".replace("  ", " "))
