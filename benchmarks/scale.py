"""The page of arithmetic for large models on pods, benchmarks/SCALE.md: memory, time, what bounds it, which mesh.

    python -m benchmarks.scale --compile [--only 70B] [--results scale.jsonl]
    python -m benchmarks.scale [--results scale.jsonl] > benchmarks/SCALE.md

Everything is what `s3ft plan` computes for configs/gsm8k.py with these models, so that the page and the tool cannot
differ. Needs the config.json files and GSM8K below S3FT_DATA_DIR (default ../shared/data). --compile asks the TPU
compiler about the programs of ``CHECKED``, for their slices, a minute or more each, and adds its answers to --results;
it needs libtpu. The page shows them beside the estimates.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import json
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from s3ft_jax.config import load_config
from s3ft_jax.models.weights import count_params
from s3ft_jax.planning import compiled, costs, durations, forecast
from s3ft_jax.planning.chips import GIB, Topology, parse_topology
from s3ft_jax.planning.durations import Questions, shown
from s3ft_jax.planning.experiment import Decode, Experiment, Prefill, Program, TrainStep
from s3ft_jax.stages import plan
from s3ft_jax.stages.launch import prepare_jax
from s3ft_jax.tasks import gsm8k

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = pathlib.Path(os.environ.get("S3FT_DATA_DIR", ROOT.parent / "shared" / "data"))
LLAMA = {
    # Llama 3.1, arXiv 2407.21783, table 3: layers, model dimension, FFN dimension, attention heads
    "70B": {
        "num_hidden_layers": 80,
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_attention_heads": 64,
        "head_dim": 128,
    },
    "405B": {
        "num_hidden_layers": 126,
        "hidden_size": 16384,
        "intermediate_size": 53248,
        "num_attention_heads": 128,
        "head_dim": 128,
    },
}
MODELS = {"7B": "Mistral-7B-Instruct-v0.2", "70B": "Llama 3.1 70B", "405B": "Llama 3.1 405B"}
SLICES = ("v5e-256", "v5p-512", "2xv5e-256", "2xv5p-512")
PASSES, GSM8K, MILLION = 3, 7217, 1_000_000
ROWS = {GSM8K: 16, MILLION: 256}
"""Rows of 1,024 tokens in a step; packed, a row holds four or five questions of GSM8K's length."""
FILLED = 0.9
"""Share of a packed row that is filled, taken for a round number."""
SHARED = (
    "model.dtype=bfloat16",
    "train.activation_dtype=bfloat16",
    "train.remat=full",
    "train.max_length=1024",
    "sample.max_new_tokens=512",
)
TUNES = {
    "lora": ("train.tune=lora", "train.lora.rank=16", "train.lora.targets=all"),
    "full": ("train.tune=full", "train.param_dtype=float32"),
}


def model_path(model: str, folder: str) -> str:
    """Of its config.json; Llama's larger ones are the 8B's with the sizes of ``LLAMA``."""
    if model == "7B":
        return str(DATA / "hf_configs" / "derived" / "Mistral-7B-Instruct-v0.2")
    values = json.loads((DATA / "hf_configs" / "mlc_presets" / "Llama-3.1-8B" / "config.json").read_text())
    path = pathlib.Path(folder) / model / "config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values | LLAMA[model]))
    return str(path)


def lengths() -> tuple[float, float, list[int]]:
    """Tokens of GSM8K's prompts and of its gold answers in the mean, and each answer's, by SmolLM2's tokenizer."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(DATA / "tokenizers" / "smollm2" / "tokenizer.json"))

    def count(text: str) -> int:
        return len(tokenizer.encode(text).ids)

    rows = list(map(json.loads, (DATA / "datasets" / "gsm8k" / "train.jsonl").read_text().splitlines()))
    prompts = [count(gsm8k.PROMPT.replace("{question}", row["question"])) for row in rows]
    answers = [count(re.sub("<<.*?>>", "", row["answer"])) for row in rows]
    return sum(prompts) / len(rows), sum(answers) / len(rows), answers


def steps_of(answers: Sequence[int], slots: int) -> int:
    """Decode steps until all are said, each begun as soon as a slot is free."""
    ends = [0] * slots
    for length in answers:
        heapq.heapreplace(ends, ends[0] + length)
    return max(ends)


@dataclasses.dataclass(frozen=True)
class Case:
    """One program of a model on a slice.

    Attributes:
      model, topology: which, where.
      program: train, or decode.
      tune: lora or full, of train.
      rows: of a step.
    """

    model: str
    topology: Topology
    program: str
    tune: str = ""
    rows: int = 0

    @property
    def name(self) -> str:
        """For --only and --results."""
        return " ".join(map(str, filter(None, (self.model, self.program, self.tune, self.topology.name, self.rows))))


CHECKED = tuple(
    Case(model, parse_topology(topology), *rest)
    for model, topology, *rest in (
        ("7B", "v5e-256", "decode"),
        ("70B", "v5e-256", "decode"),
        ("405B", "v5e-256", "decode"),
        ("70B", "v5p-512", "decode"),
        ("405B", "v5p-512", "decode"),
        ("7B", "2xv5e-256", "train", "full", ROWS[MILLION]),
        ("70B", "v5e-256", "train", "lora", ROWS[MILLION]),
        ("70B", "v5e-256", "train", "full", ROWS[MILLION]),
        ("70B", "2xv5e-256", "train", "lora", ROWS[MILLION]),
        ("405B", "v5e-256", "train", "lora", ROWS[GSM8K]),
        ("405B", "v5p-512", "train", "full", ROWS[MILLION]),
    )
)
"""What --compile compiles."""


class Page:
    """Computes cases, and keeps what was compiled.

    Args:
      folder: for config files.
      results: file of what was compiled.
    """

    def __init__(self, folder: str, results: pathlib.Path):
        self._folder, self._results = folder, results
        lines = results.read_text().splitlines() if results.exists() else []
        self.compiled = {values["case"]: values for values in map(json.loads, lines)}

    def experiment(self, case: Case) -> Experiment:
        """What `s3ft plan` is asked about."""
        path = model_path(case.model, self._folder)
        tune = TUNES[case.tune or "lora"]
        overrides = [f"model.path={path}", *SHARED, *tune, f"train.batch_size={case.rows or ROWS[GSM8K]}"]
        config = load_config(str(ROOT / "configs" / "gsm8k.py"), overrides)
        return plan.describe(config, plan.read_model(config))

    def program(self, case: Case) -> tuple[Program, Experiment]:
        """The program, on the mesh that plan chooses for it."""
        own, place = self.experiment(case), case.topology
        if case.program == "train":
            best = forecast.best_choice(own, place)
            return TrainStep(own, best.split, place.num_slices), own
        split, _ = forecast.choose_sampling_split(own, place)
        own = Decode(own, split).sized(place.chip.usable_hbm)
        return Decode(own, split, place.num_chips // split.chips), own

    def forecast(self, case: Case) -> forecast.Forecast:
        """By estimate."""
        program, _ = self.program(case)
        return forecast.forecast(program, forecast.Slice(case.topology, None, 0))

    def compile(self, case: Case) -> None:
        """Ask the compiler, and keep what it says."""

        def tell(text: str) -> None:
            print(f"{case.name}: {text}", file=sys.stderr, flush=True)

        program, _ = self.program(case)
        place = forecast.Slice(case.topology, compiled.topology_devices(case.topology), 0, tell)
        self.compiled[case.name] = {"case": case.name} | plan.plain(forecast.forecast(program, place))
        with self._results.open("a") as out:
            out.write(json.dumps(self.compiled[case.name]) + "\n")


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def gib(number: float) -> str:
    """Bytes as GiB."""
    return f"{number / GIB:.1f}" if number < 100 * GIB else f"{number / GIB:,.0f}"


def weights(page: Page) -> Iterator[list[str]]:
    """A row for each model."""
    for model, name in MODELS.items():
        own = page.experiment(Case(model, parse_topology("v5e-1"), "decode"))
        params = count_params(own.config)
        slot = 1024 * costs.cache_bytes(own.config, 2)
        state = params * 12  # float32: the parameter, and adam's two moments
        yield [f"{model}: {name}", f"{params / 1e9:.1f}", gib(2 * params), gib(state), gib(slot)]


def compiled_cell(page: Page, case: Case, used: float) -> str:
    """What the compiler says beside the estimate; empty where it was not asked."""
    found: dict[str, Any] | None = page.compiled.get(case.name)
    if found is None:
        return ""
    peak = found["answer"]["peak"] + found["beside"]
    return f"{gib(peak)}{'' if found['fits'] else ' (**does not fit**)'}, {peak / used:.2f} of it"


def sampling(page: Page, asked: dict[int, Questions]) -> Iterator[list[str]]:
    """A row for each model and slice."""
    for model in MODELS:
        for topology in map(parse_topology, SLICES):
            case = Case(model, topology, "decode")
            found, (program, own) = page.forecast(case), page.program(case)
            copies = topology.num_chips // found.split.chips
            used = found.answer.peak + found.beside
            times = []
            for questions in asked.values():
                read = durations.prefill_duration(Prefill(own, found.split), questions, copies, topology.chip)
                written = durations.decode_duration(program, questions, copies, topology.chip)
                times.append(shown(read.seconds + written.seconds))
            most = asked[MILLION]
            written = durations.decode_duration(program, most, copies, topology.chip)
            speed = most.number * most.response_tokens / written.seconds / topology.num_chips
            yield [
                f"{model}, {topology.name}",
                f"{copies} x {found.split.tensor}",
                f"{found.size}",
                f"{gib(used)} of {gib(found.capacity)}{'' if found.fits else ' (**does not fit**)'}",
                compiled_cell(page, case, used),
                f"{speed:,.0f}, {written.by}",
                *times,
            ]


def training(page: Page, tune: str, asked: dict[int, Questions]) -> Iterator[list[str]]:
    """A row for each model, slice and number of questions."""
    for model in MODELS:
        for topology in map(parse_topology, SLICES):
            for number, questions in asked.items():
                case = Case(model, topology, "train", tune, ROWS[number])
                found, (program, own) = page.forecast(case), page.program(case)
                tokens = PASSES * number * (questions.prompt_tokens + questions.response_tokens)
                steps = max(1, round(tokens / (ROWS[number] * own.max_length * FILLED)))
                taken = durations.train_duration(program, ROWS[number], steps, topology.chip)
                used = found.answer.peak + found.beside
                yield [
                    f"{model}, {topology.name}",
                    f"{number:,}",
                    " x ".join(map(str, found.split)),
                    f"{found.size} of {ROWS[number]}",
                    f"{gib(used)} of {gib(found.capacity)}{'' if found.fits else ' (**does not fit**)'}",
                    compiled_cell(page, case, used),
                    f"{taken.seconds / steps:.2g} s, {taken.by}",
                    f"{steps:,}",
                    shown(taken.seconds),
                ]


def waiting(answers: Sequence[int]) -> Iterator[list[str]]:
    """How many steps it takes where shards of 256 are waited for, and where they are not."""
    for slots in (64, 256, 1024):
        apart = sum(steps_of(answers[start : start + 256], slots) for start in range(0, len(answers), 256))
        through = steps_of(answers, slots)
        yield [f"{slots:,}", f"{apart:,}", f"{through:,}", f"{apart / through:.2f}"]


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="ask the TPU compiler, and print no page")
    parser.add_argument("--only", default="", help="with --compile: cases whose name contains this")
    parser.add_argument("--results", default="scale.jsonl", help="file of what was compiled")
    arguments = parser.parse_args()
    prepare_jax()
    jax.config.update("jax_platforms", "cpu")
    if arguments.compile:
        with tempfile.TemporaryDirectory() as folder:
            page = Page(folder, pathlib.Path(arguments.results))
            for case in CHECKED:
                if arguments.only in case.name and case.name not in page.compiled:
                    page.compile(case)
        return
    prompt, answer, answers = lengths()
    asked = {number: Questions(number, prompt, answer) for number in (GSM8K, MILLION)}
    text = (ROOT / "benchmarks" / "scale.md.in").read_text()
    with tempfile.TemporaryDirectory() as folder:
        page = Page(folder, pathlib.Path(arguments.results))
        train = ["model, slice", "questions", "data x fsdp x tensor", "rows", "GiB a chip", "compiled"]
        train += ["a step at least", "steps", "in all at least"]
        sample = ["model, slice", "copies x chips", "slots a copy", "GiB a chip", "compiled"]
        sample += ["tokens/s/chip at most", f"{GSM8K:,} questions at least", f"{MILLION:,} at least"]
        head = ["", "parameters, 10^9", "GiB in bfloat16", "GiB of state, full tuning", "GiB of cache, 1,024 tokens"]
        tables = {
            "weights": table(head, weights(page)),
            "sampling": table(sample, sampling(page, asked)),
            "lora": table(train, training(page, "lora", asked)),
            "full": table(train, training(page, "full", asked)),
            "waiting": table(["slots", "steps, shard by shard", "steps, through", "ratio"], waiting(answers)),
        }
    numbers = {"prompt": f"{prompt:.0f}", "answer": f"{answer:.0f}"}
    print(re.sub(r"\{(\w+)\}", lambda found: (tables | numbers)[found[1]], text), end="")


if __name__ == "__main__":
    main()
