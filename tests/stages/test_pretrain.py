"""pretrain: a tiny run of the pocket model's recipe, and its ids are those of the chat template."""

import json

from s3ft_jax.config import load_config
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.stages import pretrain
from s3ft_jax.stages.launch import pocket_model_folder
from s3ft_jax.tasks.pocket.pretraining import documents
from s3ft_jax.workdir import Workdir
from small import ROOT

TINY = [
    "order=first,last",
    "phases.first.num_documents=2500",
    "phases.first.num_steps=3",
    "phases.last.num_documents=200",
    "phases.last.num_steps=2",
    "rows_per_step=2",
    "save_every=2",
    "decoder.num_layers=1",
    "decoder.model_dim=8",
    "decoder.mlp_dim=8",
    "decoder.head_dim=2",
]


def test_a_tiny_run_writes_a_model_folder_and_resumes(tmp_path):
    config = load_config(str(ROOT / "configs" / "pocket_model.py"), TINY)
    workdir = Workdir(str(tmp_path))
    pretrain.run(config, workdir)
    values = json.loads((workdir / "model/config.json").read_text())
    assert values["model_type"] == "llama" and values["vocab_size"] == 1024
    weights = (workdir / "model/model.safetensors").read_bytes()
    (workdir / "manifests/pretrain.json").unlink()
    (workdir / "checkpoints/last").rmtree()
    pretrain.run(config, workdir)
    assert (workdir / "model/model.safetensors").read_bytes() == weights


def test_documents_are_encoded_as_the_chat_template_does():
    folder = pocket_model_folder()
    encoder = PromptEncoder(str(folder))
    texts = list(documents(5, 60))
    for row, text in zip(pretrain.encode_documents(str(folder / "tokenizer.json"), texts), texts, strict=True):
        messages = ({"role": "user", "content": text.prompt},)
        assert row.prompt_ids == encoder.encode_prompt(messages)
        assert row.response_ids == encoder.encode_response(messages, text.response)
