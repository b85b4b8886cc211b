"""responder: the same example gives the same response in any company, order and count."""

import dataclasses

import pytest

from s3ft_jax import responder
from s3ft_jax.generation.engine import Engine
from s3ft_jax.generation.sampling import GREEDY, GenerationError, Sampling
from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Example
from s3ft_jax.responder import Ask, ResponseSettings, StopStrings, answer, respond, sharing
from s3ft_jax.stages.launch import load_model
from small import small_config


@pytest.fixture(scope="module")
def ask(walked):
    _, workdir = walked
    model = load_model(workdir)

    def asked(examples, origin="own", **settings):
        made = ResponseSettings(
            **{
                "sampling": Sampling(temperature=0.8),
                "max_new_tokens": 24,
                "seed": 3,
                "engine": EngineSettings(num_slots=16),
            }
            | settings
        )
        return respond(examples, origin, model, made)

    return asked, workdir.read_records(Example, "examples/train.jsonl")


def test_company_and_order_change_nothing(ask):
    asked, examples = ask
    together = {r.example_id: r for r in asked(examples)}
    assert {r.example_id: r for r in asked(examples[::-1])} == together
    for example in examples[:3]:
        assert asked([example]) == [together[example.id]]


def test_more_responses_keep_the_first(ask):
    asked, examples = ask
    one, three = asked(examples[:5]), asked(examples[:5], num_responses=3)
    assert [r for r in three if r.index == 0] == one
    assert [(r.example_id, r.index) for r in three] == [(e.id, i) for e in examples[:5] for i in range(3)]
    assert len({r.response_ids for r in three}) > 5, "samples of one prompt differ"


def test_seed_and_origin_change_the_draw(ask):
    asked, examples = ask
    texts = [r.text for r in asked(examples)]
    assert [r.text for r in asked(examples, seed=4)] != texts
    paraphrases = asked(examples, "paraphrase")
    assert all(r.origin == "paraphrase" for r in paraphrases)
    assert paraphrases[0].prompt_ids != asked(examples[:1])[0].prompt_ids


def test_given_ids_lead_the_response_and_are_not_counted_as_sampled(walked, ask):
    asked, examples = ask
    _, workdir = walked
    model = load_model(workdir)
    (own,) = asked(examples[:1])
    settings = ResponseSettings(
        sampling=Sampling(temperature=0.0), max_new_tokens=24, seed=3, engine=EngineSettings(num_slots=16)
    )
    (whole,) = answer([Ask("x", own.prompt_ids)], "own", model, settings)
    half = len(whole.response_ids) // 2
    asking = [Ask("x", own.prompt_ids, whole.response_ids[:half])]
    (begun,) = answer(asking, "repair", model, settings)
    # greedy, so that it goes on as it would have by itself
    assert begun.response_ids == whole.response_ids and begun.text == whole.text and begun.given == half
    assert begun.prompt_ids == whole.prompt_ids and begun.ended == whole.ended
    assert whole.logprob < begun.logprob < 0, "of the sampled ids alone"
    short = ResponseSettings(
        sampling=Sampling(temperature=0.0), max_new_tokens=half + 2, seed=3, engine=EngineSettings(num_slots=16)
    )
    (cut,) = answer(asking, "repair", model, short)
    assert len(cut.response_ids) == half + 2 and not cut.ended, "the limit counts the given ids"


def test_a_cut_response_has_not_ended(ask):
    asked, examples = ask
    for response in asked(examples[:6], max_new_tokens=3):
        assert not response.ended and len(response.response_ids) == 3


def test_config_of_the_quickstart_samples_at_a_temperature():
    assert 0.5 <= small_config().sample.temperature <= 1.0


def test_stop_strings_across_token_borders():
    tokens = ["4", "2.", "\n\nQ", ":", " 7", "\nQ:"]

    def decode(ids):
        return "".join(tokens[i] for i in ids)

    stops = StopStrings(("\nQ:", "never"), decode)
    assert stops([0, 1, 2], 0) is None
    assert stops([0, 1, 2, 3], 3) == 4 == stops([0, 1, 2, 3, 4, 5], 0), "the fewest ids that say it"
    assert stops.cut(decode([0, 1, 2, 3])) == "42.\n" and stops.cut("42") == "42"
    assert StopStrings(("b", "ab"), decode).cut("xabx") == "x", "before whichever begins first"
    for wrong in (("",), "\n", (3,)):
        with pytest.raises(GenerationError, match=r"sample\.stop and evaluate\.stop"):
            StopStrings(wrong, decode)


def test_a_stop_text_ends_a_response_and_is_not_in_its_text(ask):
    asked, examples = ask
    plain = asked(examples, sampling=GREEDY)
    letter = next(t.text[len(t.text) // 2] for t in plain if len(t.text) > 8)
    stopped = asked(examples, sampling=GREEDY, stop=(letter,))
    for one, whole in zip(stopped, plain, strict=True):
        assert one.text == whole.text.split(letter)[0]
        assert one.response_ids == whole.response_ids[: len(one.response_ids)]
        assert one.ended == (whole.ended or letter in whole.text)
    assert any(len(one.response_ids) < len(whole.response_ids) for one, whole in zip(stopped, plain, strict=True))


def test_the_engine_attends_as_suits_the_parameters(walked, monkeypatch):
    model, seen, suits = load_model(walked[1]), [], CachedAttention("pallas", interpret=True)
    asked = {(id(model.params), "xla"): suits}
    monkeypatch.setattr(responder.cached_attention, "choose", lambda params, name: asked.get((id(params), name)))
    monkeypatch.setattr(Engine, "__init__", lambda engine, *_, attention, **__: seen.append(attention))
    monkeypatch.setattr(Engine, "generate", lambda *_, **__: None)
    settings = ResponseSettings(
        sampling=Sampling(temperature=0.0),
        max_new_tokens=2,
        seed=3,
        engine=EngineSettings(num_slots=3, attention="xla"),
    )
    assert answer([], "own", model, settings) == [] and seen == [suits]


def test_slots_that_are_chosen_are_told_once(walked, capsys):
    model = load_model(walked[1])
    settings = EngineSettings(num_slots=0, chunk_steps=5)
    assert responder.engine_of(model, settings) is responder.engine_of(model, settings)
    assert capsys.readouterr().out.count("sampling with 16 slots (what suits a CPU; sample.num_slots)") == 1


def test_replicas_share_out_what_is_scored(walked):
    alone = load_model(walked[1])
    spread = load_model(walked[1], engine=EngineSettings(num_replicas=2))
    assert responder.scorer_of(alone, 64) is responder.scorer_of(alone, 64) is not responder.scorer_of(spread, 64)
    prompts, responses, seen = [(1, 2, 3 + n) for n in range(12)], [tuple(range(5, 25))] * 12, []
    scores = []
    for model in (alone, spread):
        seen.append([])
        found = responder.scorer_of(model, 64).logprobs(model.params, prompts, responses, lambda *n: seen[-1].append(n))
        scores.append([one.tobytes() for one in found])
    assert scores[0] == scores[1]
    assert len(seen[0]) == 2 * len(seen[1])


def _task_example(task, number):
    return Example(f"{task}/{number}", task, "test", ({"role": "user", "content": "?"},), "", "exact", {})


def test_asks_of_a_task_know_what_all_of_them_begin_with():
    shots, brief = tuple(range(100)), tuple(range(30))
    asks = [Ask(f"few/{number}", (*shots, 7, number, 9), (1,)) for number in (3, 5, 4)]
    asks += [Ask(f"zero/{number}", (*brief, number)) for number in range(3)] + [Ask("one/0", shots)] * 2
    asks += [Ask("nested/0", shots), Ask("nested/1", (*shots, 1))]
    examples = [_task_example(*ask.example_id.split("/")) for ask in asks]
    found = sharing(asks, examples)
    assert [ask.shared for ask in found] == [101] * 3 + [0] * 3 + [0] * 2 + [99] * 2
    assert [(ask.prompt_ids, ask.given_ids) for ask in found] == [(ask.prompt_ids, ask.given_ids) for ask in asks]
    assert sharing([], []) == []


def test_what_is_shared_reaches_the_engine(walked, monkeypatch):
    model, seen = load_model(walked[1]), []
    monkeypatch.setattr(
        responder.FittingEngine, "generate", lambda engine, params, requests, *_: seen.extend(requests) or []
    )
    settings = ResponseSettings(sampling=GREEDY, max_new_tokens=5, seed=0, num_responses=2)
    assert answer([Ask("a", (1, 2, 3), shared=2)], "own", model, settings) == [], "the engine of this test makes none"
    assert [request.shared for request in seen] == [2, 2]


def test_shards_come_whole_one_by_one_with_the_same_responses(ask, walked):
    _, examples = ask
    model = load_model(walked[1])
    settings = ResponseSettings(
        sampling=Sampling(temperature=0.8),
        max_new_tokens=24,
        seed=3,
        num_responses=2,
        engine=EngineSettings(num_slots=8),
    )
    asks = responder.asks_of(examples[:20], "own", model.encoder)
    parts, came, told = [asks[:7], [], asks[7:8], asks[8:]], {}, []

    def take(shard, responses):
        assert shard not in came
        came[shard] = responses

    responder.answer_shards(parts, "own", model, settings, take, lambda *counts: told.append(counts[:2]))
    assert sorted(came) == [0, 1, 2, 3] and came[1] == []
    assert [one for shard in range(4) for one in came[shard]] == answer(asks, "own", model, settings)
    assert told[-1] == (40, 40)


def test_a_thought_is_no_part_of_the_text_and_stays_in_the_ids(ask, monkeypatch):
    asked, examples = ask
    (plain,) = asked(examples[:1])
    decode = PromptEncoder.decode_response
    monkeypatch.setattr(
        PromptEncoder, "decode_response", lambda self, ids: "<think>\nx\n</think>\n\n" + decode(self, ids)
    )
    (response,) = asked(examples[:1])
    assert response == dataclasses.replace(plain, thought="<think>\nx\n</think>\n\n")
