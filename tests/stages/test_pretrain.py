"""pretrain: a tiny run of the pocket model's recipe, and its ids are those of the chat template."""

import json

import pytest
from flax import nnx

from s3ft_jax import tuning
from s3ft_jax.config import load_config
from s3ft_jax.models.weights import flat_params
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.stages import pretrain
from s3ft_jax.stages.launch import pocket_model_folder
from s3ft_jax.tasks.pocket.pretraining import documents
from s3ft_jax.workdir import Workdir
from small import ROOT

TINY = [
    "num_documents=2500",
    "num_steps=5",
    "rows_per_step=2",
    "save_every=2",
    "decoder.num_layers=1",
    "decoder.model_dim=8",
    "decoder.mlp_dim=8",
    "decoder.head_dim=2",
]


def test_a_tiny_run_writes_a_model_folder_and_resumes(tmp_path, monkeypatch):
    config = load_config(str(ROOT / "configs" / "pocket_model.py"), TINY)
    workdir, killed = Workdir(str(tmp_path / "run")), Workdir(str(tmp_path / "killed"))
    pretrain.run(config, workdir)
    values = json.loads((workdir / "model/config.json").read_text())
    assert values["model_type"] == "llama" and values["vocab_size"] == 1024
    weights = (workdir / "model/model.safetensors").read_bytes()
    save = tuning.Saver.save

    def stop_at_four(saver, step, *rest):
        save(saver, step, *rest)
        if step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(tuning.Saver, "save", stop_at_four)
        pretrain.run(config, killed)
    assert (killed / "checkpoints/4").exists() and not (killed / "model/model.safetensors").exists()
    pretrain.run(config, killed)
    assert (killed / "model/model.safetensors").read_bytes() == weights


def test_start_values_follow_the_width():
    """Variance 1 / inputs; of what writes to the stream less by 2 x layers; of the embedding 1 / width."""
    config = load_config(str(ROOT / "configs" / "pocket_model.py"), ["decoder.num_layers=2"])
    params = flat_params(nnx.state(pretrain.make_decoder(config), nnx.Param))
    expected = {"blocks.q.kernel": 128**-0.5, "blocks.o.kernel": 128**-0.5 / 2, "blocks.down.kernel": 352**-0.5 / 2}
    for name, spread in (expected | {"embedding": 128**-0.5}).items():
        assert abs(float(params[name].std()) / spread - 1) < 0.02, name
    assert bool((params["final_norm.scale"] == 1).all() and (params["blocks.mlp_norm.scale"] == 1).all())


def test_documents_are_encoded_as_the_chat_template_does():
    folder = pocket_model_folder()
    encoder = PromptEncoder(str(folder))
    texts = list(documents(5, 60))
    for row, text in zip(pretrain.encode_documents(str(folder / "tokenizer.json"), texts), texts, strict=True):
        messages = ({"role": "user", "content": text.prompt},)
        assert row.prompt_ids == encoder.encode_prompt(messages)
        assert row.response_ids == encoder.encode_response(messages, text.response)
