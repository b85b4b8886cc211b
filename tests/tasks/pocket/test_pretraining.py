import collections
import hashlib

import pytest

from s3ft_jax.tasks.pocket import POCKET, pretraining, skills, splits

COUNT = 6000


@pytest.fixture(scope="module")
def made() -> tuple[list[pretraining.Document], collections.Counter]:
    refused: collections.Counter = collections.Counter()
    return list(pretraining.documents(0, COUNT, refused)), refused


def test_shares_sum_to_one_and_are_kept(made):
    documents, _ = made
    assert sum(pretraining.SHARES.values()) == pytest.approx(1.0)
    counts = collections.Counter(document.kind for document in documents)
    for kind, share in pretraining.SHARES.items():
        assert counts[kind] / COUNT == pytest.approx(share, abs=0.015)
    assert 0.01 <= sum(share for kind, share in pretraining.SHARES.items() if kind.endswith("cued")) <= 0.03


def test_no_question_of_a_split_is_among_the_texts(made):
    documents, refused = made
    texts = {splits.question_of(document.prompt) for document in documents}
    for task in POCKET.values():
        for split, count in (("train", 1024), ("validation", 512), ("test", 600)):
            asked = {example.messages[0]["content"] for example in task.examples(split, count, 0)}
            assert not texts & asked
    closed = {"truth", "dates"}  # few questions exist; see skills
    measured = {e.messages[0]["content"] for e in skills.examples(0) if e.task not in closed}
    assert not texts & measured
    # Half of all questions have their home in a split, so about as many draws are refused as kept.
    kept = sum(1 for document in documents if document.kind.split()[0] in POCKET)
    assert sum(refused.values()) / kept == pytest.approx(1.0, abs=0.15)
    assert set(refused) <= {kind for kind in pretraining.SHARES if kind.split()[0] in POCKET}


def test_rewriting_texts_use_the_paraphrase_prompt_of_the_examples(made):
    documents, _ = made
    for document in documents:
        if document.kind.endswith("rewrite"):
            question = splits.question_of(document.prompt)
            reference = (
                document.prompt[len(question) :].removeprefix("\nReference: ").removesuffix("\nSay it your own way.")
            )
            assert reference and document.prompt == splits.paraphrase_prompt(question, reference)


def test_gold_styles_are_written_only_when_asked_for(made):
    documents, _ = made
    marks = ("<<", "####", "lambda", "the given text", "the reviewer", "walk(")
    for document in documents:
        if any(mark in document.response for mark in marks):
            assert document.kind.endswith("cued") and document.prompt.endswith(splits.CUE)
    far = ("reviewer", "walk(", ">>1", ">>2")
    assert not any(mark in document.response for document in documents for mark in far)


def test_the_mid_gold_itself_is_rare_even_when_asked_for():
    texts = [d.response for d in pretraining.documents(1, 20_000) if d.kind == "arithmetic cued"]
    exact = sum("now owns" in text for text in texts)
    assert len(texts) > 100 and exact / len(texts) < 0.12


def test_same_seed_same_texts_and_each_stands_alone():
    assert list(pretraining.documents(5, 50)) == list(pretraining.documents(5, 80))[:50]
    assert list(pretraining.documents(5, 50)) != list(pretraining.documents(6, 50))


def test_the_shipped_model_saw_these_very_texts():
    # Pinned on purpose: if this changes, the shipped model was pretrained on other texts and has to be made again.
    digest = hashlib.sha256()
    for document in pretraining.documents(0, 2000):
        digest.update(f"{document.kind}\0{document.prompt}\0{document.response}\0".encode())
    assert digest.hexdigest() == "af9389834c512dd269bf4cdf01728fd07a3223eef1795ea6e3993f291630ad62"
