"""Stage: will this experiment fit on a TPU slice or GPUs, and how fast can it be? Needs no device and no weights."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import types
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh
from ml_collections import ConfigDict
from rich.table import Table

from s3ft_jax import hf_folder, sharding
from s3ft_jax.models import families
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.weights import count_params
from s3ft_jax.planning import compiled, costs, durations
from s3ft_jax.planning.chips import FRACTION, GIB, PlanError, Topology, gpu_fraction, parse_topology
from s3ft_jax.planning.durations import Questions
from s3ft_jax.planning.experiment import Decode, Experiment, Prefill, TrainStep
from s3ft_jax.planning.forecast import MARGIN, Forecast, Slice, forecasts
from s3ft_jax.progress import console, say
from s3ft_jax.stages import method_settings
from s3ft_jax.stages.launch import POCKET, plain_settings, pocket_model_folder
from s3ft_jax.stages.remedies import Devices, listed, remedies
from s3ft_jax.stages.sampler import engine_settings

BOUND = (
    "tokens/s is a bound from the chip's published speeds and the least the program must compute, read and receive; no "
    "real run is faster"
)
ESTIMATED = (
    "nothing is compiled for GPUs, so all memory is an estimate; leave it some room, and set "
    f"{FRACTION}=0.9 to give JAX more of the GPU"
)


def run(config: ConfigDict, topology: str, *, json_file: str = "", compiles: int = 4, questions: str = "") -> None:
    """Print a table and notes.

    Args:
      config: the experiment's.
      topology: e.g. ``v5e:4x4``, or ``h100:8``.
      json_file: where to write the same as JSON; empty: nowhere.
      compiles: how many the search for each program's largest batch may take.
      questions: see ``read_questions``; empty: only training's time is told.

    Raises:
      PlanError, ShardingError, UnsupportedModel, HFFolderError: what cannot be planned, and why.
    """
    place = parse_topology(topology)
    architecture = read_model(config)
    experiment = describe(config, architecture, platform=place.chip.platform)
    asked = read_questions(questions, experiment, config.sample.num_own)
    if asked is not None:
        config.train.num_questions = asked.number
    say(f"{config.model.path}: {count_params(architecture):,} parameters")
    say(_hardware(place))
    found, notes = plan(experiment, place, compiles)
    does_not = filter(None, (advice(forecast, config, architecture, place) for forecast in found))
    notes = [*notes, *does_not, *times(experiment, place, found, asked, config), BOUND]
    console.print(table(found, place))
    for note in notes:
        say(f"* {note}")
    if json_file:
        programs = list(map(plain, found))
        result = {"topology": place.name, "model": config.model.path, "notes": notes, "programs": programs}
        pathlib.Path(json_file).write_text(json.dumps(result, indent=1) + "\n")
        say(f"written: {json_file}")


def plan(experiment: Experiment, topology: Topology, compiles: int) -> tuple[list[Forecast], list[str]]:
    """Forecasts and notes; compiled if they are for a TPU and libtpu is installed, which is said if not."""
    # programs are compiled for devices that are not here: no attached accelerator is to be opened
    jax.config.update("jax_platforms", "cpu")
    if topology.chip.platform != "tpu":
        found, notes = forecasts(experiment, Slice(topology, None, compiles, say))
        return found, [*notes, ESTIMATED]
    devices = compiled.topology_devices(topology) if compiled.has_libtpu() else None
    found, notes = forecasts(experiment, Slice(topology, devices, compiles, say))
    return found, notes if devices is not None else [*notes, compiled.HOW_TO_GET_LIBTPU]


def read_questions(text: str, experiment: Experiment, num_responses: int) -> Questions | None:
    """``7217,180,140``: questions, tokens of a prompt and of a response in the mean; without these the longest ones.

    Raises:
      PlanError: anything else.
    """
    if not text:
        return None
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*(\.\d*)?){2}|[1-9]\d*", text):
        raise PlanError(f"--questions={text}: give their number, or number,prompt tokens,response tokens: 7217,180,140")
    number, *lengths = text.split(",")
    prompt, response = map(float, lengths) if lengths else (experiment.prompt_tokens, experiment.new_tokens)
    return Questions(int(number), prompt, response, num_responses)


def times(
    experiment: Experiment, place: Topology, found: list[Forecast], asked: Questions | None, config: ConfigDict
) -> list[str]:
    """How long training takes at least, and sampling if it is known how much is asked."""
    train, prefill, decode = found
    step = TrainStep(experiment, train.split, place.num_slices)
    settings = method_settings.method_settings(config, "")
    steps = 1 if settings["num_epochs"] and not config.train.num_questions else settings["num_steps"]
    trained = durations.train_duration(step, step.size, steps, place.chip)
    what = f"{steps:,} steps take" if steps > 1 else "a step takes"
    lines = [f"train: {what} at least {durations.shown(trained.seconds)} ({trained.by})"]
    if asked is None:
        return lines
    copies = place.num_chips // decode.split.chips
    slots = dataclasses.replace(experiment.engine, num_slots=decode.size)
    sampling = dataclasses.replace(experiment, engine=slots)
    read = durations.prefill_duration(Prefill(sampling, prefill.split), asked, copies, place.chip)
    written = durations.decode_duration(Decode(sampling, decode.split), asked, copies, place.chip)
    questions = f"{asked.number:,} questions of {asked.prompt_tokens:g} tokens"
    responses = f"{asked.number * asked.responses:,} responses of {asked.response_tokens:g}"
    return [
        *lines,
        f"sample: {questions}, {responses}, take at least {durations.shown(read.seconds + written.seconds)}: prompts "
        f"{durations.shown(read.seconds)} ({read.by}), responses {durations.shown(written.seconds)} ({written.by})",
    ]


def read_model(config: ConfigDict) -> DecoderConfig:
    """The architecture named by ``model.path``: a folder or hub id, of which only config.json is read, or that file.

    Raises:
      PlanError: it is empty.
      HFFolderError, UnsupportedModel: see there.
    """
    path = config.model.path
    if not path:
        raise PlanError("model.path is empty: give --config.model.path=FOLDER, a config.json, a hub id, or pocket")
    values = hf_folder.read_architecture(pocket_model_folder() if path == POCKET else path)
    return families.read_config(values, path, config.model.max_positions)[0]


def describe(config: ConfigDict, architecture: DecoderConfig, method: str = "", platform: str = "tpu") -> Experiment:
    """What the plan needs of a method's settings; without a method, of those shared by all.

    Prompts are taken as long as a training row has room for beside the longest answer. ``platform``: JAX's name of the
    kind of device that is planned for.
    """
    settings, sample = method_settings.method_settings(config, method), config.sample
    longest = min(settings["max_length"], architecture.max_positions)
    prompt = longest - sample.max_new_tokens
    lora = method_settings.adapters(settings["lora"], architecture) if settings["tune"] == "lora" else None

    def step(mesh: Mesh | AbstractMesh) -> dict[str, Any]:
        real = mesh if isinstance(mesh, Mesh) else _on_paper(mesh, platform)
        return method_settings.step_settings(settings, architecture, real)

    return Experiment(
        config=architecture,
        dtype=config.model.dtype,
        tuned_dtype=config.model.dtype if lora else settings["param_dtype"],
        lora=lora,
        base_dtype=settings["lora"]["base_dtype"],
        optimizer=method_settings.optimizer(settings),
        step=step,
        batch_size=settings["batch_size"],
        accumulation=settings["accumulation"],
        max_length=settings["max_length"],
        mesh=plain_settings(config.mesh),
        engine=engine_settings(config),
        prompt_tokens=prompt if prompt > 0 else longest,
        new_tokens=sample.max_new_tokens,
        platform=platform,
    )


def _on_paper(mesh: AbstractMesh, platform: str) -> Any:
    """What ``step_settings`` asks of a mesh: sizes, and a device's platform."""
    device = types.SimpleNamespace(platform=platform)
    return types.SimpleNamespace(shape=mesh.shape, devices=np.array([device]))


def advice(forecast: Forecast, config: ConfigDict, architecture: DecoderConfig, place: Topology) -> str:
    """What to do about a program that does not fit; empty if it does."""
    if forecast.fits:
        return ""
    most, counted = forecast.largest.size, forecast.counted
    if forecast.program == "train":
        parts = -(-forecast.size // most) if most else 0
        much = f"{most} rows at a time would: --config.train.accumulation={parts} (micro-batches)" if most else ""
        much = much or "Not even one row per part of the mesh does"
        return f"train does not fit. {much}. {_remedies(forecast, config, architecture, place)}"
    less = f"--config.sample.num_slots={most}" if most and counted == "slots" else "fewer --config.sample.num_slots"
    dtypes = {"model.dtype": config.model.dtype, "sample.activation_dtype": config.sample.activation_dtype}
    wide = " ".join(f"--config.{name}=bfloat16" for name, dtype in dtypes.items() if dtype == "float32")
    return f"{forecast.program} does not fit: {less}{f', or half the bits: {wide}' if wide else ''}"


def _remedies(forecast: Forecast, config: ConfigDict, architecture: DecoderConfig, place: Topology) -> str:
    """Settings that help, from the config's own mesh on, with the estimate of each."""

    def need(changed: ConfigDict) -> int:
        experiment = describe(changed, architecture, platform=place.chip.platform)
        split = costs.Split(**sharding.mesh_sizes(**experiment.mesh, num_devices=place.num_chips))
        step = TrainStep(experiment, split, place.num_slices)
        return sum(step.estimate(-(-experiment.batch_size // step.unit) * step.unit))

    # of a compiled program the estimate may say that it fits: then all that helps is told
    devices, limit = (
        Devices(place.num_chips, place.num_slices),
        0 if forecast.compiled else round(MARGIN * forecast.capacity),
    )
    found = remedies(config, "", devices, config.train.batch_size, need, limit)
    told = f"What helps, each with those before it, estimated: {listed(found)}; or" if found else "It takes"
    return f"{told} more chips, or a smaller model"


def table(found: list[Forecast], topology: Topology) -> Table:
    """One column per program."""
    cells = [_cells(forecast, topology) for forecast in found]
    result = Table("of each chip", *(forecast.program for forecast in found))
    for name in cells[0]:
        result.add_row(name, *(column[name] for column in cells))
    return result


def _cells(forecast: Forecast, topology: Topology) -> dict[str, str]:
    answer, work, bound, found = forecast.answer, forecast.work, forecast.bound, forecast.largest
    rough = "" if forecast.compiled else "about "
    if found.size:
        most = f"{'' if found.exact else 'at least '}{rough}{found.size:,} {forecast.counted}"
    else:
        most = "none" if found.exact else "none found"
    return {
        "batch": forecast.shape,
        "data x fsdp x tensor": " x ".join(map(str, forecast.split)),
        "fits": "yes" if forecast.fits else "NO",
        f"memory, of {size(forecast.capacity)}": f"{rough}{size(answer.peak + forecast.beside)}",
        "  arguments": size(answer.arguments),
        "  temporaries": f"{rough if answer.fits else 'about '}{size(answer.temporaries)}",
        "  program's peak": f"{rough}{size(answer.peak)}",
        "  kept beside it": size(forecast.beside),
        "largest batch": most,
        "tokens/s, at most": f"{bound.tokens_per_chip:,.0f}",
        "bound by": bound.by,
        "  operations": f"{work.flops / 1e12:.3g} T",
        "  memory traffic": f"{work.hbm_bytes / 1e9:.3g} GB",
        "  network traffic": f"{work.ici_bytes / 1e9:.3g} GB",
        "compiled in": f"{answer.seconds:.0f} s" if forecast.compiled else "not compiled",
    }


def size(number: float) -> str:
    """Bytes for people: ``1.25 GiB``, ``30.0 MiB``."""
    return f"{number / GIB:.2f} GiB" if number >= GIB / 10 else f"{number / 2**20:.1f} MiB"


def plain(forecast: Forecast) -> dict[str, Any]:
    """A forecast as plain JSON values; bytes, operations and seconds."""
    values = dataclasses.asdict(forecast)
    return values | {name: getattr(forecast, name)._asdict() for name in ("split", "work", "bound")}


def _hardware(topology: Topology) -> str:
    chip = topology.chip
    kind = "chips" if chip.platform == "tpu" else "GPUs of one machine" if topology.num_chips > 1 else "GPU"
    taken = "" if chip.platform == "tpu" else f" ({gpu_fraction():.0%} of its {chip.hbm / GIB:.1f} GiB, see {FRACTION})"
    return (
        f"{topology.name}: {topology.num_chips} {kind}. Each has {chip.usable_hbm / GIB:.2f} GiB of memory for "
        f"programs{taken}, {chip.flops / 1e12:.0f} TFLOP/s in bfloat16 (in float32 "
        f"1/{chip.flops / chip.peak_flops('float32'):.2g} of that), "
        f"{chip.hbm_bandwidth / 1e9:,.0f} GB/s from memory, {chip.ici_bandwidth / 2e9:,.0f} GB/s from other "
        f"{'chips' if chip.platform == 'tpu' else 'GPUs'}"
        f"{f', {chip.dcn_bandwidth / 1e9:.3g} GB/s from other slices' if topology.num_slices > 1 else ''} "
        f"({chip.source})"
    )
