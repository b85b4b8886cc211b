"""What a server gives is found out by asking it, and said in words; a server that cannot be right is an error."""

import dataclasses

import pytest

from engines import GUISES, llama_cpp, openai, plain, refusing, serve, vllm
from s3ft_jax.generation.sampling import Sampling
from s3ft_jax.outside.offer import find_offer
from s3ft_jax.outside.server import Dialect, OutsideError

EXTENDED = ("top_k", "stop_token_ids", "return_token_ids")


@pytest.mark.parametrize("guise", GUISES)
def test_an_engine_that_gives_everything(server, served, sample, asks, settings, guise):
    served.reply = serve(sample, GUISES[guise])
    offer = find_offer(server, asks, settings)
    assert (offer.dialect, offer.ids, offer.logprobs, offer.missing) == (Dialect(), True, True, ())
    assert offer.known_as == "/weights/m"
    bodies = [body for _, _, body in served.seen if body]
    assert [body["temperature"] for body in bodies] == [0.7] * 4 + [0.5] * 4 + [2.0] * 4
    assert {body["max_tokens"] for body in bodies[:4]} == {16} and {body["max_tokens"] for body in bodies[4:]} == {1}


def test_what_an_engine_does_not_give_is_said(server, served, sample, asks, settings):
    for guise, why in ((plain, "log-probabilities: none are"), (openai, "of tokens whose ids are not told")):
        served.reply = serve(sample, guise)
        offer = find_offer(server, asks, settings)
        assert (offer.ids, offer.logprobs, len(offer.missing)) == (False, False, 2)
        assert "encoded by our tokenizer" in offer.missing[0] and why in offer.missing[1]


def test_parameters_that_are_refused_are_left_out(server, served, sample, asks, settings):
    served.reply = refusing(serve(sample), "logprobs")
    offer = find_offer(server, asks, settings)
    assert (offer.dialect, offer.ids, offer.logprobs) == (Dialect(logprobs=False), True, False)
    served.reply = refusing(serve(sample, llama_cpp), *EXTENDED)
    offer = find_offer(server, asks, settings)
    assert (offer.dialect, offer.ids, offer.logprobs) == (Dialect(extended=False), True, True)
    served.reply = refusing(serve(sample), "logprobs", *EXTENDED)
    offer = find_offer(server, asks, settings)
    assert (offer.dialect, offer.ids) == (Dialect(False, False), False)
    with_filter = dataclasses.replace(settings, sampling=Sampling(0.7, top_k=5))
    with pytest.raises(OutsideError, match=r"HTTP 400 .*unknown parameters \['logprobs', 'top_k'"):
        find_offer(server, asks, with_filter)


def test_what_is_refused_in_every_way_is_an_error_with_the_servers_first_words(server, served, asks, settings):
    models = served.reply("/v1/models", None)
    served.reply = lambda path, body: (422, {"message": f"no: {'min_p' in body}"}) if body else models
    with pytest.raises(OutsideError, match=r"t/train/\d: .*HTTP 422 .*no: True"):
        find_offer(server, asks, settings)


@pytest.mark.parametrize("guise", [vllm, llama_cpp])
def test_log_probabilities_after_the_temperature_are_not_used(server, served, sample, asks, settings, guise):
    served.reply = serve(lambda body: sample(body)._replace(likeliest=-0.6 / body["temperature"]), guise)
    offer = find_offer(server, asks, settings)
    assert offer.ids and not offer.logprobs
    assert "hold at temperature 0.7, not at 1 (start SGLang with" in offer.missing[0]
    for harmless in (Sampling(temperature=0.0), Sampling(temperature=1.0)):
        asked = len(served.seen)
        served.reply = serve(sample, guise)
        assert find_offer(server, asks, dataclasses.replace(settings, sampling=harmless)).logprobs
        assert len(served.seen) - asked == 5, "there is nothing to find out"


def test_without_the_likeliest_token_nothing_is_assumed(server, served, sample, asks, settings):
    def without(made, body):
        reply = vllm(made, body)
        reply["choices"][0]["logprobs"]["top_logprobs"] = None
        return reply

    served.reply = serve(sample, without)
    offer = find_offer(server, asks, settings)
    assert not offer.logprobs and "cannot be seen" in offer.missing[0]


def test_another_tokenizer_is_an_error(server, served, sample, asks, settings):
    served.reply = serve(lambda body: sample(body)._replace(text="Something else"))
    with pytest.raises(OutsideError, match=r"ids of the server's answer are 'The sum.*its text is 'Something else'"):
        find_offer(server, asks, settings)
    served.reply = serve(lambda body: sample(body)._replace(text=f" {sample(body).text}\ufffd"))
    assert find_offer(server, asks, settings).ids, "white space and half characters are no difference"


def test_a_prompt_that_is_changed_is_an_error(server, served, sample, asks, settings):
    served.reply = serve(sample, lambda made, body: vllm(made, body | {"prompt": [1, *body["prompt"]]}))
    with pytest.raises(OutsideError, match=r"t/train/0: the server was sent a prompt of \d+ ids and read another"):
        find_offer(server, asks, settings)


def test_given_ids_are_no_part_of_a_probe(server, served, asks, settings):
    given = [dataclasses.replace(ask, given_ids=(5,) * 30) for ask in asks]
    find_offer(server, given, settings)
    assert {tuple(body["prompt"]) for _, _, body in served.seen[1:5]} == {ask.prompt_ids for ask in asks[:4]}
