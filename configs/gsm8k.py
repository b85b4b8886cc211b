"""GSM8K with any Hugging Face model, SFT against SSR, SDFT and S3FT.

    s3ft run --config=configs/gsm8k.py:model=mistral-7b-instruct-v0.2 --workdir=runs/gsm8k
    s3ft run --config=configs/gsm8k.py:model=FOLDER_OR_HUB_ID --workdir=runs/gsm8k

Data: the hub's openai/gsm8k, or local files with ``data=FOLDER`` (train.jsonl and test.jsonl). Every model is put
through the paper's general benchmarks (pip install 's3ft_jax[eval]', or ``benchmarks=off``). Not yet run at full size
by us.

``model=mistral-7b-instruct-v0.2`` (``MODELS``) is the papers' model: it stands for its hub id, and sets what a model of
that size needs on an accelerator, which ``s3ft plan`` shows: model.dtype=bfloat16, train.activation_dtype=bfloat16 and
train.remat=full. By its estimates adapters then take 23.3 of the 27.9 GiB that JAX takes of one GPU of 40 GB, and on a
TPU v5e-8, with --config.mesh.fsdp=8, 4.5 of 15.8 GiB a chip (sampling 13.3). A folder or hub id sets nothing of the
kind: all is float32 then, and nothing is recomputed.

Of training the paper prints no more than LoRA of rank 8, alpha 16, dropout 0.1 (by way of digests). All else is ours:
the adapters' targets (q, v), AdamW, the rate (1e-4, all parameters 1e-5), its linear schedule with 10 % warmup, the
passes over the data, 16 examples a step, rows of 1,024 tokens, one response at temperature 0.7 of at most 512 tokens,
the prompts' wording, the seeds, and shots and prompts of the general benchmarks. ``NOTES`` says so in the report.

``s3ft compare`` has sft with 1 % general rows beside the methods (``sft-replay``). They are databricks-dolly-15k of the
hub (15,011 rows written by people, CC BY-SA 3.0; our choice), fetched only where a method replays; ``replay=`` another
hub id or a file with columns that ``configs/custom.py`` reads, or ``off``.
"""

import pathlib

from ml_collections import ConfigDict

from configs.defaults import defaults, parse_arg

MODELS = {"mistral-7b-instruct-v0.2": "mistralai/Mistral-7B-Instruct-v0.2"}
"""Short name -> hub id of the papers' models."""
BENCHMARKS = ("mmlu", "truthfulqa_mc2", "hellaswag", "winogrande")
"""S3FT's general benchmarks (by way of digests); lm-eval's names, number of shots and prompts are ours."""
REPLAYED = "databricks/databricks-dolly-15k"
NOTES = (
    "Of training and sampling the paper prints, as far as is known here, LoRA's rank, alpha and dropout (8, 16, 0.1) "
    "and nothing else: the adapters' targets, optimizer, rate, schedule, warmup, steps, batch, lengths, temperature, "
    "limits of new tokens and the prompts' wording are this project's.",
)
"""Disclosures, printed in the report as they are."""


def get_config(arg: str = "") -> ConfigDict:
    """Arguments: ``model`` (one of ``MODELS``, a folder or a hub id), ``data``, ``limit`` (rows per split),
    ``tune=lora|full``, ``seeds=N``, ``benchmarks``: ``hub``, a folder of local copies, or ``off``; and ``replay``:
    general rows for the methods that replay, a hub id, a file, or ``off``."""
    args = parse_arg(arg, model="", data="", limit=0, tune="lora", seeds=1, benchmarks="hub", replay=REPLAYED)
    config = defaults()
    set_model(config, args.model)
    config.task.name = "gsm8k"
    config.task.data = args.data
    config.task.limit = args.limit
    config.general.tasks = ()
    config.replay.task = "" if args.replay == "off" else "custom"
    config.replay.data = "" if args.replay == "off" else args.replay
    config.replay.bad_rows = "skip"  # there are more than enough; those left out are counted
    config.benchmark.tasks = () if args.benchmarks == "off" else BENCHMARKS
    config.benchmark.data = "" if args.benchmarks in ("off", "hub") else args.benchmarks
    config.report.reference = "gsm8k"
    config.report.notes = NOTES
    config.train.tune = args.tune
    config.train.seeds = tuple(range(args.seeds))
    config.train.learning_rate = 1e-4 if args.tune == "lora" else 1e-5
    config.train.num_epochs = 3.0  # 1,354 steps over 7,217 questions
    config.train.max_length = 1024
    return config


def set_model(config: ConfigDict, model: str) -> None:
    """The model of a short name, with the settings that fit it on an accelerator; a folder or hub id as it is.

    Args:
      config: changed in place.
      model: a key of ``MODELS`` in any case, a folder or a hub id; a folder goes before a name.
    """
    known = MODELS.get(model.lower()) if not pathlib.Path(model).exists() else None
    config.model.path = known or model
    if known:
        config.model.dtype = config.train.activation_dtype = "bfloat16"
        config.train.remat = "full"
