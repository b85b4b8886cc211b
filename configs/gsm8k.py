"""GSM8K with any Hugging Face Llama-family model, SFT against SSR, SDFT and S3FT.

    s3ft run --config=configs/gsm8k.py:model=FOLDER_OR_HUB_ID --workdir=runs/gsm8k

Data: the hub's openai/gsm8k, or local files with ``data=FOLDER`` (train.jsonl and test.jsonl). LoRA 8 / 16 / 0.1 is the
paper's (by way of digests); learning rate, steps and batch size are ours, since the paper does not print them. Every
model is put through the paper's general benchmarks (pip install 's3ft_jax[eval]', or ``benchmarks=off``). Not yet run
at full size by us.
"""

from ml_collections import ConfigDict

from configs.defaults import defaults, parse_arg

BENCHMARKS = ("mmlu", "truthfulqa_mc2", "hellaswag", "winogrande")
"""S3FT's general benchmarks (by way of digests); lm-eval's names, number of shots and prompts are ours."""


def get_config(arg: str = "") -> ConfigDict:
    """Arguments: ``model``, ``data``, ``limit`` (rows per split), ``tune=lora|full``, ``seeds=N``, and ``benchmarks``:
    ``hub``, a folder of local copies, or ``off``."""
    args = parse_arg(arg, model="", data="", limit=0, tune="lora", seeds=1, benchmarks="hub")
    config = defaults()
    config.model.path = args.model
    config.task.name = "gsm8k"
    config.task.data = args.data
    config.task.limit = args.limit
    config.general.tasks = ()
    config.benchmark.tasks = () if args.benchmarks == "off" else BENCHMARKS
    config.benchmark.data = "" if args.benchmarks in ("off", "hub") else args.benchmarks
    config.report.reference = "gsm8k"
    config.train.tune = args.tune
    config.train.seeds = tuple(range(args.seeds))
    config.train.learning_rate = 1e-4 if args.tune == "lora" else 1e-5
    config.train.num_epochs = 3.0  # 1,354 steps over 7,217 questions
    config.train.max_length = 1024
    return config
