"""What `s3ft plan` says of named models on named slices, as Markdown: the table of the README and the bars of issue 3.

    python -m benchmarks.plan_table [--only Qwen3] [--compiles 2] [--results plan.jsonl]

Needs libtpu (pip install 'jax[tpu]') and the config.json files below S3FT_DATA_DIR (default ../shared/data). One case
after the other, each added to --results when it is done; a case that stands there is not compiled again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
from typing import Any

import jax

from s3ft_jax.config import load_config
from s3ft_jax.planning import compiled, forecast
from s3ft_jax.planning.chips import GIB, parse_topology
from s3ft_jax.planning.experiment import Decode, Prefill, Program, TrainStep
from s3ft_jax.stages import plan
from s3ft_jax.stages.launch import prepare_jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = pathlib.Path(os.environ.get("S3FT_DATA_DIR", ROOT.parent / "shared" / "data")) / "hf_configs"
MODELS = {
    "Qwen3-0.6B": "mlc_presets/Qwen3-0.6B",
    "Mistral-7B-Instruct-v0.2": "derived/Mistral-7B-Instruct-v0.2",
    "Llama-3.1-8B": "mlc_presets/Llama-3.1-8B",
    "Gemma-2-9B": "mlc_presets/gemma-2-9b-it",
}
SHARED = ("train.activation_dtype=bfloat16", "train.remat=full", "mesh.data=1", "mesh.fsdp=-1")
LORA = ("train.tune=lora", "train.lora.rank=16", "train.lora.targets=all", "model.dtype=bfloat16")
FULL = ("train.tune=full",)


@dataclasses.dataclass(frozen=True)
class Case:
    """One program.

    Attributes:
      model: a key of ``MODELS``.
      program: train, prefill or decode.
      topology: e.g. ``v5e:4x4``.
      what: in words, for the table.
      overrides: of configs/gsm8k.py.
    """

    model: str
    program: str
    topology: str
    what: str
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """For --only and --results."""
        return f"{self.model} {self.program} {self.what} {self.topology}"


def cases() -> list[Case]:
    """The bars first, then the README's table."""
    bar = (*SHARED, *FULL, "train.param_dtype=bfloat16", "train.max_length=1024", "train.batch_size=8")
    found = [Case("Qwen3-0.6B", "train", "v5e:2x2", "full, bfloat16, 8 x 1,024 (bar)", bar)]
    long = (*SHARED, "train.max_length=2048", "train.batch_size=16")
    slices = {
        "Qwen3-0.6B": {"full": ("v5e:2x2", "v5p:2x2x1", "v6e:2x2"), "lora": ("v5e:1x1", "v5p:1x1x1", "v6e:1x1")},
        "": {"full": ("v5e:4x4", "v5p:2x2x1", "v6e:2x4"), "lora": ("v5e:2x2", "v5p:2x2x1", "v6e:2x2")},
    }
    for model in MODELS:
        for tune, settings in (("full", FULL), ("lora", LORA)):
            for topology in slices.get(model, slices[""])[tune]:
                found.append(Case(model, "train", topology, tune, (*long, *settings)))
    sample = ("model.dtype=bfloat16", "train.max_length=1024", "sample.max_new_tokens=512", "sample.num_slots=16")
    for model in MODELS:
        for topology in ("v5e:2x2", "v5p:2x2x1", "v6e:2x2"):
            found += [Case(model, program, topology, "bfloat16", sample) for program in ("prefill", "decode")]
    return found


def measure(case: Case, compiles: int) -> dict[str, Any]:
    """The forecast of one case as plain values."""
    overrides = [f"model.path={CONFIGS / MODELS[case.model]}", *case.overrides]
    config = load_config(str(ROOT / "configs" / "gsm8k.py"), overrides)
    experiment = plan.describe(config, plan.read_model(config))
    topology = parse_topology(case.topology)
    place = forecast.Slice(topology, compiled.topology_devices(topology), compiles)
    program: Program
    if case.program == "train":
        program = TrainStep(experiment, forecast.choose_split(experiment, topology)[0])
    else:
        split, _ = forecast.choose_sampling_split(experiment, topology)
        copies = topology.num_chips // split.chips
        program = {"prefill": Prefill, "decode": Decode}[case.program](experiment, split, copies)
    return {"case": case.name} | plan.plain(forecast.forecast(program, place))


HEADER = (
    "| model, what | slice | batch | GiB a chip: arguments, temporaries, in all, of | fits | largest batch | "
    "tokens/s/chip at most, bound by | compiled in (CPU seconds) |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def row(case: Case, values: dict[str, Any]) -> str:
    """One line of Markdown."""
    answer, found, bound = values["answer"], values["largest"], values["bound"]
    split = " x ".join(map(str, values["split"].values()))
    rough = "" if answer["fits"] else "about "
    memory = [answer["arguments"], answer["temporaries"], answer["peak"] + values["beside"], values["capacity"]]
    gib = [f"{number / GIB:.2f}" for number in memory]
    most = f"{found['size']:,} {values['counted']}" if found["size"] else "none found"
    cells = [
        f"{case.model}, {values['program']}, {case.what}",
        f"{case.topology} ({split})",
        values["shape"],
        f"{gib[0]}, {rough}{gib[1]}, {gib[2]}, {gib[3]}",
        "yes" if values["fits"] else "**no**",
        most if found["exact"] or not found["size"] else f"at least {most}",
        f"{bound['tokens_per_chip']:,.0f}, {bound['by']}",
        f"{answer['seconds']:.0f} s ({answer['cpu_seconds']:.0f})",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--compiles", type=int, default=2, help="most compiles of each search for the largest batch")
    parser.add_argument("--results", default="plan.jsonl", help="file of finished cases")
    arguments = parser.parse_args()
    prepare_jax()
    jax.config.update("jax_platforms", "cpu")
    file = pathlib.Path(arguments.results)
    lines = file.read_text().splitlines() if file.exists() else []
    done = {values["case"]: values for values in map(json.loads, lines)}
    print(HEADER)
    for case in cases():
        if arguments.only not in case.name:
            continue
        if case.name not in done:
            done[case.name] = measure(case, arguments.compiles)
            with file.open("a") as out:
                out.write(json.dumps(done[case.name]) + "\n")
        print(row(case, done[case.name]), flush=True)


if __name__ == "__main__":
    main()
