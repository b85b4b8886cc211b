"""Scores of answers: each measure by hand on a few questions, and what counts for which."""

import json

import pytest

from s3ft_jax.evaluation.answers import answer_values, has_answers, score_answers
from s3ft_jax.judges import answers as judge
from s3ft_jax.records import Example, Response


def question(number, answers, judge_name="answers"):
    check = {"answers": answers, "unanswerable": not answers, "min_f1": 0.6}
    return Example(f"r/test/{number}", "reading", "test", (), answers[0] if answers else "no", judge_name, check)


ASKED = [
    (question(0, ["the Rhine"]), "Rhine"),  # equal after normalisation
    (question(1, ["Mount Everest in Nepal"]), "Mount Everest"),  # 2 of 4 tokens: F1 2/3, recall 1/2
    (question(2, ["1912"]), "The passage does not say."),  # declined, and should not have
    (question(3, []), "The passage does not say."),
    (question(4, []), "In 1850."),  # should have declined
]


def scores(asked):
    examples = [example for example, _ in asked]
    responses = [Response(e.id, "own", 0, text, (1,), (2,), True, -1.0) for e, text in asked]
    verdicts = [judge.judge(e, r) for e, r in zip(examples, responses, strict=True) if e.judge == "answers"]
    found = score_answers(examples, responses, verdicts, method="sft", seed=1, split="test")
    return {score.metric: score for score in found}


def test_each_measure_by_hand():
    found = scores(ASKED)
    values = {metric: (pytest.approx(score.value), score.count) for metric, score in found.items()}
    assert values == {
        "exact_match": (2 / 5, 5),
        "token_f1": ((1 + 2 / 3 + 0 + 1 + 0) / 5, 5),
        "token_recall": ((1 + 1 / 2 + 0) / 3, 3),
        "answerable_accuracy": (2 / 3, 3),
        "false_refusals": (1 / 3, 3),
        "unanswerable_accuracy": (1 / 2, 2),
        "answerability": (3 / 5, 5),
    }
    assert found["exact_match"].stderr == pytest.approx((0.4 * 0.6 / 5) ** 0.5)
    assert (found["token_f1"].method, found["token_f1"].seed, found["token_f1"].task) == ("sft", 1, "reading")


def test_an_answer_that_sounds_like_a_refusal_is_none():
    found = scores([(question(0, ["Unknown"]), "Unknown")])
    assert found["false_refusals"].value == 0.0 and found["exact_match"].value == 1.0


@pytest.mark.parametrize(
    ("gold", "text", "figures"),
    [
        (["1.5"], "15", (1.0, 1.0, 1.0)),  # SQuAD's normalisation takes every point away
        (["Gaul\u2013Frankish"], "Gaul Frankish", (0.0, 0.0, 0.0)),  # and no long dash
        (["caf\u00e9"], "cafe\u0301", (0.0, 0.0, 0.0)),  # nor one way of writing accents
        (["Normandy"], "The passage does not say when the Normans were in Normandy.", (0.0, 0.0, 0.0)),  # declined
        (["Oslo", "."], "", (0.0, 0.0, 0.0)),  # a gold that is nothing counts only alone
        (["."], "...", (1.0, 1.0, 1.0)),
        (["Unknown"], "unknown", (1.0, 1.0, 1.0)),
    ],
)
def test_figures_are_those_of_squad_and_not_of_the_judge(gold, text, figures):
    found = scores([(question(0, gold), text)])
    assert tuple(found[metric].value for metric in ("exact_match", "token_f1", "token_recall")) == figures


def test_figures_equal_the_official_script_on_what_models_say(data_dir):
    """Golds, parts of golds and other words, and refusals as the no-answer that the script takes for one."""
    from transformers.data.metrics import squad_metrics

    path = data_dir / "datasets" / "squad" / "squad2.0_dev_half_16articles.json"
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    rows = [(q, part["context"]) for one in articles for part in one["paragraphs"] for q in part["qas"]][:1500]
    asked, wanted = [], []
    for place, (row, context) in enumerate(rows):
        texts = [answer["text"] for answer in row["answers"]]
        said = (texts[0] if texts else "x", " ".join(context.split()[:6]), "The passage does not say.", "\u20131.5!")
        given = question(place, texts), said[place % len(said)]
        golds = [text for text in texts if squad_metrics.normalize_answer(text)] or [""]
        # where a gold or a passage sounds like a refusal both say so
        heard = "" if judge.is_refusal(*given) else given[1]
        measures = (squad_metrics.compute_exact, squad_metrics.compute_f1)
        wanted.append([max(measure(gold, heard) for gold in golds) for measure in measures])
        asked.append(given)
    found = scores(asked)
    for metric, values in zip(("exact_match", "token_f1"), zip(*wanted, strict=True), strict=True):
        assert found[metric].value == pytest.approx(sum(values) / len(values), abs=1e-12)


def test_other_judges_and_absent_kinds_have_no_score():
    assert scores([(question(0, ["4"], "numbers"), "4")]) == {}
    assert "unanswerable_accuracy" not in scores(ASKED[:2]) and "token_recall" not in scores(ASKED[3:])


def test_values_by_question_are_what_the_scores_are_means_of():
    examples = [example for example, _ in ASKED]
    responses = [Response(e.id, "own", 0, text, (1,), (2,), True, -1.0) for e, text in ASKED]
    verdicts = [judge.judge(e, r) for e, r in zip(examples, responses, strict=True)]
    found = answer_values(examples, responses, verdicts)
    assert found["reading", "token_f1"] == {f"r/test/{i}": pytest.approx(v) for i, v in enumerate((1, 2 / 3, 0, 1, 0))}
    assert found["reading", "false_refusals"] == {"r/test/0": 0.0, "r/test/1": 0.0, "r/test/2": 1.0}
    assert found["reading", "unanswerable_accuracy"] == {"r/test/3": 1.0, "r/test/4": 0.0}
    for metric, score in scores(ASKED).items():
        values = found["reading", metric].values()
        assert (sum(values) / len(values), len(values)) == (pytest.approx(score.value), score.count)
    assert has_answers(examples[0]) and not has_answers(question(0, ["4"], "numbers"))
    assert has_answers(question(0, ["4"], "all(length(1, 200), answers)"))
