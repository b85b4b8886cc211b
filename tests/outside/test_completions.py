"""Replies in the forms of vLLM, SGLang, llama.cpp and plain OpenAI: what is read, and what is left unknown."""

import pytest

from engines import GUISES, Sampled, llama_cpp, openai, plain, sglang, vllm
from s3ft_jax.outside.completions import read_completion

BODY = {"model": "m", "prompt": [5, 6], "logprobs": 1, "return_token_ids": True, "return_tokens_as_token_ids": True}
MADE = Sampled((7, 8, 0), (-0.5, -0.25, -1.0), True, "one two", -0.125)


@pytest.mark.parametrize("guise", GUISES)
@pytest.mark.parametrize("ended", [True, False])
def test_every_engine_is_read_alike(guise, ended):
    read = read_completion(GUISES[guise](MADE._replace(ended=ended), BODY))
    assert (read.text, read.ended, read.ids) == ("one two", ended, (7, 8, 0))
    assert (read.logprobs, read.likeliest) == ((-0.5, -0.25, -1.0), -0.125)
    assert read.prompt_ids == ((5, 6) if guise == "vllm" else None)


@pytest.mark.parametrize("guise", [openai, plain])
def test_what_is_not_there_is_not_known(guise):
    read = read_completion(guise(MADE, BODY))
    assert read.ids is None and read.prompt_ids is None and read.text == "one two" and read.ended
    assert read.logprobs == ((-0.5, -0.25, -1.0) if guise is openai else None)
    assert read.likeliest == (-0.125 if guise is openai else None)
    without = {name: value for name, value in BODY.items() if name != "logprobs"}
    assert read_completion(llama_cpp(MADE, without)).ids is None, "its ids lie among the log-probabilities"
    assert read_completion(vllm(MADE, without)).ids == (7, 8, 0)


def test_ids_that_are_fewer_than_were_sampled_are_not_taken():
    reply = llama_cpp(MADE, BODY)
    del reply["choices"][0]["logprobs"]["content"][0]  # a byte of a character, say
    assert read_completion(reply).ids is None
    del reply["usage"]
    assert read_completion(reply).ids == (8, 0), "nothing tells that one is missing"


def test_the_end_token_is_added_once_and_only_to_what_ended():
    reply = sglang(MADE, BODY)
    assert reply["choices"][0]["token_ids"] == [7, 8] and read_completion(reply).ids == (7, 8, 0)
    reply["choices"][0]["token_ids"] = [7, 8, 0]
    assert read_completion(reply).ids == (7, 8, 0)
    reply["choices"][0] |= {"token_ids": [7, 8], "matched_stop": "\n\n"}
    assert read_completion(reply).ids is None, "a stop text is no token, and usage counts three"


@pytest.mark.parametrize("value", [-9999.0, None, "-1"])
def test_a_log_probability_that_is_none_is_not_made_up(value):
    reply = vllm(MADE, BODY)
    reply["choices"][0]["logprobs"]["token_logprobs"][1] = value
    read = read_completion(reply)
    assert read.logprobs is None and read.ids == (7, 8, 0)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ([], "no completion"),
        ({"choices": []}, "no completion"),
        ({"choices": [{"message": {"content": "chat"}, "finish_reason": "stop"}]}, "no completion"),
        ({"choices": [{"text": 5, "finish_reason": "stop"}]}, "no completion"),
        ({"choices": [{"text": "a", "finish_reason": "abort"}]}, r"did not finish .*'abort'"),
        ({"choices": [{"text": "a"}]}, r"did not finish .*None"),
    ],
)
def test_what_is_no_whole_completion_is_refused(reply, message):
    with pytest.raises(ValueError, match=message):
        read_completion(reply)


def test_ids_that_are_none_are_not_taken():
    for ids in ([7, -1], [7, True], [7, "8"], "78"):
        reply = plain(MADE, BODY)
        reply["choices"][0]["token_ids"] = ids
        assert read_completion(reply).ids is None
