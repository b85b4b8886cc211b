"""Stage: make the pocket model. Documents -> tokenizer -> packed batches -> pretraining -> a Hugging Face folder.

The same batches, loss, step and checkpoints as fine-tuning. Run by ``s3ft pretrain --config=configs/pocket_model.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict

from s3ft_jax import batches, training, tuning
from s3ft_jax.models.config import DecoderConfig, Rope
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.progress import say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Selection
from s3ft_jax.storage import is_remote
from s3ft_jax.workdir import Workdir, WorkdirError

_TOKENIZER_TEXTS = 40_000


def encode_documents(tokenizer_file: str, documents: Sequence[Any]) -> list[Selection]:
    """Documents -> trained rows, with the ids that the chat template would give (a test compares them)."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokenizer_file)
    prompts = tokenizer.encode_batch([f"<u> {document.prompt}<a>" for document in documents])
    responses = tokenizer.encode_batch([f" {document.response}<e>" for document in documents])
    return [
        Selection(f"{i:07d}", "pretrain", "gold", None, "", tuple(prompt.ids), tuple(response.ids), "pretraining")
        for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True))
    ]


def make_decoder(config: ConfigDict) -> Decoder:
    """A new decoder of the recipe's size, started from its seed."""
    sizes = config.decoder.to_dict()
    rope = Rope(theta=sizes.pop("rope_theta"))
    architecture = DecoderConfig(vocab_size=config.vocab_size, ropes=(rope,), tie_embeddings=True, **sizes)
    decoder = Decoder(architecture, rngs=nnx.Rngs(config.seed))
    nnx.update(decoder, start_values(nnx.state(decoder, nnx.Param), architecture))
    return decoder


def start_values(params: nnx.State, architecture: DecoderConfig) -> nnx.State:
    """The decoder's normal(0.02) values, scaled to the model's width; norms stay at 1.

    Every projection has variance 1 / inputs (LeCun et al., Efficient BackProp, 1998, section 4.6); the two that write
    to the stream are smaller by (2 x layers)^-0.5 (GPT-2: Radford et al., 2019, section 2.3); the embedding, which is
    the head too, has variance 1 / width. With 0.02 for all, a narrow model begins much too quietly.
    """

    def spread(path: str, shape: tuple[int, ...]) -> float:
        if path == "embedding":
            return shape[-1] ** -0.5
        written = path.split("/")[-2] in ("o", "down")
        return shape[-2] ** -0.5 * ((2 * architecture.num_layers) ** -0.5 if written else 1.0)

    def scaled(path: tuple[Any, ...], value: jax.Array) -> jax.Array:
        name = "/".join(str(part) for part in path)
        return value if "norm" in name else value * (spread(name, value.shape) / 0.02)

    flat = nnx.to_flat_state(params)
    return nnx.from_flat_state([(path, param.replace(scaled(path, param[...]))) for path, param in flat])


def run(config: ConfigDict, workdir: Workdir, *, redo: bool = False) -> None:
    """Pretrain, resuming from the newest checkpoint, and write ``model/``."""
    from s3ft_jax.tasks.pocket.pretraining import documents
    from s3ft_jax.tasks.pocket.tokenizer import train_tokenizer

    if is_remote(workdir.path):
        raise WorkdirError(f"--workdir={workdir.path}: a model is pretrained into a folder of this machine; name one.")
    with workdir.stage("pretrain", settings=config.to_dict(), writes=["model", "checkpoints"], redo=redo) as stage:
        if not stage.needed:
            return say(f"pretrain: already done in {workdir.path / 'model'}")
        model = workdir / "model"
        model.mkdir(parents=True, exist_ok=True)
        texts = documents(config.seed, min(_TOKENIZER_TEXTS, config.num_documents))
        train_tokenizer((f" {t.prompt}\n {t.response}" for t in texts), str(model), config.vocab_size)
        write_model(pretrain(config, workdir, stage.facts), model)


def pretrain(config: ConfigDict, workdir: Workdir, facts: dict[str, Any]) -> Decoder:
    """The decoder after all steps; ``facts`` gets what there was to read."""
    from s3ft_jax.tasks.pocket.pretraining import documents

    rows: list[Selection] = []
    facts["devices"] = str(jax.devices())

    def batches_from(first: int) -> Iterator[batches.Batch]:
        if first >= config.num_steps:
            return
        say(f"pretrain: making {config.num_documents} documents")
        texts = list(documents(config.seed, config.num_documents))
        rows.extend(encode_documents(str(workdir / "model" / "tokenizer.json"), texts))
        plan = batches.plan_batches(
            rows,
            row_length=config.max_length,
            num_steps=config.num_steps,
            seed=config.seed,
            rows_per_step=config.rows_per_step,
            too_long="drop",
        )
        facts.update(dropped=len(plan.dropped), fill=plan.fill)
        say(f"pretrain: {len(plan.dropped)} documents above {config.max_length} tokens left out; fill {plan.fill:.1%}")
        for step in range(first, config.num_steps):
            yield training.split_micro(batches.build_batch(plan, step, rows), 1)

    moving, rates = ("b1", "b2", "eps", "weight_decay", "clip_norm"), ("warmup_frac", "flat_frac", "final_frac")
    optimizer = training.Optimizer(**{key: config[key] for key in moving})
    schedule = training.Schedule(config.learning_rate, config.num_steps, **{key: config[key] for key in rates})
    parts = training.take_apart(make_decoder(config), "full")
    settings = tuning.RunSettings(
        "pretrain", optimizer, schedule, tuning.Saving(config.save_every), config.seed, config.num_steps
    )
    state, _, facts["tokens"] = tuning.tune(parts, workdir / "checkpoints", batches_from, settings)
    return nnx.merge(parts.graphdef, state.trainable, parts.frozen)


def write_model(decoder: Decoder, folder: Any) -> None:
    """The decoder as a Hugging Face Llama: config.json, weights and generation config beside the tokenizer's files."""
    from s3ft_jax.models import families, weights

    sizes = decoder.config
    values = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": sizes.vocab_size,
        "hidden_size": sizes.model_dim,
        "intermediate_size": sizes.mlp_dim,
        "num_hidden_layers": sizes.num_layers,
        "num_attention_heads": sizes.num_heads,
        "num_key_value_heads": sizes.num_kv_heads,
        "head_dim": sizes.head_dim,
        "max_position_embeddings": sizes.max_positions,
        "rms_norm_eps": sizes.norm_eps,
        "rope_theta": sizes.ropes[0].theta,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": None,
        "eos_token_id": PromptEncoder(str(folder)).stop_ids[0],
        "pad_token_id": PromptEncoder(str(folder)).pad_id,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n")
    ends = {"eos_token_id": values["eos_token_id"], "pad_token_id": values["pad_token_id"], "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(ends, indent=2) + "\n")
    architecture, weight_map = families.read_config(values)
    if architecture != sizes:
        raise WorkdirError(f"config.json reads back as another architecture: {architecture} is not {sizes}")
    weights.export(nnx.state(decoder), sizes, weight_map, folder)
    say(f"wrote {folder}")
