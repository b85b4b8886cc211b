"""The section of benchmarks: every metric and filter, how each was asked, what was cut; in all four outputs."""

import csv
import dataclasses
import io

import pytest
from synthetic_evidence import METHODS, SEEDS, synthetic_contents
from whole_evidence import benchmark_results, whole_evidence

from s3ft_jax.report import build_contents
from s3ft_jax.report.benchmarks import NO_SHARE, benchmark_tables, benchmark_values
from s3ft_jax.report.evidence import EvidenceError
from s3ft_jax.report.markdown import build_markdown
from s3ft_jax.report.page import build_page
from s3ft_jax.report.spreadsheets import build_spreadsheets


@pytest.fixture(scope="module")
def evidence():
    return whole_evidence()


@pytest.fixture(scope="module")
def contents(evidence):
    return build_contents(evidence)


def texts(table, column=0):
    return [[cell.text for cell in row[column:]] for row in table.rows]


def test_every_metric_and_filter_of_every_model_has_a_cell(evidence):
    found = dict(benchmark_tables(evidence))
    assert list(found) == ["", "Part by part", "How they were asked", "What was cut"]
    assert [(row[0], row[1], row[2], row[3]) for row in texts(found[""])] == [
        ("hellaswag", "acc", "none", "40"),
        ("hellaswag", "acc_norm", "none", "40"),
        ("gsm8k", "exact_match", "strict-match", "40"),
        ("gsm8k", "exact_match", "flexible-extract", "40"),
        ("ifeval", "prompt_level_strict_acc", "none", "40"),
        ("ifeval", "inst_level_strict_acc", "none", "40"),
        ("ifeval", "prompt_level_loose_acc", "none", "40"),
        ("ifeval", "inst_level_loose_acc", "none", "40"),
        ("mmlu", "acc", "none", "40"),
        ("wikitext", "word_perplexity", "none", "62"),
        ("wikitext", "bits_per_byte", "none", "62"),
    ]
    sft = found[""].rows[0][5]  # seeds have 0.31, 0.32, 0.33
    assert found[""].columns[4:6] == ("Base", "SFT") and (sft.text, sft.detail) == ("0.3200", "s.d. 0.0100")
    assert [row[1].detail for row in found[""].rows if row[1].detail] == ["(headline)"] * 4 + [
        f"(headline, {NO_SHARE})"
    ]
    assert texts(found["Part by part"])[0][:5] == ["mmlu_anatomy", "acc", "none", "10", "0.4000"]


def test_how_each_was_asked_and_what_was_cut(evidence):
    found = dict(benchmark_tables(evidence))
    rows = {row[0]: row[1:] for row in texts(found["How they were asked"])}
    prompt = "chat template, shots as turns; system text 'Be brief.'; the first 40 items of each task"
    copy = "the copy does not say where a context's last part begins"
    assert rows["hellaswag"] == ["40", "0 (asked for: 5)", prompt, f"local copy: {copy}", "3", "0.4.13"]
    assert rows["gsm8k"][1:4] == ["5", f"{prompt}; at most 512 new tokens where it sets no limit", "hub"]
    assert rows["mmlu"][1] == "5 (mmlu_anatomy); 4 (mmlu_virology) (asked for: 5)"
    cut = found["What was cut"]
    assert cut.columns[2:] == (
        "texts scored", "answers sampled", "contexts cut", "answers cut", "unfinished thoughts", "system turns folded"
    )  # fmt: skip
    rows = {(row[0], row[1]): row[2:] for row in texts(cut)}
    assert rows["gsm8k", "Base"] == ["\u2013", "40", "\u2013", "7", "3", "11"]
    assert rows["hellaswag", "SFT"] == ["480", "\u2013", "6", "\u2013", "\u2013", "\u2013"], "sums over three seeds"


def test_models_that_were_asked_otherwise_are_seen(evidence):
    results = benchmark_results()
    newer = dataclasses.replace(results[0], facts=results[0].facts | {"lm_eval": "0.5"})
    other = dataclasses.replace(evidence, benchmarks={**evidence.benchmarks, ("sft", 0): [newer, *results[1:]]})
    rows = texts(dict(benchmark_tables(other))["How they were asked"])
    assert rows[0][-1] == "0.4.13 / 0.5" and rows[1][-1] == "0.4.13"
    told = benchmark_values(other)[0]["asked"]
    assert [one["lm_eval"] for one in told] == ["0.4.13", "0.5"] and told[1]["models"] == [["sft", 0]]


def test_a_name_of_several_tasks_without_a_metric_of_its_own_gets_its_mean():
    group = benchmark_results()[3]
    tag = dataclasses.replace(group, metrics={k: v for k, v in group.metrics.items() if k != "mmlu"}, value=0.55)
    found = dict(benchmark_tables(whole_evidence(benchmarks={("base", None): [tag]})))
    assert texts(found[""])[0][:5] == ["mmlu", "acc", "none", "40", "0.5500"]
    assert len(found["Part by part"].rows) == 2


def test_json_holds_all_of_it_and_tells_what_is_the_same_once(contents):
    tasks = {one["task"]: one for one in contents.document["benchmarks"]}
    assert list(tasks) == ["hellaswag", "gsm8k", "ifeval", "mmlu", "wikitext"]
    assert not tasks["wikitext"]["in_means"] and tasks["gsm8k"]["in_means"]
    (asked,) = tasks["mmlu"]["asked"]
    assert asked["items"] == {"mmlu_anatomy": 10, "mmlu_virology": 30} and asked["settings"]["chat"] is True
    assert len(asked["models"]) == len(tasks["mmlu"]["models"]) == 1 + len(METHODS) * len(SEEDS)
    base = tasks["gsm8k"]["models"][0]
    assert base["metrics"]["gsm8k"]["exact_match,flexible-extract"] == 0.375 and base["counts"]["cut_answers"] == 7


def test_csv_files_hold_a_line_for_every_value(contents):
    sheets = {n: list(csv.DictReader(io.StringIO(text))) for n, text in build_spreadsheets(contents).items()}
    models = 1 + len(METHODS) * len(SEEDS)
    assert len(sheets["benchmarks"]) == models * 13
    one = sheets["benchmarks"][3]
    assert (one["benchmark"], one["metric"], one["filter"], one["value"]) == (
        "gsm8k", "exact_match", "flexible-extract", "0.375"
    )  # fmt: skip
    last = sheets["benchmarks"][11]
    assert (last["metric"], last["headline"], last["in_means"], last["items"]) == (
        "word_perplexity", "True", "False", "62"
    )  # fmt: skip
    assert (
        len(sheets["benchmarks_asked"]) == models * 6 and sheets["benchmarks_asked"][0]["asked_system"] == "Be brief."
    )
    assert {"benchmark": "gsm8k", "what": "cut_answers", "count": "7"}.items() <= sheets["benchmarks_cut"][3].items()


def test_page_and_markdown_have_the_section_only_where_benchmarks_were_run(contents):
    for text in (build_page(contents), build_markdown(contents)):
        for told in ("flexible-extract", "inst_level_loose_acc", "word_perplexity", NO_SHARE, "unfinished thoughts"):
            assert told in text
    assert "Benchmarks" not in build_markdown(synthetic_contents())
    assert 'id="benchmarks"' not in build_page(synthetic_contents())


def test_benchmarks_of_an_unknown_model_are_refused():
    with pytest.raises(EvidenceError, match=r"benchmarks names model \('rft', 0\)"):
        build_contents(whole_evidence(benchmarks={("rft", 0): []}))
