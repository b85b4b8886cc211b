"""plan: from a config.json alone, without workdir, weights or accelerator, to a table and JSON."""

import json
import re

import jax
import pytest

from s3ft_jax import hf_folder, sharding
from s3ft_jax.models.families import UnsupportedModel
from s3ft_jax.planning import compiled, costs, memory
from s3ft_jax.planning.chips import PlanError, parse_topology
from s3ft_jax.planning.experiment import TrainStep
from s3ft_jax.stages import method_settings, plan
from s3ft_jax.workdir import WorkdirError
from small import small_config

LLAMA = {
    "model_type": "llama",
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}


@pytest.fixture(autouse=True)
def without_libtpu(monkeypatch):
    monkeypatch.setattr(compiled, "has_libtpu", lambda: False)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    return tmp_path


def planned(capsys, *overrides, topology="v5e:2x2", **options) -> str:
    plan.run(small_config("mesh.data=-1", *overrides), topology, **options)
    return " ".join(capsys.readouterr().out.split())


def test_the_model_that_ships_on_paper(capsys):
    text = planned(capsys)
    for part in ("pocket: 1,136,000 parameters", "v5e:2x2: 4 chips", "15.75 GiB", "largest batch", "pip install 'jax"):
        assert part in text
    assert text.count("not compiled") == 3 and "NO" not in text
    assert "all parameters, parameters float32, activations float32, remat none, attention splash" in text


def test_how_long_it_takes_is_told(capsys):
    text = planned(capsys, "train.num_steps=1400")
    assert re.search(r"train: 1,400 steps take at least [\d.]+ (s|min) \((compute|memory|network)\)", text)
    assert "sample:" not in text
    text = planned(capsys, "train.num_epochs=3.0")
    assert re.search(r"train: a step takes at least [\d.]+ m?s \(", text), "how many there are is not known"
    text = planned(capsys, "train.num_epochs=3.0", "train.num_examples=0", "train.batch_size=16", questions="7217")
    assert "train: 1,354 steps take at least" in text
    text = planned(capsys, "sample.num_own=2", questions="7217,114,93.5")
    asked = "sample: 7,217 questions of 114 tokens, 14,434 responses of 93.5, take at least "
    assert re.search(re.escape(asked) + r"[\d.]+ s: prompts [\d.]+ s \(\w+\), responses [\d.]+ s \(\w+\)", text)
    longest = planned(capsys, "sample.max_new_tokens=40", "train.max_length=128", questions="10")
    assert "10 questions of 88 tokens, 10 responses of 40, take" in longest, "the longest where no lengths are given"


@pytest.mark.parametrize("questions", ["some", "0", "10,20", "10,20,0", "10,x,5", "1.5"])
def test_questions_that_are_none(questions):
    with pytest.raises(PlanError, match=f"--questions={questions}: give their number, or number,prompt tokens"):
        plan.run(small_config("mesh.data=-1"), "v5e:2x2", questions=questions)


def test_two_slices_are_planned_for(capsys):
    text = planned(capsys, topology="2xv5e-4")
    assert "2xv5e:2x2: 8 chips" in text and "8 x 1 x 1" in text and "3.12 GB/s from other slices" in text
    with pytest.raises(sharding.ShardingError, match="on 2 slices"):
        plan.run(small_config("mesh.data=1", "mesh.tensor=8"), "2xv5e:2x2")


def test_a_config_json_is_all_that_is_needed(folder, capsys):
    for path in (folder, folder / "config.json"):
        assert f"{path}: 139,584 parameters" in planned(capsys, f"model.path={path}", "train.max_length=512")


def test_no_device_is_asked_for(folder, capsys, monkeypatch):
    def opened(*_):
        raise AssertionError("an accelerator may be opened here")

    for name in ("devices", "local_devices", "device_count", "default_backend"):
        monkeypatch.setattr(jax, name, opened)
    planned(capsys, f"model.path={folder}")
    assert jax.config.jax_platforms == "cpu"


def test_the_json_says_what_the_table_says(folder, tmp_path, capsys):
    file = tmp_path / "plan.json"
    text = planned(capsys, f"model.path={folder}", json_file=str(file))
    result = json.loads(file.read_text())
    assert (result["topology"], result["model"]) == ("v5e:2x2", str(folder))
    assert [program["program"] for program in result["programs"]] == ["train", "prefill", "decode"]
    step = result["programs"][0]
    assert step["split"] == {"data": 4, "fsdp": 1, "tensor": 1} and step["fits"] is True
    assert f"{step['bound']['tokens_per_chip']:,.0f}" in text and step["bound"]["by"] in text
    assert plan.size(step["answer"]["arguments"]) in text
    assert f"{step['largest']['size']:,} rows" in text
    assert all(note in text for note in (" ".join(note.split()) for note in result["notes"]))


@pytest.mark.parametrize(
    "overrides, part",
    [
        (["train.batch_size=4096", "train.max_length=2048", "train.attention=xla"], "--config.train.accumulation="),
        (["sample.num_slots=65536", "train.max_length=2048"], "decode does not fit: --config.sample.num_slots="),
    ],
)
def test_what_does_not_fit_comes_with_what_to_do(folder, capsys, overrides, part):
    text = planned(capsys, f"model.path={folder}", *overrides)
    assert "NO" in text and part in text


def test_advice_names_only_what_the_run_does_not_have_yet(folder, capsys):
    big = ["train.batch_size=16384", "train.max_length=2048", "mesh.fsdp=1"]
    text = planned(capsys, f"model.path={folder}", *big)
    assert "estimated: --config.train.activation_dtype=bfloat16 (" in text
    has = ["train.tune=lora", "train.remat=full", "train.activation_dtype=bfloat16", "model.dtype=bfloat16"]
    text = planned(capsys, f"model.path={folder}", *big, *has, "train.batch_size=65536")
    assert "train does not fit" in text and "--config.train.accumulation=" in text
    for part in ("train.tune=lora", "remat=full (", "activation_dtype=bfloat16 ("):
        assert part not in text.partition("train does not fit")[2]


def test_half_the_bits_are_advised_where_they_are_not_taken(folder, capsys):
    many = [f"model.path={folder}", "sample.num_slots=65536", "train.max_length=2048"]
    told = planned(capsys, *many).partition("decode does not fit: ")[2]
    assert told.startswith("--config.sample.num_slots=") and "or half the bits: --config.model.dtype=bfloat16" in told
    told = planned(capsys, *many, "model.dtype=bfloat16", "sample.num_slots=131072").partition("decode does not fit: ")[
        2
    ]
    assert told and "half the bits" not in told


def test_gpus_are_estimated_and_that_is_said(folder, capsys, monkeypatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    monkeypatch.setattr(compiled, "has_libtpu", lambda: True)  # which compiles for TPUs alone
    for topology in ("h100x8", "h100:8"):
        text = planned(capsys, f"model.path={folder}", topology=topology)
        assert "h100:8: 8 GPUs of one machine. Each has 55.88 GiB of memory for programs (75% of its 74.5 GiB" in text
        assert "nothing is compiled for GPUs, so all memory is an estimate" in text
        assert text.count("not compiled") == 3 and "libtpu" not in text
    assert "attention chunked" in text
    half = planned(capsys, f"model.path={folder}", "train.activation_dtype=bfloat16", topology="l4")
    assert "attention cudnn" in half and "l4:1: 1 GPU. Each has 16.76 GiB" in half


@pytest.mark.parametrize(
    "override, topology, error, part",
    [
        ("model.path=", "v5e:2x2", PlanError, "model.path is empty"),
        ("model.path=pocket", "v9:2x2", PlanError, "no chip 'v9'"),
        ("model.path={}/nothing", "v5e:2x2", hf_folder.HFFolderError, "nothing: no such folder"),
        ("model.path={}/empty", "v5e:2x2", hf_folder.HFFolderError, "config.json: missing"),
        ("model.path={}/other.json", "v5e:2x2", UnsupportedModel, "mamba"),
        ("mesh.tensor=3", "v5e:2x2", sharding.ShardingError, "tensor 3 does not fit 4 devices"),
        ("train.remat=some", "v5e:2x2", WorkdirError, "train.remat = 'some'"),
    ],
)
def test_what_cannot_be_planned_says_why(tmp_path, override, topology, error, part):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(error, match=part):
        plan.run(small_config("mesh.data=-1", override.format(tmp_path)), topology)


@pytest.mark.parametrize("split", [costs.Split(8), costs.Split(2, 2, 2), costs.Split(1, 2, 4)], ids=str)
@pytest.mark.parametrize("chunk_tokens", [0, 96])
def test_the_step_on_paper_is_that_of_a_run(split, chunk_tokens):
    config = small_config(f"train.chunk_tokens={chunk_tokens}", "train.remat=dots", "train.activation_dtype=bfloat16")
    architecture = plan.read_model(config)
    experiment = plan.describe(config, architecture)
    paper = experiment.step(memory.abstract_mesh(split))
    settings = method_settings.method_settings(config, "")
    real = method_settings.step_settings(settings, architecture, sharding.make_mesh(*split))
    assert paper.pop("attention").implementation == "splash" and real.pop("attention").implementation == "xla"
    assert paper.pop("unroll") is False and real.pop("unroll") is True  # on a CPU, a few layers are
    assert paper == real
    own = split.row_parts * (method_settings.LOGITS // architecture.vocab_size)
    assert paper["chunk_tokens"] == (chunk_tokens or own)
    assert TrainStep(experiment, split).sizes(8).chunk_tokens == real["chunk_tokens"]


def test_settings_reach_the_experiment():
    config = small_config(
        "train.tune=lora", "train.lora.targets=all", "train.lora.base_dtype=int8", "model.dtype=bfloat16", "mesh.fsdp=2"
    )
    found = plan.describe(config, plan.read_model(config))
    assert found.lora.targets == ("q", "k", "v", "o", "gate", "up", "down")
    assert (found.base_dtype, found.dtype, found.tuned_dtype) == ("int8", "bfloat16", "bfloat16")
    assert found.mesh == {"data": 1, "fsdp": 2, "tensor": 1}
    full = plan.describe(small_config("model.dtype=bfloat16"), plan.read_model(config))
    assert (full.lora, full.dtype, full.tuned_dtype) == (None, "bfloat16", "float32")


def test_prompts_leave_room_for_an_answer():
    config = small_config("train.max_length=192", "sample.max_new_tokens=64")
    assert plan.describe(config, plan.read_model(config)).prompt_tokens == 128
    config = small_config("train.max_length=32", "sample.max_new_tokens=64")
    assert plan.describe(config, plan.read_model(config)).prompt_tokens == 32


@pytest.mark.parametrize("number, text", [(2**30, "1.00 GiB"), (2**27, "0.12 GiB"), (2**20, "1.0 MiB"), (0, "0.0 MiB")])
def test_bytes_for_people(number, text):
    assert plan.size(number) == text


def test_real_configs_are_read(data_dir, capsys):
    path = data_dir / "hf_configs" / "mlc_presets" / "gemma-2-9b-it"
    text = planned(capsys, f"model.path={path}", "train.tune=lora", topology="v6e:2x2")
    assert "9,241,705,984 parameters" in text and parse_topology("v6e:2x2").name in text
