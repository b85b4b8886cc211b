"""refresh: own answers anew from the model as it is, and a run in rounds that survives a kill."""

import contextlib
import dataclasses

import pytest

from s3ft_jax import checkpoints, stopping
from s3ft_jax.processes import Processes
from s3ft_jax.progress import console
from s3ft_jax.records import Response, Selection, Verdict
from s3ft_jax.selection import METHODS
from s3ft_jax.shards import Shards, read_shards
from s3ft_jax.stages import refresh, show, train, validate
from s3ft_jax.stages.validate import is_due
from s3ft_jax.workdir import Workdir


@pytest.fixture
def in_rounds(copied):
    """(config, workdir) whose four steps of sixteen examples are two rounds, not trained yet."""
    config, workdir = copied
    with config.unlocked():
        config.train.refresh_epochs = 0.5
    for method in ("s3ft", "rft"):
        workdir.remove(train.key(method, 0), [train.folder(method, 0)])
    return config, workdir


def test_the_second_round_learns_from_new_answers(in_rounds):
    config, workdir = in_rounds
    train.run(config, workdir, "s3ft", 0)
    (told,) = workdir.manifest("train-s3ft-seed-0")["facts"]["rounds"]
    where = refresh.folder("s3ft", 0, 1)
    new = read_shards(workdir, Response, f"{where}/own-responses")
    verdicts = workdir.read_records(Verdict, f"{where}/own-verdicts.jsonl")
    selections = workdir.read_records(Selection, f"{where}/selections.jsonl")
    base = {r.example_id: r for r in read_shards(workdir, Response, "responses/own")}
    assert len(new) == len(verdicts) == len(selections) == 16 == told["responses"], "the drawn questions, no others"
    assert {r.index for r in new} == {1} and {r.index for r in base.values()} == {0}
    assert all(r.prompt_ids == base[r.example_id].prompt_ids for r in new)
    assert any(r.response_ids != base[r.example_id].response_ids for r in new)
    right = {v.example_id for v in verdicts if v.outcome == "right"}
    ended = {r.example_id for r in new if r.ended}
    by_id = {r.example_id: r for r in new}
    for one in selections:
        if one.example_id in right & ended:
            assert (one.origin, one.index) == ("own", 1)
            assert one.response_ids == by_id[one.example_id].response_ids
        elif one.origin == "own":
            assert one.index == 0, "the base's answer, which was right"
    assert told["step"] == 2 and told["pass_rate"]["mean"] == len(right) / 16
    assert sum(told["origins"].values()) == 16


def test_a_run_in_rounds_ends_with_the_same_bits_whenever_it_is_killed(in_rounds, monkeypatch):
    config, workdir = in_rounds
    train.run(config, workdir, "s3ft", 0)
    undisturbed = workdir.manifest("train-s3ft-seed-0")
    answers = (workdir / refresh.folder("s3ft", 0, 1) / "selections.jsonl").read_text()
    places = [
        (Shards, "write", 2),  # the second shard of new answers
        (refresh, "judge_responses", 1),
        (train.batches, "build_batch", 4),
    ]
    for room, name, call in places:
        workdir.remove("train-s3ft-seed-0", [train.folder("s3ft", 0)])
        with monkeypatch.context() as patched:
            patched.setattr(room, name, dying(getattr(room, name), call))
            with pytest.raises(KeyboardInterrupt):
                train.run(config, workdir, "s3ft", 0)
        train.run(config, workdir, "s3ft", 0)
        after = workdir.manifest("train-s3ft-seed-0")
        assert after["outputs"] == undisturbed["outputs"] and after["facts"] == undisturbed["facts"], name
        assert (workdir / refresh.folder("s3ft", 0, 1) / "selections.jsonl").read_text() == answers


def test_shards_sampled_before_a_kill_are_kept(in_rounds, monkeypatch):
    config, workdir = in_rounds
    with monkeypatch.context() as patched:
        patched.setattr(Shards, "write", dying(Shards.write, 2))
        with pytest.raises(KeyboardInterrupt):
            train.run(config, workdir, "s3ft", 0)
    asked, answer = [], refresh.answer_shards

    def ask(shards, *rest):
        asked.extend(map(len, shards))
        answer(shards, *rest)

    monkeypatch.setattr(refresh, "answer_shards", ask)
    train.run(config, workdir, "s3ft", 0)
    assert asked == [8], "the shard alone that was not written"


def test_the_first_process_says_which_rounds_are_forgotten(in_rounds, monkeypatch):
    """Another one may still see what was there before, and all must remove the same."""
    config, workdir = in_rounds
    train.run(config, workdir, "s3ft", 0)
    second, removed = Workdir(str(workdir.path), Processes(1, 2)), []
    monkeypatch.setattr(Processes, "first", lambda self, value, name: ["refresh-s3ft-seed-0-7"])
    second.remove = lambda *what: removed.append(what)
    refresh.forget(second, "s3ft", 0, 0)
    assert removed == [("refresh-s3ft-seed-0-7", ["rounds/s3ft/seed-0/7"])]


def test_a_run_that_ended_at_the_last_step_of_a_round_ends_there_again(in_rounds, monkeypatch):
    config, workdir = in_rounds
    with monkeypatch.context() as patched:
        patched.setattr(refresh, "answer_shards", dying(refresh.answer_shards, 1))
        with pytest.raises(KeyboardInterrupt):
            train.run(config, workdir, "s3ft", 0)
    where = workdir / train.folder("s3ft", 0) / "2"
    checkpoints.write_meta(where, dataclasses.replace(checkpoints.read_meta(where), ended="it was enough"))
    train.run(config, workdir, "s3ft", 0)
    facts = workdir.manifest("train-s3ft-seed-0")["facts"]
    assert facts["ended"] == "it was enough" and facts["step"] == 2 and "rounds" not in facts


def test_the_life_of_an_example_tells_of_rounds(in_rounds):
    config, workdir = in_rounds
    train.run(config, workdir, "s3ft", 0)
    new = read_shards(workdir, Response, f"{refresh.folder('s3ft', 0, 1)}/own-responses")[0]
    with console.capture() as printed:
        show.run(config, workdir, new.example_id, method="s3ft")
    text = printed.get()
    assert "== round s3ft/seed-0/1" in text and "== own 1: " in text.partition("== round")[2]
    assert text.count("s3ft trains on") == 2


def dying(function, call):
    """The function, killed at its so-many-th call."""
    calls = []

    def called(*arguments, **named):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments, **named)

    return called


def test_a_run_that_begins_anew_forgets_its_rounds(in_rounds):
    config, workdir = in_rounds
    train.run(config, workdir, "s3ft", 0)
    shard = next((workdir / refresh.folder("s3ft", 0, 1)).glob("own-responses-*"))
    shard.write_text("")  # another model's, say
    workdir.remove("train-s3ft-seed-0", [train.folder("s3ft", 0)])
    train.run(config, workdir, "s3ft", 0)
    assert shard.read_text()


def test_methods_without_own_answers_run_in_one_round(in_rounds):
    config, workdir = in_rounds
    workdir.remove("train-sft-seed-0", [train.folder("sft", 0)])
    train.run(config, workdir, "sft", 0)
    assert "rounds" not in workdir.manifest("train-sft-seed-0")["facts"]
    assert not METHODS["sft"].prefer.count("own") and not (workdir / "rounds/sft").exists()


def test_lora_in_rounds(in_rounds):
    config, workdir = in_rounds
    with config.unlocked():
        config.train.tune = "lora"
        config.train.learning_rate = config.train.per_method.s3ft.learning_rate = 1e-2
    train.run(config, workdir, "s3ft", 0)
    new = read_shards(workdir, Response, f"{refresh.folder('s3ft', 0, 1)}/own-responses")
    base = {r.example_id: r for r in read_shards(workdir, Response, "responses/own")}
    assert any(r.response_ids != base[r.example_id].response_ids for r in new)
    assert workdir.manifest("train-s3ft-seed-0")["facts"]["step"] == 4


def test_a_look_owed_at_the_last_step_of_a_round_may_end_the_run_before_the_next(in_rounds, monkeypatch):
    """Else a request to stop at that step would cost a round of answers, and tune another model."""
    config, workdir = in_rounds
    with config.unlocked():
        config.train.validate.every, config.train.validate.score, config.train.validate.max_kl = 2, False, 1e-9
    train.run(config, workdir, "s3ft", 0)
    undisturbed = workdir.manifest("train-s3ft-seed-0")
    assert undisturbed["facts"]["step"] == 2 and "max_kl" in undisturbed["facts"]["ended"]
    workdir.remove("train-s3ft-seed-0", [train.folder("s3ft", 0)])
    asked = stopping.Request()

    @contextlib.contextmanager
    def deferred():
        yield asked
        if asked.requested:
            raise stopping.Stopped

    def due(settings, number):
        asked.requested = number == 2
        return is_due(settings, number)

    with monkeypatch.context() as patched:
        patched.setattr(stopping, "deferred", deferred)
        patched.setattr(validate, "is_due", due)
        with pytest.raises(stopping.Stopped):
            train.run(config, workdir, "s3ft", 0)
    assert checkpoints.read_meta(workdir / train.folder("s3ft", 0) / "2").numbers == {}
    train.run(config, workdir, "s3ft", 0)
    after = workdir.manifest("train-s3ft-seed-0")
    assert after["outputs"] == undisturbed["outputs"] and after["facts"] == undisturbed["facts"]
    assert workdir.manifest("refresh-s3ft-seed-0-1") is None
