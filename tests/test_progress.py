"""progress: plain lines where there is no terminal, nothing on other processes than the first."""

import io
import re

import pytest
from rich.console import Console

from s3ft_jax import progress


@pytest.fixture
def console(monkeypatch):
    made = Console(file=io.StringIO(), width=100, force_terminal=False)
    monkeypatch.setattr(progress, "console", made)
    return made


def test_a_log_gets_one_line_when_it_is_done(console):
    with progress.progress("sample own", 3) as ticker:
        for _ in range(3):
            ticker.advance()
    assert console.file.getvalue().startswith("  sample own: 3/3 in ")


def test_long_work_tells_rate_and_time_left(console, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", -1.0)
    with progress.progress("train", 4) as ticker:
        ticker.advance(1, "loss 2.0")
    first = console.file.getvalue().splitlines()[0]
    assert "train: 1/4" in first and "/s, " in first and "s left, loss 2.0" in first


def test_shards_count_on_from_where_the_last_one_ended(console):
    with progress.progress("judge", 5) as ticker:
        for size in (3, 2):
            report = ticker.from_here()
            for done in range(1, size + 1):
                report(done, size)
        assert ticker.done == 5


def test_those_cut_are_counted_over_all_shards(console, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", -1.0)
    with progress.progress("sample own", 9) as ticker:
        ticker.from_here()(4, 4, 400, 3)
        report = ticker.from_here()
        report(1, 5, 10, 0)
        report(3, 5, 30, 2)
        assert ticker.num_tokens == 430
    first, second, third = console.file.getvalue().splitlines()[:3]
    assert "4/9" in first and re.search(r", [\d,]+ tokens/s, 3 cut$", first)
    assert "5/9" in second and second.endswith(" tokens/s, 3 cut")
    assert "7/9" in third and third.endswith(" tokens/s, 5 cut")


def test_other_processes_are_quiet(console):
    progress.quiet()
    with progress.progress("train", 1) as ticker:
        ticker.advance()
    progress.say("hello")
    assert console.file.getvalue() == ""


def test_brackets_are_text(console):
    progress.say("[user] 2 + 2?")
    assert console.file.getvalue() == "[user] 2 + 2?\n"
