"""Unanswerable questions, the setting of SSR: a right refusal is right, a false refusal is wrong.

    s3ft run --config=configs/unanswerable.py:model=FOLDER_OR_HUB_ID,data=dev-v2.0.json --workdir=runs/unanswerable
    s3ft run --config=configs/unanswerable.py:model=FOLDER_OR_HUB_ID,data=rows.csv --workdir=runs/doc2dial \\
        --config.task.unanswerable_frac=0.5 --config.train.max_length=3072
    s3ft run --config=configs/unanswerable.py:model=FOLDER_OR_HUB_ID,data=multidoc2dial --workdir=runs/multidoc2dial \\
        --config.train.max_length=5120 "--config.judge.name=any(answers, model)"

train.max_length is 1,024 tokens, enough for SQuAD (longest example 599 in SmolLM2's tokens). Doc2Dial's pages take up
to about 2,600 and MuSiQue's up to 4,800: give 3072 and 5120, or train.too_long=drop; the stage ``measure`` says so
before anything is sampled.

Data: SQuAD 2.0, or what configs/reading.py reads, of whose questions a share is made unanswerable. SSR tunes on
MultiDoc2Dial and Natural Questions and tests on MuSiQue, too; its share of unanswerable questions is not known to us.
MultiDoc2Dial is read from the folder that its archive unpacks to (s3ft_jax/tasks/multidoc2dial.py). It marks its
unanswerable questions itself; its answers are whole sentences, for which a model is the better judge.

Judged by a rule: a response that declines is found by its phrases (s3ft_jax/judges/refusals.py), an answer is right
from a token F1 of task.min_f1 (0.6, ours) with an accepted one. S3FT has the model that is tuned judge its answers on
Natural Questions: --config.judge.name=model puts a model in the rule's place, 'any(answers, model)' behind it.

Models and settings as in configs/gsm8k.py. No number of SSR's training is known to us, LoRA's neither: all settings are
ours, 900 steps among them, which ``NOTES`` says in the report. Not yet run at full size by us.
"""

from ml_collections import ConfigDict

from configs import gsm8k

NOTES = (
    "Of SSR's training and sampling no number is known here, only that it tuned Mistral 7B Instruct with LoRA: all "
    "settings are this project's. LoRA's rank, alpha and dropout are S3FT's (8, 16, 0.1).",
)
"""Disclosures, printed in the report as they are."""


def get_config(arg: str = "") -> ConfigDict:
    """Arguments as in configs/gsm8k.py."""
    config = gsm8k.get_config(arg)
    config.task.name = "unanswerable"
    config.report.reference = "ssr"
    config.report.notes = NOTES
    # SSR's general benchmarks: GSM8K in the place of S3FT's WinoGrande
    config.benchmark.tasks = ("mmlu", "truthfulqa_mc2", "gsm8k", "hellaswag") if config.benchmark.tasks else ()
    config.train.num_epochs = 0.0
    config.train.num_steps = 900
    return config
