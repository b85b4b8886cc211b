"""Responses of a server: with its ids as with our own engine's; with text alone marked, and checked by a round trip."""

import dataclasses

import pytest

from engines import GUISES, Sampled, openai, plain, serve, vllm
from s3ft_jax.outside import OutsideEngine
from s3ft_jax.outside.engine import encode_behind


@pytest.fixture
def answer(server, served):
    """(reply, asks, settings, origin) -> responses."""

    def asked(reply, asks, settings, origin="own", **more):
        served.reply = reply
        return OutsideEngine(server).answer(asks, origin, settings, **more)

    return asked


def test_every_engine_with_ids_gives_the_same_responses(answer, sample, encoder, asks, settings):
    two = dataclasses.replace(settings, num_responses=2, first_index=4)
    counts = []
    responses = answer(serve(sample), asks, two, on_progress=lambda *c: counts.append(c))
    assert [(r.example_id, r.index) for r in responses] == [(ask.example_id, i) for ask in asks for i in (4, 5)]
    assert counts == [(count, 12) for count in range(1, 13)]
    assert len({r.text for r in responses}) > 6, "seeds differ"
    for response, ask in zip(responses[::2], asks, strict=True):
        assert response.prompt_ids == ask.prompt_ids and response.ended and not response.encoded
        assert response.response_ids == (*encoder.encode_text(response.text), encoder.stop_ids[0])
        length = len(response.response_ids)
        assert response.logprob == sum(-0.25 - place / 64 for place in range(length))
    for guise in GUISES.values():
        assert answer(serve(sample, guise), asks, two) == responses


def test_text_alone_is_encoded_and_says_so(answer, sample, encoder, asks, settings):
    known = answer(serve(sample), asks, settings)
    responses = answer(serve(sample, plain), asks, settings)
    assert responses == [dataclasses.replace(r, logprob=None, encoded="same") for r in known]
    assert answer(serve(sample, openai), asks, settings) == responses, "log-probabilities of unknown ids are not taken"
    cut = answer(serve(sample, plain), asks, dataclasses.replace(settings, max_new_tokens=4))
    for response in cut:
        assert not response.ended and response.response_ids[-1] not in encoder.stop_ids
        assert response.encoded == "same" and len(response.response_ids) == 4


def test_a_text_that_does_not_come_back_is_marked_and_kept_for_people(answer, encoder, asks, settings, monkeypatch):
    end = encoder.decode_text(encoder.stop_ids[:1])
    for text, encoded in (("The sum is 7.", "same"), (f"The sum {end} is 7.", "changed")):
        (response,) = answer(serve(lambda _, text=text: Sampled((), (), True, text), plain), asks[:1], settings)
        assert (response.encoded, response.text, response.logprob, response.ended) == (encoded, text, None, True)
    whole = encoder.encode_text
    monkeypatch.setattr(encoder, "encode_text", lambda text: whole(text.replace("m i", "mi")))  # loses a space
    (response,) = answer(serve(lambda _: Sampled((), (), True, "The sum is 7."), plain), asks[:1], settings)
    assert response.encoded == "changed" and response.text == "The sum is 7."
    assert encoder.decode_response(response.response_ids) == "The sumis 7."


def test_ids_that_are_not_all_there_are_encoded(answer, sample, asks, settings):
    def forgetful(made, body):
        reply = vllm(made, body)
        choice = reply["choices"][0]
        if body["prompt"] == list(asks[1].prompt_ids):
            choice["token_ids"] = choice["token_ids"][1:]
        if body["prompt"] == list(asks[2].prompt_ids):  # ended, but by a token that is no end to us
            choice["token_ids"] = choice["token_ids"][:-1] + choice["token_ids"][:1]
        return reply

    responses = answer(serve(sample, forgetful), asks, settings)
    assert [r.encoded for r in responses] == ["", "same", "same", "", "", ""]
    assert [r.logprob is None for r in responses] == [False, True, True, False, False, False]
    assert [r.response_ids for r in responses] == [r.response_ids for r in answer(serve(sample), asks, settings)]


def test_an_end_token_of_ours_ends_it_wherever_the_server_stopped(answer, sample, encoder, asks, settings):
    def goes_on(body):
        made = sample(body)
        ids = made.ids + encoder.encode_text(" and so on")
        return Sampled(ids, (-0.5,) * len(ids), False, encoder.decode_text(ids))

    (response,) = answer(serve(goes_on), asks[:1], settings)
    assert response.ended and response.response_ids[-1] == encoder.stop_ids[0]
    assert response.logprob == -0.5 * len(response.response_ids)
    assert response.text == encoder.decode_response(response.response_ids) and "so on" not in response.text


def test_given_ids_lead_the_response_and_count_against_the_limit(answer, served, sample, encoder, asks, settings):
    given = encoder.encode_text("Let us see.\n")
    asked = [dataclasses.replace(asks[0], given_ids=given)]
    for guise, encoded in ((vllm, ""), (plain, "same")):
        (response,) = answer(serve(sample, guise), asked, settings, "repair")
        assert response.given == len(given) and response.response_ids[: len(given)] == given
        assert response.prompt_ids == asks[0].prompt_ids and response.encoded == encoded
        assert response.text.startswith("Let us see.\nThe sum is")
        assert response.text == encoder.decode_response(response.response_ids)
        body = served.seen[-1][2]
        assert tuple(body["prompt"]) == asks[0].prompt_ids + given and body["max_tokens"] == 40 - len(given)


def test_log_probabilities_that_do_not_belong_to_the_ids_are_not_taken(answer, sample, asks, settings):
    def one_short(made, body):
        return vllm(made._replace(logprobs=made.logprobs[:-1]), body)

    assert {r.logprob for r in answer(serve(sample, one_short), asks, settings)} == {None}


def test_the_server_is_asked_what_it_gives_only_once(server, served, sample, asks, settings):
    engine = OutsideEngine(server)
    assert engine.answer([], "own", settings) == [] and not served.seen
    assert engine.facts() == {"server": served.address, "model": "m"}
    engine.answer(asks, "own", settings)
    first = len(served.seen)
    engine.answer(asks, "own", settings)
    assert len(served.seen) - first == len(asks) < first
    told = {"server": served.address, "model": "m", "known_as": "/weights/m", "missing": []}
    assert engine.facts() == told


def test_a_busy_server_changes_nothing(answer, sample, asks, settings):
    good, failures = serve(sample), {}

    def flaky(path, body):
        """Each request fails twice, in two ways."""
        left = failures.setdefault(str(body), [(503, b""), (429, b"", {"Retry-After": "0"})])
        return left.pop() if left else good(path, body)

    assert answer(flaky, asks, settings) == answer(good, asks, settings)
    assert len(failures) > len(asks) and not any(failures.values())


def test_encoding_behind_a_prompt_keeps_the_prompts_ids(encoder, asks):
    prompt = asks[0].prompt_ids
    for text in ("The sum is 7.", "", " a space before", "\n\ntwo lines", "ünï\ncode"):
        ids, encoded = encode_behind(encoder, prompt, text)
        assert encoded == "same" and encoder.decode_text(prompt + ids) == encoder.decode_text(prompt) + text


def test_a_thought_is_no_part_of_the_text(answer, encoder, asks, settings):
    written = "<think>\n3 + 4\n</think>\n\nThe sum is 7."
    (response,) = answer(serve(lambda _: Sampled((), (), True, written), plain), asks[:1], settings)
    assert (response.text, response.thought + response.text) == ("The sum is 7.", written)
