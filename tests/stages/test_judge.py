"""judge: a verdict for every response, and a paraphrase that gives its source away is wrong."""

import dataclasses
import shutil
import sys

import pytest

from s3ft_jax.judges import pool, verdict_cache
from s3ft_jax.judges.sandbox import Level, SandboxUnavailable
from s3ft_jax.judges.verdicts import JudgeError
from s3ft_jax.records import Example, Response, Verdict
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import evaluate, judge, recipe
from s3ft_jax.stages.judge import judge_responses
from s3ft_jax.workdir import SettingsChanged, Workdir
from small import small_config

EXAMPLE = Example("t/train/0", "t", "train", ({"role": "user", "content": "2 + 2?"},), "4", "numbers", {"answer": "4"})


def response(text, origin):
    return Response("t/train/0", origin, 0, text, (1,), (2, 3), True, -1.0)


def test_every_response_has_one_verdict(walked):
    _, workdir = walked
    for origin in ("own", "paraphrase"):
        responses = read_shards(workdir, Response, f"responses/{origin}")
        verdicts = workdir.read_records(Verdict, f"verdicts/{origin}.jsonl")
        assert [(v.example_id, v.index) for v in verdicts] == [(r.example_id, r.index) for r in responses]
    facts = workdir.manifest("judge-own")["facts"]
    assert facts.pop("sandbox") == ""  # arithmetic runs no program
    assert sum(facts.values()) == 24


def test_a_paraphrase_that_mentions_the_reference_answer_is_wrong_and_an_own_answer_is_not(tmp_path):
    text, workdir = "As the reference answer says, the answer is 4", Workdir(str(tmp_path))
    own, paraphrase = judge_responses(
        small_config(), workdir, [EXAMPLE], [response(text, "own"), response(text, "paraphrase")], "judge"
    )
    assert own.outcome == "right"
    assert paraphrase.outcome == "wrong" and paraphrase.reason.startswith("leak")
    (allowed,) = judge_responses(
        small_config("judge.leak_filter=false"), workdir, [EXAMPLE], [response(text, "paraphrase")], "judge"
    )
    assert allowed.outcome == "right"


def test_a_mended_answer_must_not_give_itself_away_and_a_continued_one_was_shown_nothing(tmp_path):
    mended = response("My previous answer was 5, the answer is 4", "repair")
    continued = dataclasses.replace(mended, given=2)
    first, second = judge_responses(small_config(), Workdir(str(tmp_path)), [EXAMPLE], [mended, continued], "judge")
    assert first.outcome == "wrong" and first.reason.startswith("leak: mentions 'previous answer'")
    assert second.outcome == "right"


def test_a_thought_that_never_ends_is_wrong_and_asks_nobody(monkeypatch, tmp_path):
    asked = []
    judge_all = pool.judge_all
    monkeypatch.setattr(
        pool, "judge_all", lambda pairs, **options: asked.append(len(pairs)) or judge_all(pairs, **options)
    )
    whole = dataclasses.replace(response("4", "own"), thought="<think>5?</think>\n")
    cut = dataclasses.replace(response("", "own"), index=1, thought="<think>4? The answer is 4")
    config = small_config("judge.name=first(numbers, exact)")
    verdicts = judge_responses(config, Workdir(str(tmp_path)), [EXAMPLE], [cut, whole], "judge")
    assert [(v.index, v.outcome) for v in verdicts] == [(1, "wrong"), (0, "right")] and asked == [1]
    assert verdicts[0].reason.startswith("unfinished_thought: ") and verdicts[0].judge == "first(numbers, exact)"


def no_sandbox(unsafe):
    if not unsafe:
        raise SandboxUnavailable("no sandbox here")
    return Level("unsafe", "limits on time", "the rest")


def test_a_missing_sandbox_stops_the_recipe_before_sampling(monkeypatch, tmp_path):
    monkeypatch.setattr(judge, "probe", no_sandbox)
    with pytest.raises(SandboxUnavailable, match="no sandbox here"):
        recipe.run(small_config(task="programs"), Workdir(str(tmp_path)))
    assert (tmp_path / "examples").exists() and not (tmp_path / "responses").exists()


def test_the_sandbox_is_described_only_where_programs_run(monkeypatch):
    monkeypatch.setattr(judge, "probe", no_sandbox)
    program = dataclasses.replace(EXAMPLE, judge="programs")
    assert judge.describe_sandbox(small_config(), [EXAMPLE]) == ""
    described = judge.describe_sandbox(small_config("judge.unsafe=true"), [EXAMPLE, program])
    assert described == "unsafe: limits on time. Not protected: the rest."


PROGRAM = dataclasses.replace(EXAMPLE, judge="programs", check={"tests": ["assert two() == 2"]})


def test_a_program_is_judged_once_and_its_verdict_kept_in_the_workdir(monkeypatch, tmp_path):
    workdir, asked = Workdir(str(tmp_path)), []
    judge_all = pool.judge_all
    monkeypatch.setattr(
        pool, "judge_all", lambda pairs, **options: asked.append(len(pairs)) or judge_all(pairs, **options)
    )
    texts = ["def two():\n    return 2", "def two():\n    return 3"]
    responses = [response(text, origin) for origin in ("own", "paraphrase") for text in texts]
    first = judge_responses(small_config(), workdir, [PROGRAM], responses, "judge")
    again = judge_responses(small_config(), workdir, [PROGRAM], responses, "judge")
    assert first == again and asked == [2, 0]
    assert [(v.origin, v.outcome) for v in first] == [
        ("own", "right"), ("own", "wrong"), ("paraphrase", "right"), ("paraphrase", "wrong"),
    ]  # fmt: skip
    assert [path.name for path in (tmp_path / "cache" / "verdicts").iterdir()] == ["00000.jsonl"]
    assert judge_responses(small_config("judge.cache=false"), workdir, [PROGRAM], responses, "judge") == first
    assert asked == [2, 0, 2]


def test_judging_again_samples_nothing_and_says_what_changed(walked, tmp_path, capsys):
    shutil.copytree(walked[1].path, tmp_path / "walk")
    workdir = Workdir(str(tmp_path / "walk"))
    name = "verdicts/own.jsonl"
    before = workdir.read_records(Verdict, name)
    turned = [dataclasses.replace(before[0], outcome="undecided", reason="by_hand: look again"), *before[1:]]
    workdir.write_records(name, turned)
    judge.run(small_config(), workdir, "own", again=True)
    assert workdir.read_records(Verdict, name) == before
    said = capsys.readouterr().out
    assert (
        f"1 of 24 verdicts changed: 1 undecided -> {before[0].outcome} ({before[0].example_id}, then: by_hand" in said
    )
    judge.run(small_config(), workdir, "own")
    assert "judge own: already done" in capsys.readouterr().out


def test_judging_again_that_fails_leaves_the_old_verdicts(walked, tmp_path, monkeypatch):
    shutil.copytree(walked[1].path, tmp_path / "walk")
    workdir = Workdir(str(tmp_path / "walk"))
    before = workdir.read_records(Verdict, "verdicts/own.jsonl")
    with pytest.raises(JudgeError, match="did you mean numbers"):
        judge.run(small_config("judge.name=nubmers"), workdir, "own", again=True)
    assert workdir.manifest("judge-own") is not None
    monkeypatch.setattr(judge, "judge_composed", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        judge.run(small_config(), workdir, "own", again=True)
    assert workdir.read_records(Verdict, "verdicts/own.jsonl") == before


def test_another_judge_for_a_task_that_has_its_own(walked, tmp_path):
    """judge.name replaces it, for the training data and the test set; general skills keep theirs."""
    shutil.copytree(walked[1].path, tmp_path / "walk")
    workdir = Workdir(str(tmp_path / "walk"))
    config = small_config("judge.name=all(length(1, 2), numbers)")
    judge.run(config, workdir, "own", again=True)
    verdicts = workdir.read_records(Verdict, "verdicts/own.jsonl")
    assert {v.judge for v in verdicts} == {"all(length(1, 2), numbers)"}
    assert {v.outcome for v in verdicts} == {"wrong"} and verdicts[0].reason.endswith("[length(1,2)]")
    general = dataclasses.replace(EXAMPLE, split="general")
    assert [e.judge for e in judge.made_out(config, [EXAMPLE, general])] == [config.judge.name, "numbers"]


def test_noise_is_laid_on_training_verdicts_and_on_no_others(copied, capsys):
    config, workdir = copied
    before = workdir.read_records(Verdict, "verdicts/own.jsonl")
    scored = workdir.stage_digest("evaluate-base-test")
    config.judge.noise.false_accepts = 1.0
    judge.run(config, workdir, "own", redo=True)
    after = workdir.read_records(Verdict, "verdicts/own.jsonl")
    assert any(v.outcome == "wrong" for v in before) and not any(v.outcome == "wrong" for v in after)
    assert "turned round on purpose" in capsys.readouterr().out
    evaluate.run(config, workdir, "base", None)
    assert workdir.stage_digest("evaluate-base-test") == scored and "already done" in capsys.readouterr().out


def test_noise_that_cannot_be_is_refused_before_sampling(copied):
    config, workdir = copied
    config.judge.noise.false_rejects = 1.5
    with pytest.raises(JudgeError, match=r"judge\.noise\.false_rejects = 1\.5"):
        judge.check_judges(config, workdir)


OWN = """
def judge(example, response):
    return {}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes the module `own_rules` into the current folder; (what it returns) -> the overriding setting."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(judge, "_TRIED", set())
    monkeypatch.delitem(sys.modules, "own_rules", raising=False)  # of another test's folder

    def write(value):
        verdict_cache.source_version.cache_clear()
        (folder / "own_rules.py").write_text(OWN.format(value))
        return "judge.name=own_rules:judge"

    return write


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1 / 0", r"own_rules:judge: it failed in all .*ZeroDivisionError: division by zero \(own_rules\.py, line 3\)"),
        ("False", "own_rules:judge: it finds none of 4 gold answers right"),
    ],
)
def test_a_judge_of_no_use_stops_the_recipe_before_sampling(own, tmp_path, value, message):
    with pytest.raises(JudgeError, match=message):
        recipe.run(small_config(own(value)), Workdir(str(tmp_path / "run")))
    assert (tmp_path / "run/examples").exists() and not (tmp_path / "run/responses").exists()


def test_a_second_judge_that_is_not_there_stops_the_recipe_before_sampling(own, tmp_path):
    own("True")
    with pytest.raises(JudgeError, match="has no function 'absent'"):
        recipe.run(small_config("judge.second=own_rules:absent"), Workdir(str(tmp_path / "run")))
    assert not (tmp_path / "run/responses").exists()


def test_an_edited_judge_is_noticed_and_judges_anew_when_told(own, copied, capsys):
    _, workdir = copied
    judge.run(small_config(own("True")), workdir, "own", redo=True)
    assert "judge own_rules:judge, tried on 4 examples: gold 4 right; an empty text 4 right" in capsys.readouterr().out
    own("response.text == example.gold")
    with pytest.raises(SettingsChanged, match=r"source\.own_rules:judge: [0-9a-f]{16} -> [0-9a-f]{16}\n.*--redo"):
        judge.run(small_config("judge.name=own_rules:judge"), workdir, "own")
    judge.run(small_config("judge.name=own_rules:judge"), workdir, "own", redo=True)
    assert {v.reason for v in workdir.read_records(Verdict, "verdicts/own.jsonl")} != {"right: the judge says True"}
    judge.run(small_config("judge.name=own_rules:judge"), workdir, "own")
    assert "judge own: already done" in capsys.readouterr().out


def test_a_judge_that_fails_is_told_and_stops_where_it_fails_on_most(own, tmp_path, capsys):
    setting = own("1 / 0 if response.text == 'x' else True")
    workdir = Workdir(str(tmp_path / "run"))
    config = small_config(setting.replace("own_rules:judge", "first(own_rules:judge, numbers)"), "judge.cache=false")
    texts = [dataclasses.replace(response(text, "own"), index=place) for place, text in enumerate("4x4")]
    verdicts = judge_responses(config, workdir, [EXAMPLE], texts, "judge own")
    assert [v.outcome for v in verdicts] == ["right", "wrong", "right"], "numbers decides where it failed"
    told = "judge own: judge own_rules:judge: 1 of 3 failed, 1 of them with judge_error: ZeroDivisionError"
    assert told in " ".join(capsys.readouterr().out.split())
    with pytest.raises(JudgeError, match="judge own_rules:judge: 2 of 3 failed, 2 of them with judge_error: Zero"):
        judge_responses(config, workdir, [EXAMPLE], [texts[1], *texts[:2]], "judge own")
