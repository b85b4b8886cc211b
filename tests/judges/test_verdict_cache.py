"""The verdict cache: the same verdicts, found once; a key for everything a verdict follows from."""

import dataclasses
import json
import sys

import pytest

from s3ft_jax.judges import verdict_cache
from s3ft_jax.judges.verdict_cache import CacheError, VerdictCache, judge_cached, source_version
from s3ft_jax.judges.verdicts import make_verdict
from s3ft_jax.records import Example, Response

EXAMPLE = Example("t/test/0", "t", "test", ({"role": "user", "content": "q"},), "gold", "programs", {"tests": ["x"]})
RESPONSE = Response("t/test/0", "own", 0, "text", (3,), (1, 2), True, -1.5)


@pytest.fixture
def judge_all():
    """Says wrong of everything but "right", undecided of "hang"; ``asked`` holds what it was given."""
    asked = []

    def judge_all(pairs, *, on_progress, on_verdict):
        verdicts = []
        for place, (example, response) in enumerate(pairs):
            asked.append(response.text)
            reasons = {"right": ("right", "right: yes"), "hang": ("undecided", "judge_timeout: 30 s")}
            outcome, reason = reasons.get(response.text, ("wrong", "wrong: no"))
            verdicts.append(make_verdict(response, example.judge, outcome, response.text, reason))
            on_verdict(place, verdicts[-1])
            on_progress(place + 1, len(pairs))
        return verdicts

    judge_all.asked = asked
    return judge_all


def pairs(*texts, start=0):
    found = []
    for number, text in enumerate(texts, start):
        place = f"t/test/{number}"
        found.append(
            (dataclasses.replace(EXAMPLE, id=place), dataclasses.replace(RESPONSE, example_id=place, text=text))
        )
    return found


def test_each_text_is_judged_once_and_every_verdict_is_made_out_to_its_response(judge_all):
    kept = VerdictCache()
    verdicts, saved = judge_cached(pairs("right", "a", "right", "b"), kept, judge_all)
    assert judge_all.asked == ["right", "a", "b"] and saved == 1
    assert [(v.example_id, v.outcome) for v in verdicts] == [
        ("t/test/0", "right"), ("t/test/1", "wrong"), ("t/test/2", "right"), ("t/test/3", "wrong"),
    ]  # fmt: skip
    more, saved = judge_cached(pairs("b", "c", start=7), kept, judge_all)
    assert judge_all.asked == ["right", "a", "b", "c"] and saved == 1
    assert [(v.example_id, v.found) for v in more] == [("t/test/7", "b"), ("t/test/8", "c")]


def test_progress_starts_with_what_is_known(judge_all):
    kept, told = VerdictCache(), []
    judge_cached(pairs("a", "b"), kept, judge_all)
    judge_cached(pairs("a", "b", "c"), kept, judge_all, on_progress=lambda *numbers: told.append(numbers))
    assert told == [(2, 3), (3, 3)]


def test_a_verdict_that_another_try_might_change_is_not_kept(judge_all):
    kept = VerdictCache()
    verdicts, _ = judge_cached(pairs("hang", "hang"), kept, judge_all)
    assert [v.outcome for v in verdicts] == ["undecided"] * 2
    assert [v.example_id for v in verdicts] == ["t/test/0", "t/test/1"]
    judge_cached(pairs("hang"), kept, judge_all)
    assert judge_all.asked == ["hang", "hang"]


@pytest.mark.parametrize(
    "change",
    [
        {"messages": ({"role": "user", "content": "another"},)},
        {"gold": "another"},
        {"judge": "my_module:my_judge"},
        {"check": {"tests": ["y"]}},
    ],
)
def test_another_question_gold_judge_or_check_is_another_key(change, monkeypatch):
    monkeypatch.setattr(verdict_cache, "source_version", lambda judge: "1")
    kept, before = VerdictCache(), VerdictCache().key(EXAMPLE, RESPONSE)
    assert kept.key(dataclasses.replace(EXAMPLE, id="t/test/9"), RESPONSE) == before
    assert kept.key(dataclasses.replace(EXAMPLE, **change), RESPONSE) != before


def test_another_text_limit_or_source_is_another_key(monkeypatch):
    kept = VerdictCache({"programs": "a"})
    before = kept.key(EXAMPLE, RESPONSE)
    assert kept.key(EXAMPLE, dataclasses.replace(RESPONSE, index=4)) == before
    assert kept.key(EXAMPLE, dataclasses.replace(RESPONSE, text="else")) != before
    assert VerdictCache({"programs": "a", "model": "b"}).key(EXAMPLE, RESPONSE) == before
    assert VerdictCache({"programs": "b"}).key(EXAMPLE, RESPONSE) != before
    monkeypatch.setattr(verdict_cache, "source_version", lambda judge: "2")
    assert kept.key(EXAMPLE, RESPONSE) != before


def test_cheap_judges_and_judges_without_a_file_are_not_kept():
    assert VerdictCache().key(dataclasses.replace(EXAMPLE, judge="numbers"), RESPONSE) is None
    assert VerdictCache().key(dataclasses.replace(EXAMPLE, judge="sys:exit"), RESPONSE) is None
    assert VerdictCache().key(dataclasses.replace(EXAMPLE, judge="no_such_module_here:f"), RESPONSE) is None


def test_the_version_of_an_own_judge_is_its_source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    versions = set()
    for name, text in (("one_judge", "a = 1"), ("two_judge", "a = 1"), ("three_judge", "a = 2")):
        (tmp_path / f"{name}.py").write_text(text)
        versions.add(source_version(f"{name}:judge"))
    assert len(versions) == 2 and None not in versions


def test_an_own_judge_in_the_current_folder_is_found_by_the_installed_command_too(tmp_path, monkeypatch):
    """There the current folder is not on the path of the process itself."""
    (tmp_path / "judge_of_this_folder.py").write_text("a = 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = list(sys.path)
    assert source_version("judge_of_this_folder:judge") is not None and sys.path == before


def test_files_are_added_to_and_read_again(judge_all):
    files = {}
    judge_cached(pairs("right", "ä\u2028b"), VerdictCache({}, files, files.__setitem__), judge_all)
    judge_cached(pairs("right", "c"), VerdictCache({}, files, files.__setitem__), judge_all)
    assert sorted(files) == ["00000.jsonl", "00001.jsonl"] and judge_all.asked == ["right", "ä\u2028b", "c"]
    kept = VerdictCache({}, {name: data.decode() for name, data in files.items()})
    verdicts, saved = judge_cached(pairs("right", "ä\u2028b", "c"), kept, judge_all)
    assert saved == 3 and [v.found for v in verdicts] == ["right", "ä b", "c"]


def test_what_is_found_anew_takes_the_place_of_what_was_kept(judge_all):
    files = {}
    judge_cached(pairs("a", "b"), VerdictCache({}, files, files.__setitem__), judge_all)
    rows = [json.loads(line) for line in files["00000.jsonl"].splitlines()]
    rows = [{**row, "reason": "wrong: old", "seal": None} for row in rows]
    files["00000.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    again = VerdictCache({}, dict(files), files.__setitem__)
    assert judge_cached(pairs("a"), again, judge_all)[0][0].reason == "wrong: old"
    again.forget()
    judge_cached(pairs("a"), again, judge_all)
    now = VerdictCache({}, files)
    assert [verdict.reason for verdict in judge_cached(pairs("a", "b"), now, judge_all)[0]] == [
        "wrong: no",
        "wrong: old",
    ]
    assert judge_all.asked == ["a", "b", "a"]


def test_what_was_found_before_an_error_is_written(judge_all):
    files = {}

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge_cached(pairs("a", "b", "c"), VerdictCache({}, files, files.__setitem__), judge_all, on_progress=interrupt)
    assert len(files["00000.jsonl"].splitlines()) == 2


GOOD = '{"key": "k", "judge": "j", "outcome": "right", "found": "", "reason": ""}'


def test_a_kept_verdict_with_other_bytes_is_named(judge_all):
    files = {}
    judge_cached(pairs("a"), VerdictCache({}, files, files.__setitem__), judge_all)
    text = files["00000.jsonl"].decode().replace("wrong: no", "wrong: mo")
    with pytest.raises(CacheError, match=r"00000\.jsonl line 1 .*its seal is broken.* Delete this file"):
        VerdictCache({}, {"00000.jsonl": text})


@pytest.mark.parametrize("line", ["{", "[]", GOOD.replace("right", "maybe")])
def test_a_damaged_file_is_named(line):
    with pytest.raises(CacheError, match=r"00003\.jsonl line 2 is no cached verdict .* Delete this file"):
        VerdictCache({}, {"00003.jsonl": f"{GOOD}\n{line}\n"})
