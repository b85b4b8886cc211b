"""launch: the shipped model is there and the base of a run can be loaded."""

import ctypes

import pytest

from s3ft_jax import checkpoints
from s3ft_jax.stages import launch
from s3ft_jax.stages.launch import load_model, pocket_model_folder


class RecordingLibrary:
    """A C library that only notes what was asked of its allocator."""

    def __init__(self):
        self.asked = {}

    def mallopt(self, name, value):
        self.asked[name] = value


@pytest.mark.parametrize(
    ("platforms", "plugins", "own", "asked"),
    [
        ("cpu", (), None, launch.MALLOC),
        ("", (), None, launch.MALLOC),
        ("tpu", (), None, {}),
        ("cpu", ("ctypes",), None, {}),  # stands for an accelerator's plugin that is installed
        ("cpu", (), "1000", {}),
    ],
)
def test_freed_memory_is_kept_on_a_cpu_only(monkeypatch, platforms, plugins, own, asked):
    library = RecordingLibrary()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(launch, "ACCELERATOR_PLUGINS", plugins)
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    if own:
        monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", own)
    launch.keep_freed_memory()
    assert library.asked == asked


def test_a_c_library_without_such_settings_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    launch.keep_freed_memory()


def test_the_shipped_model_is_a_small_hugging_face_folder():
    files = {path.name: path.stat().st_size for path in pocket_model_folder().iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(files)
    assert sum(files.values()) < 10 * 2**20


def test_the_base_of_a_run_loads_with_its_prompts(walked):
    _, workdir = walked
    model = load_model(workdir)
    assert model.config.vocab_size == model.encoder.vocab_size
    assert checkpoints.params_digest(model.params) == checkpoints.read_meta(workdir / "base").params_digest
