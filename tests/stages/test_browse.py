"""browse: the items of skills and benchmarks that changed, with what the base and a tuned model said to them."""

import dataclasses
import json

import pytest

from s3ft_jax.records import ItemScore, Response, Verdict
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import benchmark, browse, gather
from s3ft_jax.stages.gather import Entry, models_of

PLACES = {("base", None): ("base", None), ("s3ft", 0): ("s3ft", 0), ("sft", 0): ("sft", 0)}


def of(found, method, skill):
    (one,) = (one for one in found if (one.method, one.skill) == (method, skill))
    return one


def test_items_of_skills_that_were_lost_and_won_with_all_answers(copied):
    config, workdir = copied
    # the small run changes no general answer
    for name, places in {"base": (3, 4), "sft/seed-0": (0, 1, 3), "s3ft/seed-0": (0, 4)}.items():
        verdicts = workdir.read_records(Verdict, f"scores/{name}/general-verdicts.jsonl")
        verdicts = [dataclasses.replace(v, outcome="wrong" if n in places else "right") for n, v in enumerate(verdicts)]
        workdir.write_records(f"scores/{name}/general-verdicts.jsonl", verdicts)
    before = {v.example_id: v for v in workdir.read_records(Verdict, "scores/base/general-verdicts.jsonl")}
    found = browse.changed_items(config, workdir, PLACES)
    assert [one.method for one in found] == sorted(one.method for one in found), "s3ft before sft, as they are given"
    assert {one.skill for one in found} == {i.split("/")[0] for i in before}
    for method in ("s3ft", "sft"):
        after = {
            v.example_id: v for v in workdir.read_records(Verdict, f"scores/{method}/seed-0/general-verdicts.jsonl")
        }
        lost = {i for i in before if before[i].outcome == "right" and after[i].outcome != "right"}
        mine = [one for one in found if one.method == method]
        assert sum(one.regressed for one in mine) == len(lost)
        assert {item.item_id for one in mine for item in one.lost} <= lost
        assert sum(one.regressed + one.fixed + one.unchanged for one in mine) == len(before)
        texts = {
            r.example_id: r.text for r in read_shards(workdir, Response, f"scores/{method}/seed-0/general-responses")
        }
        for item in (item for one in mine for item in (*one.lost, *one.won)):
            assert [(a.method, a.seed) for a in item.answers] == list(PLACES)
            (answer,) = (a for a in item.answers if a.method == method)
            assert answer.text == texts[item.item_id] and answer.value == (after[item.item_id].outcome == "right")
            assert after[item.item_id].reason in answer.why and item.gold and item.prompt
    assert sum(one.regressed for one in found) == 3 and sum(one.fixed for one in found) == 2


def test_no_more_than_asked_for_and_none_without_skills(copied):
    config, workdir = copied
    config.report.num_browse = 1
    assert {len(one.lost) for one in browse.changed_items(config, workdir, PLACES)} <= {0, 1}
    config.evaluate.general = False
    assert browse.changed_items(config, workdir, PLACES) == []


def test_the_subject_and_its_rival_are_told_of_and_the_base_with_examples_is_not(copied):
    config, _ = copied
    entries = [Entry(name, name, name) for name in ("sft", "sdft", "s3ft")] + [Entry("few-shot", "few-shot")]
    assert list(gather._told_of(config, models_of(entries, (0, 1)))) == list(PLACES)
    assert list(gather._told_of(config, models_of(entries[1:2], (0,)))) == [("base", None), ("sdft", 0)]
    assert list(gather._told_of(config, models_of(entries[3:], (0,)))) == [("base", None)]


def line(task, number, value, sums=(), text="", **more):
    """As lm-eval writes it; ``sums``: of choices, else ``text`` was written."""
    resps = [[[one, False]] for one in sums] or [[text]]
    read = [one for (one,) in resps] if sums else [text[-1:]]
    known = {"task": task, "doc_id": number, "filter": "none", "resps": resps, "filtered_resps": read, "acc": value}
    return json.dumps({"doc": {}, "target": 0} | known | more, ensure_ascii=False)


CHOICES = {"arguments": [["Where?\u2028Say:", " Oslo"], ["Where?\u2028Say:", " Rome"]], "target": 1}
WINO = {
    "arguments": [["Jo was better than Maria so Jo", " won."], ["Jo was better than Maria so Maria", " won."]],
    "target": "won.",
    "doc": {"answer": "2"},
}
WRITTEN = {"arguments": [["1 + 1?", {"until": ["\n"]}]], "target": "2"}


@pytest.fixture
def benchmarked(copied):
    """A finished run with the lines of a benchmark of two tasks; its third item was written, not chosen."""
    config, workdir = copied
    config.evaluate.general, config.benchmark.tasks = False, ("both",)
    said = {"base": ([-1.0, -2.5], [-3.0, -4.0], "2"), "s3ft": ([-1.0, -0.5], [-3.0, -4.0], "2")}
    said["sft"] = ([-2.0, -2.5], [-3.0, -2.0], "so 5")
    values = {"base": (0.0, 1.0, 1.0), "s3ft": (1.0, 1.0, 1.0), "sft": (0.0, 0.25, 0.0)}
    for method, (first, second, third) in said.items():
        folder, mine = benchmark.folder(method, None if method == "base" else 0), values[method]
        lines = [line("one", 0, mine[0], first, **CHOICES), line("one", 1, mine[1], second, **WINO)]
        lines += [line("two", 0, mine[2], text=third, **WRITTEN)]
        lines += [line("one", 0, mine[0], first, **CHOICES | {"filter": "other", "target": 7})]
        workdir.write_bytes(f"{folder}/both-samples.jsonl", "".join(f"{one}\n" for one in lines).encode())
        workdir.write_bytes(f"{folder}/both.json", json.dumps({"headline": "acc,none"}).encode())
        items = [ItemScore("both", name, value) for name, value in zip(("one/0", "one/1", "two/0"), mine, strict=True)]
        workdir.write_records(f"{folder}/items.jsonl", items)
    return config, workdir


def test_items_of_benchmarks_show_choices_with_their_logprobs_or_the_text(benchmarked):
    found = browse.changed_items(*benchmarked, PLACES)
    mine, sft = of(found, "s3ft", "both"), of(found, "sft", "both")
    assert (mine.regressed, mine.fixed, mine.unchanged) == (0, 1, 2)
    (won,) = mine.won
    assert (won.item_id, won.prompt, won.gold) == ("one/0", "Where?\u2028Say:", "Rome")
    assert [a.text for a in won.answers][:2] == [
        "\u25b8    -1.00  Oslo\n     -2.50  Rome",
        "     -1.00  Oslo\n\u25b8    -0.50  Rome",
    ]
    assert [item.item_id for item in sft.lost] == ["two/0", "one/1"], "the largest loss first"
    written, wino = sft.lost
    assert written.prompt == "1 + 1?" and written.gold == "2"
    assert [(a.text, a.why, a.value) for a in written.answers] == [
        ("2", "", 1.0),
        ("2", "", 1.0),
        ("so 5", "read: 5", 0.0),
    ]
    assert wino.prompt == "Jo was better than Maria so " and wino.gold == "won. (answer: 2)"
    assert wino.answers[2].text == "     -3.00  Jo won.\n\u25b8    -2.00  Maria won." and wino.answers[2].value == 0.25


@pytest.mark.parametrize("what", ["removed", "damaged", "shorter"])
def test_lines_that_cannot_be_read_are_told_and_the_counts_stay(what, benchmarked):
    config, workdir = benchmarked
    path = workdir / "benchmarks/sft/seed-0/both-samples.jsonl"
    lines = path.read_bytes().split(b"\n")
    if what == "removed":
        path.unlink()
    else:
        path.write_bytes(b"\n".join([lines[0], lines[1][:40]] if what == "damaged" else lines[:2]))
    sft = of(browse.changed_items(config, workdir, PLACES), "sft", "both")
    assert (sft.regressed, sft.unchanged) == (2, 1)
    notes = {"removed": "is not there any more", "damaged": "is damaged (", "shorter": "1 items have no line"}
    assert notes[what] in sft.note and len(sft.lost) == (1 if what == "shorter" else 0)


def test_truthfulqa_says_all_that_is_true():
    choices = {"arguments": [["Q", " a"], ["Q", " b"], ["Q", " c"]], "doc": {"mc2_targets": {"labels": [1, 0, 1]}}}
    sample = json.loads(line("mc2", 0, 0.5, (-1.0, -2.0, -3.0), **choices))
    assert browse._gold(sample, browse.prompt_and_choices(sample["arguments"])[1]) == "a\nc"
