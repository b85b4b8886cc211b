"""The whole recipe on the model and tasks that ship with the project: a few minutes on two CPU cores.

    s3ft run --config=configs/quickstart.py --workdir=runs/quickstart
    s3ft run --config=configs/quickstart.py:task=reading,seeds=5 --workdir=runs/reading

Learning rate and steps are chosen per task and method on the validation split (``CHOSEN``), as ``s3ft compare`` does.
What was measured, and every choice made after seeing results: benchmarks/pocket/README.md, benchmarks/RESULTS.md.
"""

from ml_collections import ConfigDict

from configs.defaults import defaults, parse_arg
from s3ft_jax.config import ConfigError

DISCLOSED = (
    "The model and the tasks are made up and tiny; the sizes of the effects are not comparable with the papers'.",
    "The model was taught to paraphrase during pretraining; methods that use paraphrases profit from that.",
    "This is the second model shipped. Its pretraining recipe was made after tunings of the first one had been seen; "
    "trials of it were judged by loss and by the untuned model's scores.",
    "The share of never-met words in reading was lowered after seeing the first model's score (34 % right on training "
    "questions, wanted 40 to 70 %), before any tuning on reading was run.",
    "All truth questions and up to half of the dates questions occur in pretraining: there are few of them.",
)
"""Disclosures about model and tasks, printed in every report on them."""
NOTES = (
    *DISCLOSED,
    "Learning rate and steps of each method are those that its own validation scores chose in the experiment on the "
    "pocket suite (configs/pocket.py, benchmarks/pocket), with gold in the mid style: of one grid (1e-4, 3e-4, 1e-3; "
    "100 and 200 steps) the gentlest within one standard error of the best. General skills had no say. There four own "
    "answers were sampled to each question, here one.",
    "Until that experiment they came from another grid of six settings by a rule that took the fewest steps first. On "
    "programs SFT then had a rate at which it lost 8.0 points of general skill, in place of 1.4 at the same target: "
    "the change is in favour of S3FT's rivals there; on reading SFT loses 10.1 now, in place of 5.0.",
    "The negative control (gold near the model's own style) gives every method the rate and steps of S3FT. At first "
    "each had its own, and SFT's higher rates alone made S3FT look better there; changed after those results.",
)
"""Disclosures, printed in the report as they are."""
CHOSEN = {
    "arithmetic": {"sft": (3e-4, 200), "ssr": (1e-3, 200), "sdft": (1e-4, 200), "s3ft": (1e-4, 200)},
    "programs": {"sft": (3e-4, 200), "ssr": (1e-3, 200), "sdft": (3e-4, 100), "s3ft": (3e-4, 100)},
    "reading": {"sft": (3e-4, 200), "ssr": (1e-4, 100), "sdft": (1e-4, 100), "s3ft": (1e-4, 100)},
}
"""Task -> method -> (peak learning rate, optimizer steps), chosen by validation score: benchmarks/pocket/README.md."""


def get_config(arg: str = "") -> ConfigDict:
    """Arguments: ``task=arithmetic|programs|reading``, ``seeds=N``, ``gold=near|mid|far`` (near: the control).

    In the control all methods have S3FT's rate and steps.
    """
    args = parse_arg(arg, task="programs", seeds=2, gold="mid")
    if args.task not in CHOSEN:
        raise ConfigError(f"task={args.task}: choose from {', '.join(CHOSEN)}")
    config = defaults()
    config.model.path = "pocket"
    config.task.name = f"pocket/{args.task}"
    config.task.gold_style = args.gold
    config.task.num_train = 1024
    config.task.num_validation = 512
    config.task.num_test = 600
    config.replay.task = "pocket/skills"  # other questions of the general skills than those measured
    config.sample.temperature = 0.7
    config.sample.max_new_tokens = 96
    config.evaluate.max_new_tokens = 96
    config.train.seeds = tuple(range(args.seeds))
    config.train.num_examples = 768
    config.train.num_steps = 100
    config.train.batch_size = 16
    config.train.max_length = 192
    config.train.learning_rate = 1e-3  # of other methods than these four
    chosen = CHOSEN[args.task]
    if args.gold == "near":  # the control: gold's style is all that may differ between methods
        chosen = dict.fromkeys(chosen, chosen["s3ft"])
    for method, (rate, steps) in chosen.items():
        config.train.per_method[method] = ConfigDict({"learning_rate": rate, "num_steps": steps})
    config.report.notes = NOTES
    return config
