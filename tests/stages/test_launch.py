"""launch: the shipped model is there and the base of a run can be loaded."""

from s3ft_jax import checkpoints
from s3ft_jax.param_digests import params_digest
from s3ft_jax.stages.launch import load_model, pocket_model_folder


def test_the_shipped_model_is_a_small_hugging_face_folder():
    files = {path.name: path.stat().st_size for path in pocket_model_folder().iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(files)
    assert sum(files.values()) < 10 * 2**20


def test_the_base_of_a_run_loads_with_its_prompts(walked):
    _, workdir = walked
    model = load_model(workdir)
    assert model.config.vocab_size == model.encoder.vocab_size
    assert params_digest(model.params) == checkpoints.read_meta(workdir / "base").params_digest
