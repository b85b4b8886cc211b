"""Browsing: counts of all items, and in the page as many to read as it has room for."""

import csv
import dataclasses
import io
import re

from synthetic_evidence import synthetic_changed, synthetic_evidence, synthetic_item

from s3ft_jax.report import build_contents
from s3ft_jax.report.browsing import TEXT_LIMIT, changes_table, clean_end, most_that_fit, shown_items, title_of
from s3ft_jax.report.markdown import build_markdown
from s3ft_jax.report.page import build_page
from s3ft_jax.report.spreadsheets import build_spreadsheets

CHANGED = (
    synthetic_changed("s3ft", lost=0),
    synthetic_changed("s3ft", "dates", lost=1),
    synthetic_changed(),
    synthetic_changed("sft", "dates", 30),
    dataclasses.replace(
        synthetic_changed("sft", "mmlu", 0, 0), regressed=2, note="mmlu-samples.jsonl is not there any more."
    ),
    synthetic_changed("sft", "mc2", 1, 0, value=0.25),
)
NOTHING = build_contents(synthetic_evidence(changed=()))


def test_counts_of_all_items_stand_in_every_file():
    contents = build_contents(synthetic_evidence(changed=CHANGED))
    rows = [[cell.text for cell in row] for row in changes_table(CHANGED).rows]
    assert rows[:3] == [
        ["S3FT, dates", "100", "1", "1", "98"],
        ["S3FT, units", "100", "0", "1", "99"],
        ["SFT, dates", "100", "30", "1", "69"],
    ], "methods as they come, the skill that lost most first"
    assert "SFT, dates" in build_markdown(contents)
    lines = list(csv.DictReader(io.StringIO(build_spreadsheets(contents)["changed"])))
    assert list(lines[2].values()) == ["sft", "0", "dates", "30", "1", "69"]
    assert contents.document["changed"][2]["regressed"] == 30 and len(contents.document["changed"]) == 6
    assert changes_table(()) is None and "item by item" not in build_markdown(NOTHING)


def test_the_page_shows_regressed_before_fixed_by_skill_for_both_methods():
    page = build_page(build_contents(synthetic_evidence(changed=CHANGED)))
    part = page[page.index('id="forgotten"') :]
    assert part.index("From the base to S3FT") < part.index("From the base to SFT")
    titles = re.findall(r"<summary>([^<]+) <span class=\"tag\">\(([^)]+)\)", part)[:8]
    assert titles[:5] == [
        ("dates", "1 regressed, 1 fixed"),
        ("Regressed", "1"),
        ("Fixed", "1"),
        ("units", "0 regressed, 1 fixed"),
        ("Fixed", "1"),
    ]
    assert "mmlu: 2 regressed, 0 fixed. mmlu-samples.jsonl is not there any more." in part
    assert part.count("&lt;b&gt;") and "read: <b>" not in part and ">0.25</span>" in part
    assert "Absent: no general skill or benchmark was answered" in build_page(NOTHING)


def test_long_texts_leave_the_page_small_and_what_is_not_shown_is_counted():
    long = tuple(synthetic_changed("sft", f"skill{n}", 25, 25, text='"<&' * 3000) for n in range(20))
    most = [len(one.lost) for one in shown_items(long)["sft", 0]]
    assert set(most) == {most[0]} and 0 < most[0] < 25, "the same for all"
    page = build_page(build_contents(synthetic_evidence(changed=long)))
    assert len(page.encode()) < 3_000_000 and f"(25, {most[0]} shown)" in page
    none = shown_items(long, room=10)["sft", 0][0]
    assert none.fates == []


def test_a_number_that_fits_is_the_same_for_all_groups():
    assert most_that_fit([[5, 5, 5], [1]], int, 11) == 2 and most_that_fit([[5, 5, 5], [1]], int, 16) == 3
    assert most_that_fit([], int, 5) == 0 and most_that_fit([[9]], int, 5) == 0


def test_of_a_long_prompt_the_end_is_kept():
    one = dataclasses.replace(synthetic_item("x"), prompt="a" * 2000 + "\n\n" + "Where? " * 60)
    assert clean_end(one.prompt).startswith(f"[{len(one.prompt) - TEXT_LIMIT:,} characters before this not shown]\n")
    assert clean_end("short\x00") == "short\ufffd"
    assert title_of(one).startswith("\u2026") and title_of(synthetic_item("x")) == "Where is x?"
