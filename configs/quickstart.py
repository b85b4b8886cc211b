"""The whole recipe on the model and tasks that ship with the project: about five minutes on two CPU cores.

    s3ft run --config=configs/quickstart.py --workdir=runs/quickstart
    s3ft run --config=configs/quickstart.py:task=reading,seeds=5 --workdir=runs/reading

Learning rate and steps are chosen per task and method on the validation split (``CHOSEN``), as ``s3ft compare`` does.
What was measured, and every choice made after seeing results: benchmarks/RESULTS.md.
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
    "Learning rate and steps of each method were chosen on the validation split, with gold in the mid style, from one "
    "grid (3e-4, 1e-3, 2e-3; 50 and 100 steps) by a rule fixed beforehand: within one standard error of the best the "
    "fewest steps, then the lowest rate. General skills were not looked at.",
    "The rule's standard error of a perfect score was 0 at first. It was corrected (two successes and two failures "
    "added) after results of this model on programs had been seen; one choice changed: S3FT on programs, 1e-3 to 3e-4.",
    "The negative control (gold near the model's own style) gives every method the rate and steps of S3FT. At first "
    "each had its own, and SFT's higher rates alone made S3FT look better there; changed after those results.",
    "A later experiment (benchmarks/pocket) had lower rates and more steps in its grid. On programs it took 3e-4 and "
    "200 steps for SFT, which then lost 1.4 points of general skill at the same target; its rate here makes that loss "
    "larger.",
)
"""Disclosures, printed in the report as they are."""
CHOSEN = {
    "arithmetic": {"sft": (1e-3, 100), "ssr": (1e-3, 100), "sdft": (3e-4, 100), "s3ft": (3e-4, 100)},
    "programs": {"sft": (1e-3, 100), "ssr": (1e-3, 100), "sdft": (1e-3, 100), "s3ft": (3e-4, 100)},
    "reading": {"sft": (3e-4, 50), "ssr": (2e-3, 50), "sdft": (3e-4, 50), "s3ft": (3e-4, 50)},
}
"""Task -> method -> (peak learning rate, optimizer steps), chosen on the validation split: benchmarks/RESULTS.md."""


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
