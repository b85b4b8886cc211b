"""Asking a server: what is sent, in which order replies come, and errors that name question, cause and fix."""

import dataclasses
import time

import pytest

from engines import serve
from s3ft_jax.generation.sampling import Sampling
from s3ft_jax.outside.server import Dialect, OutsideError, request_seed


def test_a_request_has_the_prompts_ids_and_every_parameter(server, served, asks, settings):
    ask = dataclasses.replace(asks[0], given_ids=(9, 9))
    settings = dataclasses.replace(settings, sampling=Sampling(0.5, top_p=0.9, min_p=0.05))
    server.complete([(ask, 2)], "repair", settings, Dialect())
    ((path, _, body),) = served.seen
    assert path == "/v1/completions" and body == {
        "model": "m",
        "prompt": [*ask.prompt_ids, 9, 9],
        "max_tokens": 38,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": request_seed(3, ask.example_id, "repair", 2),
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "logprobs": 1,
        "top_k": -1,
        "min_p": 0.05,
        "repetition_penalty": 1.0,
        "stop_token_ids": list(server.encoder.stop_ids),
        "skip_special_tokens": False,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }
    settings = dataclasses.replace(settings, sampling=Sampling(0.5, top_k=7))
    server.complete([(ask, 2)], "repair", settings, Dialect())
    assert served.seen[-1][2]["top_k"] == 7


def test_a_plain_dialect_has_openais_parameters_alone(server, served, asks, settings):
    server.complete([(asks[0], 0)], "own", settings, Dialect(extended=False, logprobs=False))
    sent = set(served.seen[0][2])
    penalties = {"presence_penalty", "frequency_penalty"}
    assert sent == {"model", "prompt", "max_tokens", "temperature", "top_p", "seed"} | penalties


def test_completions_come_in_order_and_progress_counts_up(server, served, sample, asks, settings):
    def slow_first(body):
        time.sleep(0.1 if body["prompt"] == list(asks[0].prompt_ids) else 0)
        return sample(body)

    served.reply = serve(slow_first)
    counts = []
    made = server.complete([(ask, 0) for ask in asks], "own", settings, Dialect(), lambda *c: counts.append(c))
    seeds = [request_seed(3, ask.example_id, "own", 0) for ask in asks]
    assert [one.text for one in made] == [f"The sum is {seed % 97}." for seed in seeds]
    assert counts == [(count, 6) for count in range(1, 7)]


def test_a_seed_follows_from_what_is_asked_and_fits_every_engine():
    seeds = [request_seed(s, e, o, i) for s in (0, 1) for e in ("a", "b") for o in ("own", "repair") for i in (0, 1)]
    assert len(set(seeds)) == 16 and all(0 <= seed < 2**31 for seed in seeds)
    assert request_seed(0, "a", "own", 0) == seeds[0]


def test_the_servers_own_name_for_the_model(server, served):
    assert server.known_as() == "/weights/m"
    served.reply = lambda path, body: (200, {"data": [{"id": "m"}]})
    assert server.known_as() == "m"
    served.reply = lambda path, body: (404, b"")
    assert server.known_as() == "m", "it has no list"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((200, {"data": [{"id": "a"}, {"id": "b"}]}), r"sample\.outside\.name = 'm': http://127.* serves a, b$"),
        ((200, []), r"serves no model$"),
        ((401, b"no"), r"HTTP 401 [^:]*: no\. Is the key in \$OPENAI_API_KEY right"),
        ((200, b"<html>"), r"/v1/models replied with no JSON.* end in /v1\?"),
    ],
)
def test_a_server_without_the_model_is_an_error(server, served, reply, message):
    served.reply = lambda path, body: reply
    with pytest.raises(OutsideError, match=message):
        server.known_as()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((400, {"error": {"message": "too long"}}), r"t/train/3: http.*/v1/completions: HTTP 400 [^:]*: too long\. "),
        ((404, {"detail": "Not Found"}), r"HTTP 404 .*Chat completions alone are of no use"),
        ((500, b"out of memory"), r"t/train/3: .*HTTP 500 [^:]*: out of memory.*the same command goes on"),
        ((0, b""), r"t/train/3: .* does not reply .*Is the server there\?"),
        ((200, {"choices": []}), r"127.*: t/train/3: the server replied with no completion: .*OpenAI-compatible"),
        ((200, {"choices": [{"text": "", "finish_reason": "abort"}]}), r"t/train/3: the server did not finish"),
    ],
)
def test_a_failure_names_the_question_and_what_the_server_said(server, served, asks, settings, reply, message):
    good = served.reply
    bad = list(asks[3].prompt_ids)
    served.reply = lambda path, body: reply if body["prompt"] == bad else good(path, body)
    with pytest.raises(OutsideError, match=message):
        server.complete([(ask, 0) for ask in asks], "own", settings, Dialect())
