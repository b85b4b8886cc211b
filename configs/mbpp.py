"""MBPP with any Hugging Face model, SFT against SSR, SDFT and S3FT.

    s3ft run --config=configs/mbpp.py:model=mistral-7b-instruct-v0.2 --workdir=runs/mbpp

Data: the hub's google-research-datasets/mbpp, or a local file with ``data=mbpp.jsonl``. Models, settings and what of
them is ours as in configs/gsm8k.py; five passes over the data are ours, too. Not yet run at full size by us.
"""

from ml_collections import ConfigDict

from configs import gsm8k


def get_config(arg: str = "") -> ConfigDict:
    """Arguments as in configs/gsm8k.py."""
    config = gsm8k.get_config(arg)
    config.task.name = config.report.reference = "mbpp"
    config.train.num_epochs = 5.0  # 117 steps over 374 questions
    return config
