"""Reading comprehension with any Hugging Face model: a passage, a question, an answer from the passage.

    s3ft run --config=configs/reading.py:model=FOLDER_OR_HUB_ID,data=train-v1.1.json --workdir=runs/reading

Data: SQuAD, Natural Questions with their passages (MRQA's or Google's simplified layout), Doc2Dial, MultiDoc2Dial (its
folder), MuSiQue, or rows with context, question and answers (s3ft_jax/tasks/passages.py, multidoc2dial.py). S3FT tunes
on Natural Questions; which variant, with what passages, is not known to us.

S3FT has the model that is tuned judge its answers on Natural Questions. Here a rule stands in its place: an answer is
right from a token F1 of task.min_f1 (0.6, ours) with an accepted one, which is why prompts ask for few words. The model
judges with --config.judge.name=model, or with 'any(answers, model)' where the rule finds no match.

Passages longer than SQuAD's need a larger --config.train.max_length; see configs/unanswerable.py.

Models, settings and what of them is ours as in configs/gsm8k.py; 1,200 steps are ours, too. Not yet run at full size by
us.
"""

from ml_collections import ConfigDict

from configs import gsm8k


def get_config(arg: str = "") -> ConfigDict:
    """Arguments as in configs/gsm8k.py."""
    config = gsm8k.get_config(arg)
    config.task.name = "reading"
    config.report.reference = "nq"
    config.train.num_epochs = 0.0
    config.train.num_steps = 1200
    return config
