"""GSM8K with any Hugging Face Llama-family model, SFT against SSR, SDFT and S3FT.

    s3ft run --config=configs/gsm8k.py:model=FOLDER_OR_HUB_ID --workdir=runs/gsm8k

Data: the hub's openai/gsm8k, or local files with ``data=FOLDER`` (train.jsonl and test.jsonl). LoRA 8 / 16 / 0.1 is the
paper's (by way of digests); learning rate, steps and batch size are ours, since the paper does not print them. Not yet
run at full size by us.
"""

from ml_collections import ConfigDict

from configs.defaults import defaults, parse_arg


def get_config(arg: str = "") -> ConfigDict:
    """Arguments: ``model``, ``data``, ``limit`` (rows per split), ``tune=lora|full``, ``seeds=N``."""
    args = parse_arg(arg, model="", data="", limit=0, tune="lora", seeds=1)
    config = defaults()
    config.model.path = args.model
    config.task.name = "gsm8k"
    config.task.data = args.data
    config.task.limit = args.limit
    config.general.tasks = ()
    config.train.tune = args.tune
    config.train.seeds = tuple(range(args.seeds))
    config.train.learning_rate = 1e-4 if args.tune == "lora" else 1e-5
    config.train.num_steps = 1400  # 3 passes over 7,217 questions in batches of 16
    config.train.max_length = 1024
    return config
