"""Your own data, your own model, your own judge.

    s3ft run --config=configs/custom.py:data=train.jsonl,judge=numbers,model=FOLDER --workdir=runs/mine

``data`` is a .jsonl, .json, .csv or .parquet file (the first three also .gz), a folder, a Hugging Face data set id, or
tfds:name/config. Columns are found (messages; conversations; prompt + completion, response or answer; question +
answer; instruction + output or response; input) or mapped by
``--config.task.columns.question=query --config.task.columns.answer=reply``. ``judge`` is numbers, expressions,
programs, answers, exact, choice, model, my_module:my_judge or put together, as ``first(numbers, model)``. One file is
divided into train, validation and test by a rule from a seed; ``--config.task.splits.test=test.jsonl`` gives a split a
file of its own. A step takes 16 examples: 8,000 training questions are gone through once in 500 ``steps``, or with
``epochs=1``. What is lost elsewhere is measured by ``--config.benchmark.tasks=mmlu,hellaswag`` (any of lm-eval's).
"""

from ml_collections import ConfigDict

from configs.defaults import defaults, parse_arg
from s3ft_jax.config import ConfigError


def get_config(arg: str = "") -> ConfigDict:
    """Arguments: ``data``, ``judge``, ``model`` (default pocket), ``tune=full|lora``, ``steps=N`` or ``epochs=X``,
    ``seeds=N``."""
    args = parse_arg(arg, data="", judge="", model="pocket", tune="full", steps=100, epochs=0.0, seeds=1)
    if not args.data or not args.judge:
        raise ConfigError("configs/custom.py needs data and judge: configs/custom.py:data=train.jsonl,judge=numbers")
    config = defaults()
    config.model.path = args.model
    config.task.name = "custom"
    config.task.data = args.data
    config.judge.name = args.judge
    config.general.tasks = ("pocket/skills",) if args.model == "pocket" else ()
    config.replay.task = "pocket/skills" if args.model == "pocket" else ""
    config.sample.max_new_tokens = 96 if args.model == "pocket" else 512
    config.evaluate.max_new_tokens = config.sample.max_new_tokens
    config.train.tune = args.tune
    config.train.num_steps = args.steps
    config.train.num_epochs = args.epochs
    config.train.seeds = tuple(range(args.seeds))
    config.train.max_length = 256 if args.model == "pocket" else 1024
    config.train.learning_rate = 1e-3 if args.model == "pocket" else 1e-5
    return config
