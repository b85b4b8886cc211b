"""Benchmarks from local files on real and on trained weights, metrics against lm-eval's own backend."""

import collections
import dataclasses
import json
import shutil
import sys

import pytest
from lm_eval.tasks import TaskManager

from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.harness.language_model import LanguageModel
from s3ft_jax.harness.run import Harness, sample_lines
from s3ft_jax.harness.settings import HarnessError, HarnessSettings
from s3ft_jax.stages.launch import load_texts, pocket_model_folder

TASKS = (
    "hellaswag", "winogrande", "truthfulqa_mc1", "truthfulqa_mc2", "arc_easy", "arc_challenge", "mmlu_virology",
    "gsm8k",
)  # fmt: skip
SYSTEM = "{%- elif message['role'] == 'system' -%}{{- message['content'] + ' ' -}}"
"""For a chat template: a system turn goes before the first question."""
ENGINE = EngineSettings(num_slots=8)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("benchmarks")


@pytest.fixture(scope="module")
def settings(data_dir):
    return HarnessSettings(tasks=TASKS, data=str(data_dir / "datasets"), limit=12)


def backend(folder):
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=8)
    model.counts = collections.Counter()
    return model


@pytest.mark.parametrize("name", ["pocket", "babyllama"])
def test_every_metric_is_that_of_the_hugging_face_backend(name, settings, cache, request):
    folder = pocket_model_folder() if name == "pocket" else request.getfixturevalue("babyllama105_folder")
    harness = Harness(settings, cache)
    mine = LanguageModel(*load_texts(str(folder), ENGINE), ENGINE, max_new_tokens=256)
    theirs = backend(folder)
    tasks = TASKS if name == "pocket" else ("hellaswag", "winogrande", "truthfulqa_mc2")
    for task in tasks:
        one, other = harness.run(task, mine), harness.run(task, theirs)
        assert one.metrics[task] == pytest.approx(other.metrics[task], abs=1e-4), task
        assert one.items == pytest.approx(other.items, abs=1e-4), task
        assert one.headline == other.headline and len(one.items) == 12
    assert name != "pocket" or said(one) == said(other), "gsm8k's answers, word for word"
    assert one.value == pytest.approx(sum(one.items.values()) / 12)


def said(outcome):
    """Each item with its prompt and answer, of a task that has answers."""
    (rows,) = outcome.samples.values()
    return [(row["doc_id"], row["arguments"][0][0], row["resps"][0]) for row in rows]


def with_few_tokens(folder, task, number):
    """Short answers: the task's own limit takes minutes."""
    with (folder / f"{task}.yaml").open("a") as file:
        file.write(f"generation_kwargs: {{until: ['Question:'], do_sample: false, max_gen_toks: {number}}}\n")


def test_answers_of_another_model_are_those_of_the_hugging_face_backend(settings, babyllama105_folder, tmp_path):
    """Questions longer than the model reads, so that their beginnings are cut; an answer word for word."""
    harness = Harness(dataclasses.replace(settings, tasks=("gsm8k",), limit=4, shots=1), tmp_path)
    with_few_tokens(tmp_path, "gsm8k", 24)
    folder = str(babyllama105_folder)
    mine = harness.run("gsm8k", LanguageModel(*load_texts(folder, ENGINE), ENGINE))
    theirs = harness.run("gsm8k", backend(folder))
    assert said(mine) == said(theirs) and len({answer[0] for _, _, answer in said(mine)}) > 1
    assert mine.metrics == theirs.metrics and mine.items == theirs.items
    assert mine.facts["counts"]["cut_contexts"] == 4


def test_chat_with_shots_as_turns_and_a_system_text_is_that_of_the_hugging_face_backend(settings, tmp_path):
    folder = tmp_path / "pocket"
    shutil.copytree(pocket_model_folder(), folder)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer["chat_template"] = tokenizer["chat_template"].replace("{%- else -%}", SYSTEM + "{%- else -%}", 1)
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    asked = dataclasses.replace(settings, limit=4, shots=2, chat=True, system="Be brief.")
    harness = Harness(dataclasses.replace(asked, tasks=("mmlu_virology", "gsm8k")), tmp_path / "rows")
    with_few_tokens(tmp_path / "rows", "gsm8k", 24)
    model, reference = LanguageModel(*load_texts(str(folder), ENGINE), ENGINE), backend(folder)
    for task in ("mmlu_virology", "gsm8k"):
        mine, theirs = harness.run(task, model), harness.run(task, reference)
        (row, *_), (other, *_) = mine.samples[task], theirs.samples[task]
        prompt = row["arguments"][0][0]
        assert prompt == other["arguments"][0][0] and prompt.startswith("Be brief.") and prompt.count("<u>") == 3
        assert mine.metrics[task] == pytest.approx(theirs.metrics[task], abs=1e-4), task
        assert mine.items == pytest.approx(theirs.items, abs=1e-4), task
    assert said(mine) == said(theirs) and not model.counts["system_folded"]


@pytest.fixture
def sentence_ends(tmp_path, monkeypatch):
    """A folder for nltk, which would fetch its list of sentence ends; ``fill`` makes one that knows no abbreviation."""
    import nltk

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    monkeypatch.setattr(nltk, "download", lambda *_, **__: False)
    for name in [name for name in sys.modules if name.startswith("lm_eval.tasks.ifeval")]:
        monkeypatch.delitem(sys.modules, name)  # it looks for them once

    def fill():
        where = tmp_path / "tokenizers/punkt_tab/english"
        where.mkdir(parents=True)
        for name in ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab"):
            (where / name).touch()

    return fill


def with_positions(folder, number, where):
    """A copy of the model that reads so many tokens."""
    shutil.copytree(folder, where)
    config = json.loads((where / "config.json").read_text())
    (where / "config.json").write_text(json.dumps(config | {"max_position_embeddings": number}))
    return where


def test_ifeval_is_that_of_the_hugging_face_backend(settings, stories260k_folder, sentence_ends, tmp_path):
    sentence_ends()
    folder = with_positions(stories260k_folder, 1024, tmp_path / "stories")
    harness = Harness(dataclasses.replace(settings, tasks=("ifeval",), limit=24), tmp_path / "rows")
    with (tmp_path / "rows" / "ifeval.yaml").open("a") as file:  # the task's own 1,280 take a minute
        file.write("generation_kwargs: {until: [], do_sample: false, max_gen_toks: 96}\n")
    mine = harness.run("ifeval", LanguageModel(*load_texts(str(folder), ENGINE), ENGINE))
    theirs = harness.run("ifeval", backend(folder))
    assert mine.metrics == theirs.metrics and mine.items == theirs.items
    assert mine.headline == "prompt_level_strict_acc,none" and mine.metrics["ifeval"]["inst_level_loose_acc,none"] > 0


def test_ifeval_without_sentence_ends_says_where_to_get_them(settings, cache, sentence_ends):
    harness = Harness(dataclasses.replace(settings, tasks=("ifeval",)), cache)
    with pytest.raises(HarnessError, match=r"benchmark ifeval: .*nltk\.downloader -d FOLDER punkt_tab.*NLTK_DATA"):
        harness.run("ifeval", LanguageModel(*load_texts(str(pocket_model_folder()), ENGINE), ENGINE))


def test_a_group_is_the_mean_over_the_items_of_its_tasks(settings, cache, data_dir):
    harness = Harness(dataclasses.replace(settings, tasks=("mmlu_other",), limit=2), cache)
    outcome = harness.run("mmlu_other", LanguageModel(*load_texts(str(pocket_model_folder()), ENGINE), ENGINE))
    assert len(outcome.items) == 2 * 13 and "mmlu_virology/1" in outcome.items
    assert outcome.value == pytest.approx(sum(outcome.items.values()) / 26)
    assert outcome.facts["data"]["mmlu_virology"] == "local" and outcome.facts["items"] == 26
    lines = [json.loads(line) for line in sample_lines(outcome)]
    assert len(lines) == 26 and {"task", "doc", "resps", "acc", "prompt_hash"} <= set(lines[0])


def test_shots_chat_and_system_change_the_prompt(settings, cache):
    model = LanguageModel(*load_texts(str(pocket_model_folder()), ENGINE), ENGINE)
    few = dataclasses.replace(settings, tasks=("mmlu_virology",), limit=1, shots=2, chat=True)
    (line,) = map(json.loads, sample_lines(Harness(few, cache).run("mmlu_virology", model)))
    prompt = line["arguments"][0][0]
    assert prompt.count("<u>") == 3 and prompt.rstrip().endswith("<a>"), prompt
    plain = dataclasses.replace(few, chat=False, system="Be brief.")
    (line,) = map(json.loads, sample_lines(Harness(plain, cache).run("mmlu_virology", model)))
    prompt = line["arguments"][0][0]
    assert prompt.startswith("Be brief.") and prompt.count("Answer:") == 3


def test_an_unknown_benchmark_is_named_before_anything_runs(settings, cache):
    with pytest.raises(HarnessError, match=r"lm_eval knows no \['hellaswagg'\]"):
        Harness(dataclasses.replace(settings, tasks=("hellaswagg",)), cache)


def test_a_benchmark_that_needs_the_hub_says_so(settings, cache, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("no network")))
    harness = Harness(dataclasses.replace(settings, tasks=("boolq",)), cache)
    with pytest.raises(HarnessError, match=r"benchmark boolq: no network.*benchmark\.data"):
        harness.run("boolq", LanguageModel(*load_texts(str(pocket_model_folder()), ENGINE), ENGINE))


def test_a_tag_whose_tasks_have_different_metrics_is_refused_by_their_names(settings, tmp_path):
    """lm-eval gives no mean of them; taking one task's would drop the others' items."""
    harness = Harness(dataclasses.replace(settings, tasks=("mmlu_virology", "arc_challenge"), limit=2), tmp_path)
    for task, metric in (("mmlu_virology", "acc"), ("arc_challenge", "acc_norm")):
        with (tmp_path / f"{task}.yaml").open("a") as file:
            file.write(f"tag: [mixed]\nmetric_list: [{{metric: {metric}}}]\n")
    harness._manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    model = LanguageModel(*load_texts(str(pocket_model_folder()), ENGINE), ENGINE)
    with pytest.raises(HarnessError, match=r"benchmark mixed: .*arc_challenge: acc_norm,none.*one by one") as raised:
        harness.run("mixed", model)
    assert "mmlu_virology: acc,none" in str(raised.value)
    assert sorted(str(raised.value).rpartition(": ")[2].split(",")) == ["arc_challenge", "mmlu_virology"]
