"""Servers of completions in several guises, for tests: what vLLM, SGLang, llama.cpp and others reply to one sample."""

from collections.abc import Callable
from typing import Any, NamedTuple

from served import Reply


class Sampled(NamedTuple):
    """One response: its ids with the end token, their log-probabilities, the likeliest first token's, its text."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool
    text: str
    likeliest: float = -0.1


def plain(made: Sampled, body: dict[str, Any]) -> dict[str, Any]:
    """Text alone, and how it ended."""
    choice = {"index": 0, "text": made.text, "finish_reason": "stop" if made.ended else "length"}
    return {"object": "text_completion", "model": body["model"], "choices": [choice]}


def openai(made: Sampled, body: dict[str, Any]) -> dict[str, Any]:
    """With log-probabilities of tokens that are named by their text, and how many there are."""
    reply = plain(made, body) | {"usage": {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(made.ids)}}
    if "logprobs" in body:
        reply["choices"][0]["logprobs"] = {
            "tokens": [f"text of {token}" for token in made.ids],
            "token_logprobs": list(made.logprobs),
            "top_logprobs": [{"a": made.likeliest, "b": made.likeliest - 1}] + [{"a": -0.5}] * (len(made.ids) - 1),
        }
    return reply


def vllm(made: Sampled, body: dict[str, Any]) -> dict[str, Any]:
    reply = openai(made, body)
    more = {"stop_reason": None, "prompt_token_ids": body["prompt"], "token_ids": list(made.ids)}
    reply["choices"][0] |= more if body.get("return_token_ids") else {}
    return reply


def old_vllm(made: Sampled, body: dict[str, Any]) -> dict[str, Any]:
    """Before 0.10.2: ids only in place of the tokens' texts."""
    reply = openai(made, body)
    if body.get("return_tokens_as_token_ids") and "logprobs" in body:
        reply["choices"][0]["logprobs"]["tokens"] = [f"token_id:{token}" for token in made.ids]
    return reply


def sglang(made: Sampled, body: dict[str, Any]) -> dict[str, Any]:
    """The end token told beside the ids and not among them."""
    reply = openai(made, body)
    ids = list(made.ids[:-1] if made.ended else made.ids)
    if body.get("return_token_ids"):
        reply["choices"][0] |= {"token_ids": ids, "matched_stop": made.ids[-1] if made.ended else None}
    return reply


def llama_cpp(made: Sampled, body: dict[str, Any]) -> dict[str, Any]:
    reply = openai(made, body)
    if "logprobs" in body:
        contents = [
            {"id": token, "token": "x", "bytes": [120], "logprob": value, "top_logprobs": [{"id": 1, "logprob": -0.5}]}
            for token, value in zip(made.ids, made.logprobs, strict=True)
        ]
        contents[0]["top_logprobs"] = [{"id": 1, "logprob": made.likeliest}, {"id": 2, "logprob": -9.0}]
        reply["choices"][0]["logprobs"] = {"content": contents}
    return reply


GUISES = {"vllm": vllm, "old_vllm": old_vllm, "sglang": sglang, "llama_cpp": llama_cpp}
"""Those that return ids and log-probabilities."""


def serve(sample: Callable[[dict[str, Any]], Sampled], guise: Callable[..., dict[str, Any]] = vllm) -> Reply:
    """A server of the model "m", which lies at /weights/m: a request's body -> a sample -> a reply."""

    def reply(path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        if path == "/v1/models":
            return 200, {"data": [{"id": "other"}, {"id": "m", "root": "/weights/m"}]}
        assert path == "/v1/completions", path
        return 200, guise(sample(body), body)

    return reply


def refusing(reply: Reply, *names: str) -> Reply:
    """The same server, to which these parameters are unknown."""

    def strict(path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        unknown = [name for name in names if name in (body or {})]
        return (400, {"error": {"message": f"unknown parameters {unknown}"}}) if unknown else reply(path, body)

    return strict
