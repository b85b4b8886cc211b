"""show: the whole life of one example; an unknown id suggests the nearest."""

import dataclasses

import pytest

from s3ft_jax.records import Response, Selection
from s3ft_jax.stages import show
from s3ft_jax.workdir import WorkdirError


def test_every_token_is_shown_with_its_weight(walked, capsys):
    config, workdir = walked
    show.run(config, workdir, "arithmetic/train/00003", method="s3ft")
    text = capsys.readouterr().out
    (selection,) = (
        s for s in workdir.read_records(Selection, "selections/s3ft.jsonl") if s.example_id == "arithmetic/train/00003"
    )
    lines = [line.split() for line in text.splitlines() if line[:6].strip() in ("0", "1") and line[:8].isascii()]
    shown = [(int(weight), int(token)) for weight, token, *_ in lines if token.isdigit()]
    wanted = [(0, i) for i in selection.prompt_ids] + [(1, i) for i in selection.response_ids]
    assert shown[-len(wanted) :] == wanted
    for part in ("== gold", "== own 0", "== s3ft trains on", "-> "):
        assert part in text


def test_a_test_example_shows_every_models_answer(walked, capsys):
    config, workdir = walked
    show.run(config, workdir, "arithmetic/test/00000")
    text = capsys.readouterr().out
    for model in ("base", "sft/seed-0", "s3ft/seed-0"):
        assert f"== answer of {model}" in text


def test_an_unknown_id_names_the_nearest(walked):
    config, workdir = walked
    with pytest.raises(WorkdirError, match="nearest: arithmetic/train/000"):
        show.run(config, workdir, "arithmetic/train/3")


def test_what_an_outside_engine_did_not_give_is_shown(copied, capsys):
    config, workdir = copied
    name = workdir.matching(["responses/own-00000-*.jsonl"])[0]
    responses = workdir.read_records(Response, name)
    responses[:2] = [dataclasses.replace(responses[0], encoded="same", logprob=None), responses[1]]
    workdir.write_records(name, responses)
    for response in responses[:2]:
        show.run(config, workdir, response.example_id, method="s3ft")
    first, second = [line for line in capsys.readouterr().out.splitlines() if line.startswith("== own 0")]
    assert ", ENCODED from text, " in first and first.endswith("log p not known")
    assert "ENCODED" not in second and f"log p {responses[1].logprob:.2f}" in second


def test_a_thought_is_shown_before_its_answer(copied, capsys):
    config, workdir = copied
    name = workdir.matching(["responses/own-00000-*.jsonl"])[0]
    responses = workdir.read_records(Response, name)
    workdir.write_records(name, [dataclasses.replace(responses[0], thought="<think>hm</think>\n"), *responses[1:]])
    show.run(config, workdir, responses[0].example_id, method="s3ft")
    assert f"<think>hm</think>\n{responses[0].text}" in capsys.readouterr().out
