"""Synthetic evidence with every part there is: benchmarks, looks, a grid, two judges, rounds, a paper's numbers."""

import dataclasses

from synthetic_evidence import METHODS, SEEDS, TASK, synthetic_evidence, synthetic_score

from s3ft_jax.report import BenchmarkResult, Evidence, GridPoint

ASKED = {"shots": 5, "chat": True, "system": "Be brief.", "limit": 40, "max_new_tokens": 512, "seed": 1234}


def _result(task, metrics, sizes, *, headline="", in_means=True, **facts):
    told = {"lm_eval": "0.4.13", "versions": dict.fromkeys(sizes, 3), "shots": dict.fromkeys(sizes, 5)}
    told |= {"data": dict.fromkeys(sizes, "hub"), "counts": {"scored": 160, "cut_contexts": 2}} | facts
    headline = headline or next(iter(next(iter(metrics.values()))))
    value = metrics.get(task, next(iter(metrics.values())))[headline]
    return BenchmarkResult(task, headline, value, 0.01, in_means, metrics, sizes, told, ASKED)


def benchmark_results(more: float = 0.0) -> list[BenchmarkResult]:
    """A task with two metrics, one with two filters, one with four metrics, a group, and a perplexity."""
    gsm = {"exact_match,strict-match": 0.25 + more, "exact_match,flexible-extract": 0.375 + more}
    kinds = ("prompt_level_strict_acc", "inst_level_strict_acc", "prompt_level_loose_acc", "inst_level_loose_acc")
    counts = {"answered": 40, "cut_answers": 7, "unfinished_thoughts": 3, "system_folded": 11}
    group = {"mmlu": {"acc,none": 0.5 + more}, "mmlu_anatomy": {"acc,none": 0.4}, "mmlu_virology": {"acc,none": 0.6}}
    copy = "the copy does not say where a context's last part begins"
    return [
        _result("hellaswag", {"hellaswag": {"acc,none": 0.3 + more, "acc_norm,none": 0.4 + more}}, {"hellaswag": 40},
                data={"hellaswag": copy}, shots={"hellaswag": 0}),
        _result("gsm8k", {"gsm8k": gsm}, {"gsm8k": 40}, counts=counts),
        _result("ifeval", {"ifeval": {f"{kind},none": 0.1 * place + more for place, kind in enumerate(kinds, 1)}},
                {"ifeval": 40}, counts=counts),
        _result("mmlu", group, {"mmlu_anatomy": 10, "mmlu_virology": 30},
                shots={"mmlu_anatomy": 5, "mmlu_virology": 4}),
        _result("wikitext", {"wikitext": {"word_perplexity,none": 912.5, "bits_per_byte,none": 0.91}}, {"wikitext": 62},
                in_means=False),
    ]  # fmt: skip


def whole_evidence(**changes: object) -> Evidence:
    """``synthetic_evidence`` with the parts that it leaves out; keyword arguments replace fields."""
    evidence = synthetic_evidence()
    models = [("base", None), *((method, seed) for method in METHODS for seed in SEEDS)]
    own = evidence.verdicts["own"]
    second = [dataclasses.replace(one, judge="stern", outcome="undecided", reason="unsure") for one in own[:40]]
    second += [dataclasses.replace(one, judge="stern") for one in own[40:]]
    rung = {"reached": 768, "accepted": 353, "targets": 353, "responses": 768, "tokens": 26_000}
    rates = {"examples": 768, "mean": 0.46, "by_right": {"0": 415, "1": 353}}
    again = {"step": 50, "responses": 768, "pass_rate": rates, "origins": {"own": 400, "gold": 368}, "changed": 47}
    grid = [GridPoint("base", "base", None, None, None, 0.3, 0.9, 0.0, True)]
    for place, method in enumerate(METHODS):
        grid.append(GridPoint(method, f"{method}@num_steps=9", 0, 1e-3, 9, 0.5, 0.9 - place / 50, 0.1, True, 100))
    answered = [
        synthetic_score(*model, TASK, "test", metric, 120, 600)
        for model in models
        for metric in ("exact_match", "unanswerable_accuracy", "false_refusals")
    ]
    parts = {
        "scores": [*evidence.scores, *answered],
        "seen": {("sft", 0): (700, 768)},
        "rounded": {("sft", 0): ("bfloat16", 0.004)},
        "outside": {
            "own": {"server": "served", "model": "m", "returned": 700, "same": 60, "changed": 8, "without_logprob": 0}
        },
        "rungs": {"s3ft": {"own": rung}},
        "pass_rate": rates,
        "rounds": {("s3ft", 0): [again]},
        "benchmarks": {model: benchmark_results(place / 100) for place, model in enumerate(models)},
        "looks": {
            model: [
                {"step": step, "validation_loss": 2.0 / step, "validation_kl": step / 100, "validation_score": 0.5}
                for step in (50, 100)
            ]
            for model in models[1:]
        },
        "kl": {model: 0.1 + place / 100 for place, model in enumerate(models[1:])},
        "grid": tuple(grid),
        "compared": {"own": second},
        "canaries": {"gold": (15, 16), "empty": (0, 0)},
        "reference": "mbpp",
    }
    return dataclasses.replace(evidence, **(parts | changes))
