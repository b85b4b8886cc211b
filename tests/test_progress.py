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


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when told to."""
    seconds = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


def test_what_an_earlier_run_did_and_the_first_step_are_no_part_of_the_rate(console, clock):
    with progress.progress("train", 1000) as ticker:
        ticker.skip(500)
        clock[0] += 30  # the compiler
        ticker.skip(1, "loss 3.0")
        for _ in range(5):
            clock[0] += 11
            ticker.advance(22, "loss 2.0")
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "  train: 501/1000, loss 3.0"
    assert lines[1] == "  train: 523/1000, 2.0/s, 238 s left, loss 2.0"
    assert lines[5] == "  train: 611/1000, 2.0/s, 194 s left, loss 2.0"


def test_rate_and_time_left_are_of_the_last_minute(console, clock):
    with progress.progress("judge", 10_000) as ticker:
        for count in [100] * 10 + [10] * 8:
            clock[0] += 11
            ticker.advance(count)
        clock[0] += 200
        ticker.advance(0)
    lines = console.file.getvalue().splitlines()
    assert "9.1/s" in lines[0] and "9.1/s" in lines[9] and "1.1 s each, 9812 s left" in lines[17]
    assert "1000/10000" in lines[9] and lines[18].startswith("  judge: 1080/10000, 4.4 s each")


def test_a_terminal_shows_the_same_rate_and_time_left(monkeypatch, clock):
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    monkeypatch.setattr(progress, "console", console)
    with progress.progress("train", 1000) as ticker:
        ticker.skip(500)
        clock[0] += 10
        ticker.advance(20, "loss 2.0")
        ticker.bar.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert "520/1000" in shown and "2.0/s, 0:04:00 left loss 2.0" in shown


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
