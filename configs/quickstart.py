"""The whole recipe on the model and tasks that ship with the project: about five minutes on two CPU cores.

    s3ft run --config=configs/quickstart.py --workdir=runs/quickstart
    s3ft run --config=configs/quickstart.py:task=reading,seeds=5 --workdir=runs/reading

Learning rates and steps per method were chosen on the validation split by benchmarks/sweep.py; the table is in
benchmarks/RESULTS.md.
"""

from ml_collections import ConfigDict

from configs.defaults import defaults, parse_arg
from s3ft_jax.config import ConfigError

TASKS = ("arithmetic", "programs", "reading")


def get_config(arg: str = "") -> ConfigDict:
    """Arguments: ``task=arithmetic|programs|reading``, ``seeds=N``, ``gold=near|mid|far``."""
    args = parse_arg(arg, task="programs", seeds=2, gold="mid")
    if args.task not in TASKS:
        raise ConfigError(f"task={args.task}: choose from {', '.join(TASKS)}")
    config = defaults()
    config.model.path = "pocket"
    config.task.name = f"pocket/{args.task}"
    config.task.gold_style = args.gold
    config.task.num_train = 1024
    config.task.num_validation = 512
    config.task.num_test = 600
    config.sample.temperature = 0.7
    config.sample.max_new_tokens = 96
    config.sample.num_slots = 128
    config.evaluate.max_new_tokens = 96
    config.train.seeds = tuple(range(args.seeds))
    config.train.num_examples = 768
    config.train.num_steps = 100
    config.train.batch_size = 16
    config.train.max_length = 192
    config.train.learning_rate = 1e-3
    return config
