"""The model card is a pure function of plain inputs."""

import pytest

from s3ft_jax.model_card import model_card
from s3ft_jax.records import Score


def score(method, seed, task, value, split="test"):
    return Score(method, seed, task, split, "accuracy", value, 400, 0.02)


INPUTS = {
    "name": "my-model",
    "base": "owner/base",
    "method": "s3ft",
    "prefer": ("own", "paraphrase", "gold"),
    "task": "programs",
    "origin_counts": {"own": 60, "paraphrase": 30, "gold": 10},
    "scores": (
        score("base", None, "programs", 0.40),
        score("s3ft", 1, "programs", 0.75),
        score("s3ft", 2, "programs", 0.99),
        score("sft", 1, "programs", 0.70),
        score("base", None, "rhymes", 0.90, "general"),
        score("s3ft", 1, "rhymes", 0.88, "general"),
    ),
    "settings": {"train.learning_rate": 1e-4, "train.note": "a|b"},
    "seed": 1,
}


def test_the_whole_card():
    lines = model_card(**INPUTS).splitlines()
    assert lines[:8] == [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "license: other",
        "base_model: owner/base",
        "tags:",
        "- s3ft_jax",
        "- s3ft",
    ]
    assert "A training target is the first of these that exists: own, paraphrase, gold." in lines
    assert "| own | the model's own answer, accepted by the judge | 60 | 60.0 % |" in lines
    assert "| gold | the data set's gold answer | 10 | 10.0 % |" in lines
    assert "| programs | test | accuracy | 40.0 ± 2.0 | 75.0 ± 2.0 | +35.0 | 400 |" in lines
    assert "| rhymes | general | accuracy | 90.0 ± 2.0 | 88.0 ± 2.0 | -2.0 | 400 |" in lines
    assert "| `train.learning_rate` | `0.0001` |" in lines
    assert '| `train.note` | `"a\\|b"` |' in lines
    text = "\n".join(lines)
    assert "99.0" not in text, "another seed's score"
    assert "70.0" not in text, "another method's score"
    assert "arXiv:2502.08130" in text
    assert "arXiv:2409.04787" in text


def test_repair_and_replay_are_named_where_targets_come_from_them():
    assert "repair" not in model_card(**INPUTS) and "| replay |" not in model_card(**INPUTS)
    card = model_card(**{**INPUTS, "origin_counts": {"own": 6, "repair": 3, "replay": 1}})
    assert "| repair | the model's continuation of a beginning of gold, or its mended wrong answer, accepted" in card
    assert "| replay | a row of general data, mixed in | 1 | 10.0 % |" in card


def test_a_local_base_is_not_named_as_a_hub_model():
    assert "base_model" not in model_card(**{**INPUTS, "base": "./models/base"})


def test_an_adapters_card_names_its_library_and_how_to_load_it():
    lines = model_card(**INPUTS, library="peft", notes=("Load it so.", "Trained on int8.")).splitlines()
    assert lines[1] == "library_name: peft"
    assert lines.index("Load it so.") < lines.index("Trained on int8.") < lines.index("## Scores before and after")


def test_without_scores_or_counts_it_says_so():
    text = model_card(**{**INPUTS, "scores": (), "settings": {}, "origin_counts": {}})
    assert "This model was not evaluated." in text
    assert "None were recorded." in text
    assert "| own | the model's own answer, accepted by the judge | 0 | - |" in text


def test_an_unknown_origin_is_refused():
    with pytest.raises(ValueError, match=r"origins \['teacher'\] do not exist"):
        model_card(**{**INPUTS, "origin_counts": {"teacher": 3}})
