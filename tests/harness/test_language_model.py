"""The model class that lm-eval asks, against lm-eval's own Hugging Face backend on the same weights."""

import types

import pytest
from lm_eval.api.instance import Instance

from s3ft_jax import chat_templates
from s3ft_jax.generation.sampling import Sampling
from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.harness import language_model
from s3ft_jax.harness.language_model import Ends, LanguageModel
from s3ft_jax.harness.settings import HarnessError
from s3ft_jax.stages.launch import load_texts, pocket_model_folder
from s3ft_jax.texts import TextEncoder

ENGINE = EngineSettings(num_slots=8)
PAIRS = [
    ("Tom has 4 apples. He buys 3. ", "Answer: 7"),
    ("Tom has 4 apples. He buys 3.", " Answer: 7"),
    ("", "Tom lives in Oslo."),
    ("Today is Wednesday.\n", "Tomorrow is Thursday."),
    ("word " * 600, "end"),
]


def instances(kind, arguments):
    return [Instance(kind, {}, one, 0, ("made", number, 1)) for number, one in enumerate(arguments)]


@pytest.fixture(scope="module")
def folder():
    return str(pocket_model_folder())


def ours(folder, **options):
    return LanguageModel(*load_texts(folder, ENGINE), ENGINE, **options)


@pytest.fixture(scope="module")
def theirs(folder):
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=4)


def test_likelihoods_are_those_of_the_hugging_face_backend(folder, theirs):
    asked = instances("loglikelihood", PAIRS)
    model = ours(folder)
    mine, reference = model.loglikelihood(asked), theirs.loglikelihood(asked)
    for (value, greedy), (other, other_greedy) in zip(mine, reference, strict=True):
        assert value == pytest.approx(other, abs=1e-4) and greedy == other_greedy
    tokens = model.counts.pop("tokens")
    assert model.counts == {"scored": 5, "cut_contexts": 1} and tokens >= 5
    assert mine[0] == mine[1], "a space at the context's end belongs to the continuation"


def test_whole_texts_are_scored_in_windows(folder, theirs):
    texts = [("Tom lives in Oslo.",), ("The red box is too big. " * 200,)]
    mine = ours(folder).loglikelihood_rolling(instances("loglikelihood_rolling", texts))
    reference = theirs.loglikelihood_rolling(instances("loglikelihood_rolling", texts))
    assert mine == pytest.approx(reference, rel=1e-5)
    with pytest.raises(HarnessError, match="made/0: an empty text"):
        ours(folder).loglikelihood_rolling(instances("loglikelihood_rolling", [("",)]))


def test_answers_are_those_of_the_hugging_face_backend(folder, theirs):
    question = "<u> Tom has 4 apples. He buys 3. How many apples does Tom have now?<a>"
    asked = [
        (question, {"until": [], "max_gen_toks": 24}),
        (question, {"until": ["= 7"], "max_gen_toks": 24}),
        ("Convert 3 meters to centimeters.", {"until": ["."], "max_gen_toks": 16, "do_sample": False}),
        ("word " * 600, {"until": ["\n"], "max_gen_toks": 8}),
        (question, {"until": [], "max_gen_toks": 24, "do_sample": False, "repetition_penalty": 1.5}),
    ]
    model = ours(folder)
    assert model.generate_until(instances("generate_until", asked)) == theirs.generate_until(
        instances("generate_until", asked)
    )
    assert model.counts["answered"] == 5 and model.counts["cut_contexts"] == 1 and model.counts["tokens"] > 5


def test_sampled_answers_follow_the_seed(folder):
    asked = instances("generate_until", [("Tell me", {"do_sample": True, "temperature": 1.0, "max_gen_toks": 12})] * 4)
    first = ours(folder, seed=1).generate_until(asked)
    assert first == ours(folder, seed=1).generate_until(asked) != ours(folder, seed=2).generate_until(asked)
    assert len(set(first)) > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"until": [], "num_beams": 4}, r"made/0: generation settings \['num_beams'\] are not known"),
        ({"until": [], "max_gen_toks": 512}, "512 new tokens leave no room"),
    ],
)
def test_what_cannot_be_asked_is_named(folder, settings, message):
    with pytest.raises(HarnessError, match=message):
        ours(folder).generate_until(instances("generate_until", [("Hi", settings)]))


def test_a_continuation_without_a_token_is_named(folder):
    with pytest.raises(HarnessError, match="made/0: after 'Hi' the continuation '' adds no token"):
        ours(folder).loglikelihood(instances("loglikelihood", [("Hi", "")]))


def test_an_answer_without_a_limit_gets_half_of_what_the_model_reads_at_most(folder):
    model = ours(folder, max_new_tokens=4096)
    request, texts = model._request(0, instances("generate_until", [("Hi", {"until": ["."]})])[0], [5, 6])
    assert request.max_new_tokens == model.max_length // 2 == 256
    assert texts[0] == "." and len(texts) == 2, "and the end of text"


@pytest.mark.parametrize(
    ("settings", "sampling"),
    [
        ({}, Sampling(temperature=0.0)),
        ({"temperature": None}, Sampling(temperature=0.0)),
        ({"do_sample": False, "repetition_penalty": 1.2}, Sampling(temperature=0.0, repetition_penalty=1.2)),
        ({"do_sample": True}, Sampling(temperature=1.0)),
        ({"do_sample": True, "temperature": None, "top_k": None}, Sampling(temperature=1.0)),
        ({"do_sample": True, "temperature": 0.5, "top_p": 0.9}, Sampling(temperature=0.5, top_p=0.9)),
        ({"temperature": 0.7, "top_k": 5}, Sampling(temperature=0.7, top_k=5)),
    ],
)
def test_generation_settings_mean_what_they_mean_to_transformers(folder, settings, sampling):
    (one,) = instances("generate_until", [("Hi", {"until": []} | settings)])
    request, _ = ours(folder)._request(0, one, [5, 6])
    assert request.sampling == sampling


def test_a_stop_text_that_is_a_special_token_ends_an_answer(folder):
    """It is no part of the decoded text, so that a look at the text alone would pass it over."""
    text = TextEncoder(folder)
    turn_end = chat_templates.turn_end(text._tokenizer)
    token = text._tokenizer.convert_ids_to_tokens(turn_end)
    said = text.encode_inside(" = 7")
    ids = [*said, turn_end, *said]
    ends = Ends.of([token, "\n"], text)
    assert token not in text.decode(ids) and ends(ids, 0) == len(said) + 1
    assert ends(ids, len(said) + 1) is None, "asked about before"
    assert Ends.of(["= 7", token], text)(ids, 0) == len(said), "whichever comes first"
    assert Ends.of([], text) is None


def test_a_thought_says_what_it_likes(folder):
    text = TextEncoder(folder)
    thought, answer = "<think>\nA. Or B.\n\n</think>\n\n", "B. Or C."
    ids = text.encode_inside(thought + answer)
    behind = len(text.encode_inside(thought))
    ends = Ends.of([".", "\n\n"], text)
    assert ends(ids[:behind], 0) is None, "stop texts of the thought and behind it"
    end = ends(ids, 0)
    assert text.decode(ids[:end]).endswith("</think>\n\nB.")
    inside = text.encode_inside("A. Or B.\n\n</think>\n\n" + answer)
    assert text.decode(inside[: Ends.of(["."], text)(inside, 0)]) == "A."
    assert text.decode(inside[: Ends.of(["."], text, begun=True)(inside, 0)]).endswith("</think>\n\nB.")


def test_only_what_stands_behind_a_thought_is_an_answer(folder, monkeypatch):
    model = ours(folder)
    said = ["<think>\nA.\n</think>\n\nB. C", "A.\n</think>\n\nB. C", "<think>\nA. B", "B. C"]
    questions = ["Q", "Q<think>\n", "Q", "Q <think>A.</think>"]

    class Engine:
        def generate(self, params, asked, on_progress):
            sampled = [model._text.encode_inside(one) for one in said]
            cut = [ids[: one.over(ids, 0)] for one, ids in zip(asked, sampled, strict=True)]
            return [types.SimpleNamespace(response_ids=ids, ended=True) for ids in cut]

    monkeypatch.setattr(language_model, "engine_of", lambda *_: Engine())
    asked = instances("generate_until", [(question, {"until": ["."], "max_gen_toks": 64}) for question in questions])
    assert model.generate_until(asked) == ["B", "B", "", "B"]
    assert model.counts["unfinished_thoughts"] == 1
