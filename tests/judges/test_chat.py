"""The judging model behind an endpoint, against a server in this process: what is asked, order, clear errors."""

import pytest

from s3ft_jax import endpoint
from s3ft_jax.endpoint import Endpoint
from s3ft_jax.judges.chat import Chat
from s3ft_jax.judges.verdicts import JudgeError
from served import serving


def completion(text):
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


def shout(path, body):
    return 200, completion(body["messages"][0]["content"].upper())


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    with serving(shout) as served:
        yield served


def test_prompts_are_asked_greedily_and_replies_come_in_order(server, monkeypatch):
    monkeypatch.setenv("A_KEY", "secret")
    ask = Chat(Endpoint(server.address + "/", "A_KEY", num_parallel=4), "m", max_tokens=7)
    assert ask(["a", "b", "c"]) == ["A", "B", "C"]
    path, key, body = server.seen[-1]
    assert path == "/v1/chat/completions" and key == "Bearer secret"
    sent = {name: body[name] for name in ("model", "temperature", "seed", "max_tokens")}
    assert sent == {"model": "m", "temperature": 0, "seed": 0, "max_tokens": 7}


def test_a_model_that_says_nothing_gives_an_empty_reply(server):
    server.reply = lambda path, body: (200, completion(None))
    assert Chat(Endpoint(server.address), "m")(["a"]) == [""]


@pytest.mark.parametrize(
    ("status", "body", "message", "tries"),
    [
        (401, b"no such key", r"HTTP 401 .*no such key.*the key in \$OPENAI_API_KEY", 1),
        (500, b"broken", r"HTTP 500 .*broken.*judge\.model\.name = 'm'", 3),
        (200, b"<html>", r"replied with no JSON.*address end in /v1", 1),
        (200, b"{}", r"replied with no chat completion", 1),
        (200, b"[7]", r"replied with no chat completion: \[7\]", 1),
    ],
)
def test_what_does_not_get_better_is_an_error(server, status, body, message, tries):
    server.reply = lambda path, request: (status, body)
    with pytest.raises(JudgeError, match=rf"judge\.model\.endpoint: .*{message}"):
        Chat(Endpoint(server.address, num_parallel=1, retries=2), "m")(["a", "b"])
    assert tries <= len(server.seen) <= 2 * tries
