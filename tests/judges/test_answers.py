"""Truth table of the answers judge, and its figures against rules written down by hand."""

from __future__ import annotations

import pytest

from s3ft_jax.judges import answers
from s3ft_jax.records import Example, Response


def make(check, text):
    example = Example("t/test/0", "t", "test", (), "", "answers", check)
    return example, Response("t/test/0", "own", 0, text, (), (), True, 0.0)


OSLO = {"answers": ["Oslo"]}
INSIDE = {"answers": ["Oslo"], "contains": True, "distractors": ["Bergen", "Paris"]}
NONE = {"answers": [], "unanswerable": True, "contains": True, "distractors": ["Oslo"]}
NONE_STRICT = {"unanswerable": True}
TABLE = [
    (OSLO, "Oslo", "right", "exact", "equal"),
    (OSLO, "oslo.", "right", "exact", "case and punctuation"),
    (OSLO, "The Oslo", "right", "exact", "article"),
    (OSLO, "  OSLO \n", "right", "exact", "white space"),
    (OSLO, "in Oslo", "right", "f1", "a differing boundary: F1 0.67"),
    (OSLO, "city of Oslo", "wrong", "wrong", "F1 0.5"),
    (OSLO, "Bergen", "wrong", "wrong", "another"),
    (OSLO, "", "wrong", "empty", "nothing"),
    (OSLO, "...", "wrong", "empty", "nothing after normalisation"),
    (OSLO, "the", "wrong", "empty", "an article is nothing"),
    (OSLO, "Unanswerable", "wrong", "refused", "refusal of an answerable question"),
    (OSLO, "I don't know", "wrong", "refused", "refusal of an answerable question"),
    ({"answers": ["Oslo", "Christiania"]}, "Christiania", "right", "exact", "second gold"),
    ({"answers": ["9 April 1940"]}, "April 9 1940", "right", "f1", "order does not count in F1"),
    ({"answers": ["9 April 1940"]}, "April 1940", "right", "f1", "F1 0.8"),
    ({"answers": ["9 April 1940"], "min_f1": 0.9}, "April 1940", "wrong", "wrong", "threshold of the check"),
    ({"answers": ["a b c"], "min_f1": 1.0}, "c b a b", "wrong", "wrong", "repetition counts"),
    ({"answers": ["unknown"]}, "unknown", "right", "exact", "gold sounds like a refusal"),
    (INSIDE, "Oslo", "right", "contains", "bare answer"),
    (INSIDE, "Tom lives in Oslo.", "right", "contains", "sentence"),
    (INSIDE, "From the given text one may conclude that Oslo would be correct", "right", "contains", "far style"),
    (INSIDE, "Tom lives in Bergen.", "wrong", "wrong", "the other"),
    (INSIDE, "Oslo or Bergen", "wrong", "distractor", "both"),
    (INSIDE, "Tom lives in Oslos.", "wrong", "wrong", "whole tokens only"),
    (INSIDE, "It is unanswerable.", "wrong", "refused", "refusal"),
    (INSIDE, "It is not in the text, but maybe Oslo", "wrong", "refused", "refusal and answer"),
    (INSIDE, "OSLO!", "right", "contains", "normalised"),
    ({"answers": ["New York"], "contains": True, "distractors": ["York"]}, "in New York", "right", "contains",
     "a distractor inside the answer does not count"),
    ({"answers": ["New York"], "contains": True, "distractors": ["York"]}, "New York or York", "wrong", "distractor",
     "once more outside it does"),
    ({"answers": ["New York"], "contains": True}, "York, New", "wrong", "wrong", "one after the other"),
    ({"answers": ["New York"], "contains": True}, "New\nYork", "right", "contains", "across a line break"),
    (NONE, "Unanswerable.", "right", "refused", "short refusal"),
    (NONE, "unanswerable", "right", "refused", "lower case"),
    (NONE, "From the given text one may conclude that it is unanswerable", "right", "refused", "far style"),
    (NONE, "The question cannot be answered from the text.", "right", "refused", "passive"),
    (NONE, "This can't be answered.", "right", "refused", "contraction"),
    (NONE, "No answer.", "right", "refused", "short"),
    (NONE, "There is no answer in the passage.", "right", "refused", "existential"),
    (NONE, "The passage does not say where Tom lives.", "right", "refused", "the text is silent"),
    (NONE, "The text doesn't mention it.", "right", "refused", "the text is silent"),
    (NONE, "It is not mentioned.", "right", "refused", "participle"),
    (NONE, "That is not in the text.", "right", "refused", "not in the text"),
    (NONE, "It is not stated in the given passage", "right", "refused", "not stated"),
    (NONE, "There is not enough information to tell.", "right", "refused", "information"),
    (NONE, "Insufficient information", "right", "refused", "information"),
    (NONE, "We do not know.", "right", "refused", "knowledge"),
    (NONE, "I cannot determine this.", "right", "refused", "active"),
    (NONE, "Unknown", "right", "refused", "one word"),
    (NONE, "N/A", "right", "refused", "abbreviation"),
    (NONE, "Oslo.", "wrong", "answered", "an answer where there is none"),
    (NONE, "Tom lives in Oslo.", "wrong", "answered", "an answer where there is none"),
    (NONE, "Unanswerable, but maybe Oslo", "wrong", "distractor", "refuses and answers"),
    (NONE, "", "wrong", "empty", "silence is no refusal"),
    (NONE, "No, he lives in Rome", "wrong", "answered", "no is not a refusal"),
    (NONE, "He answers no one", "wrong", "answered", "words of a refusal in another order"),
    (NONE_STRICT, "cannot be determined", "right", "refused", "without contains"),
    (NONE_STRICT, "Paris", "wrong", "answered", "without contains"),
    ({}, "Oslo", "undecided", "bad_check", "no gold"),
    ({"answers": []}, "Oslo", "undecided", "bad_check", "no gold"),
    ({"answers": ["the"]}, "Oslo", "wrong", "wrong", "gold is empty after normalisation"),
    ({"answers": "Oslo"}, "Oslo", "undecided", "bad_check", "a text is not a list"),
    ({"answers": [1]}, "1", "undecided", "bad_check", "not texts"),
    ({"answer": ["Oslo"]}, "Oslo", "undecided", "bad_check", "unknown key"),
    ({"answers": ["Oslo"], "min_f1": 0}, "Oslo", "undecided", "bad_check", "everything would be right"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "text", "outcome", "kind", "why"), TABLE, ids=[row[1][:40] or "empty" for row in TABLE]
)
def test_truth_table(check, text, outcome, kind, why):
    verdict = answers.judge(*make(check, text))
    assert (verdict.outcome, verdict.reason.split(":")[0]) == (outcome, kind), (why, verdict)


@pytest.mark.parametrize(
    ("text", "normal"),
    [("The  Cat, a dog!", "cat dog"), ("An apple-pie", "applepie"), ("theatre", "theatre"), ("A.", ""), ("U.S.", "us")],
)
def test_normalisation(text, normal):
    assert answers.normalise(text) == normal


@pytest.mark.parametrize(
    ("response", "golds", "f1", "recall"),
    [
        ("a b c", ["b c d"], 2 * 2 / (2 + 3), 2 / 3),  # "a" is an article and goes
        ("x x", ["x"], 2 / 3, 1.0),
        ("x", ["x x"], 2 / 3, 0.5),
        ("x", ["y", "x"], 1.0, 1.0),
        ("x", ["y"], 0.0, 0.0),
        ("", ["y"], 0.0, 0.0),
        ("", [], 1.0, 1.0),
        ("x", [], 0.0, 0.0),
    ],
)
def test_f1_and_recall(response, golds, f1, recall):
    assert answers.token_f1(response, golds) == pytest.approx(f1)
    assert answers.token_recall(response, golds) == pytest.approx(recall)


def test_squad_gold_is_right_and_gold_of_another_question_is_not(data_dir):
    import json

    path = data_dir / "datasets" / "squad" / "squad2.0_dev_half_16articles.json"
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    questions = [q for article in articles for part in article["paragraphs"] for q in part["qas"]][:3000]
    golds = [[answer["text"] for answer in q["answers"]] for q in questions if not q["is_impossible"]]
    refused = 0
    assert len(golds) > 1000
    for gold in golds:
        for text in filter(answers.normalise, gold):  # one gold of the data set is a lone full stop
            verdict = answers.judge(*make({"answers": gold}, text))
            assert verdict.outcome == "right", (gold, verdict)
            refused += answers.judge(*make({"unanswerable": True}, text)).outcome == "right"
    assert refused / len(golds) < 0.005  # real answers hardly ever sound like a refusal ("None" does)
    crossed = [
        answers.judge(*make({"answers": gold}, other[0])).outcome
        for gold, other in zip(golds, golds[500:], strict=False)
    ]
    assert crossed.count("right") / len(crossed) < 0.01


@pytest.mark.parametrize("name", ["squad1.1_train_subset_44articles.json", "squad2.0_dev_half_16articles.json"])
def test_exact_match_and_f1_are_those_of_the_official_evaluation(name, data_dir):
    """Every question, six kinds of prediction, against transformers' copy of the official script of SQuAD 2.0."""
    import json

    from transformers.data.metrics import squad_metrics

    articles = json.loads((data_dir / "datasets" / "squad" / name).read_text(encoding="utf-8"))["data"]
    parts = [part for article in articles for part in article["paragraphs"]]
    questions = [(q, part["context"]) for part in parts for q in part["qas"]]
    assert len(questions) > 6000
    sums, official = [0.0, 0.0], [0.0, 0.0]
    other = "nothing"
    for place, (question, context) in enumerate(questions):
        # as the official script does: golds that normalise to nothing are left out, an unanswerable one has none
        golds = [gold["text"] for gold in question["answers"] if squad_metrics.normalize_answer(gold["text"])]
        gold = golds[-1] if golds else ""
        kinds = (gold, f"The {gold}!", gold[: len(gold) // 2], " ".join(context.split()[:6]), other, "")
        predicted = kinds[place % len(kinds)]
        other = gold or other
        exact, f1 = answers.exact_match(predicted, golds), answers.token_f1(predicted, golds)
        wanted = [
            max(score(one, predicted) for one in golds or [""])
            for score in (squad_metrics.compute_exact, squad_metrics.compute_f1)
        ]
        assert [exact, f1] == [wanted[0], pytest.approx(wanted[1], abs=1e-12)], (golds, predicted)
        sums, official = [sums[0] + exact, sums[1] + f1], [official[0] + wanted[0], official[1] + wanted[1]]
    assert sums == pytest.approx(official) and 0.2 < sums[0] / len(questions) < sums[1] / len(questions) < 0.9
