"""The numbers of README.md and benchmarks/pocket/README.md are those of the experiment's spreadsheets."""

import re

import pytest

from benchmarks import pocket_tables
from benchmarks.pocket_experiment import KEPT, TASKS, parts
from s3ft_jax.report.frontier import LOSSES, frontier_table
from small import ROOT

README = (ROOT / "README.md").read_text().partition("\n## Results\n")[2].partition("\n## Limits\n")[0]
DETAILS = (KEPT / "README.md").read_text()
FINISHED = pocket_tables.finished()
SHORT = {"variants of the loss": "losses", "other target builders": "targets", "LoRA": "lora"}


def tables(text):
    """Every table of a Markdown text: (what stands above it: headings and a line like "programs:", its lines)."""
    headings, label, found, before = {}, "", [], ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("#"):
            depth = len(line) - len(line.lstrip("#"))
            headings, label = {at: text for at, text in headings.items() if at < depth} | {depth: line}, ""
        elif line.endswith(":"):
            label = line
        heading = " ".join([*headings.values(), label])
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append((heading, []))
            found[-1][1].append(line)
        before = line
    return found


def cells(line):
    return [cell.strip().replace("**", "") for cell in line.strip("|").split("|")]


def summary(part):
    return {(row["method"], row["what"]): row for row in pocket_tables.rows(part, "summary")}


def means(part, method):
    """As in the README's smaller tables, "79.9 %, -1.4"."""
    told = summary(part)
    target, general = (100 * float(told[method, what]["mean"]) for what in ("target", "general change"))
    return f"{target:.1f} %" if method == "base" else f"{target:.1f} %, {general:+.1f}"


def part_of(task, heading):
    """Of "sft, second model" below "task, mid gold", or of "gold in the mid style" below "The second base model"."""
    gold = re.search(r"(near|mid|far) gold|gold (?:in the )?(near|mid|far)", heading)
    model = re.search(r"(second|third)(?: base)? model", heading)
    gold = gold and (gold[1] or gold[2])
    names = [gold] if gold and (gold != "mid" or model) else []
    names += [short for words, short in SHORT.items() if words in heading]
    return "-".join([task, *names, *([model[1]] if model else [])])


def test_the_readmes_main_table_is_the_experiments():
    ((_, lines),) = [one for one in tables(README) if one[1][0].startswith("| task | model |")]
    rows = [cells(line)[1:] for line in lines[2:]]
    made = [cells(line) for task in TASKS for line in list(pocket_tables.results(task))[2:]]
    assert rows == [row for row in made if row[0] != "few-shot"]
    assert [task for line in lines[2:] if (task := cells(line)[0])] == list(TASKS)


def test_the_readmes_other_tables_are_the_experiments():
    found = [lines for _, lines in tables(README) if not lines[0].startswith("| task | model |")]
    assert len(found) >= 3
    for header, _, *lines in found:
        first, *columns = cells(header)
        for line in lines:
            task, *given = cells(line)
            for column, cell in zip(columns, given, strict=True):
                method, _, rest = column.partition(", ")
                expected = means(part_of(task, f"{first}, {rest}"), method)
                assert cell == expected, (header, task, column)


def generated():
    """Every table that is printed of the finished parts, under its name."""
    yield from ((part, pocket_tables.results(part)) for part in FINISHED)
    for task in TASKS:
        yield f"{task}: noise", pocket_tables.noise(task)
        yield f"{task}: models", pocket_tables.models(task)
    yield "wordings", pocket_tables.wordings()
    yield "distances", pocket_tables.distances([part for part in FINISHED if len(pocket_tables.grid(part)) > 20])


GENERATED = {name: "\n".join(lines).split("\n") for name, lines in generated()}


def name_of(heading, header):
    """The table that belongs under these headings."""
    if header.startswith("| part |"):
        return "distances"
    if header.startswith("| gold, model |"):
        return "wordings"
    (task,) = [task for task in TASKS if task in heading]
    kinds = [kind for start, kind in (("| verdicts |", "noise"), ("| gold |", "models")) if header.startswith(start)]
    return f"{task}: {kinds[0]}" if kinds else part_of(task, heading)


@pytest.mark.parametrize("place", range(len(tables(DETAILS))))
def test_each_table_of_the_details_is_the_one_that_the_spreadsheets_give(place):
    heading, lines = tables(DETAILS)[place]
    if lines[0].startswith("| task | tuned |"):
        check_allowed_losses(lines)
    else:
        assert lines == GENERATED[name_of(heading, lines[0])], heading


def check_allowed_losses(lines):
    """Best validation scores at a loss of at most so many points, full and with LoRA."""
    task = ""
    for line in lines[2:]:
        named, tuned, *given = cells(line)
        task = named or task
        table = frontier_table(pocket_tables.grid(task if tuned == "full" else f"{task}-lora"))
        for method, cell in zip(cells(lines[0])[2:], given, strict=True):
            (row,) = [row for row in table.rows if row[0].text.lower() == method]
            assert cell == ", ".join(one.text.replace("\u2013", "-") for one in row[-len(LOSSES) :]), line


def test_every_finished_part_has_its_table_in_the_details():
    there = [lines for _, lines in tables(DETAILS)]
    for part in FINISHED:
        if not re.search(r"-(accepts|rejects)-", part):  # they share tables
            assert there.count(list(pocket_tables.results(part))) == 1, part
    assert set(FINISHED) <= {part.name for part in parts()}
