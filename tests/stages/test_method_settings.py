"""method_settings: a method's settings lie on the shared ones, and what cannot be is refused before any work."""

import pytest

from s3ft_jax.losses import Loss
from s3ft_jax.stages import method_settings
from s3ft_jax.training import Optimizer, OptimizerError, Schedule
from s3ft_jax.tuning import TrackerError
from s3ft_jax.workdir import WorkdirError
from small import small_config


def test_settings_of_one_method_lie_on_top_of_the_shared_ones():
    config = small_config("train.per_method={'sft': {'learning_rate': 0.5, 'loss': {'kl': 0.1}}}")
    sft, s3ft = (method_settings.method_settings(config, method) for method in ("sft", "s3ft"))
    assert (sft["learning_rate"], s3ft["learning_rate"]) == (0.5, config.train.learning_rate)
    assert sft["loss"] == {**s3ft["loss"], "kl": 0.1}, "what is not named of a section stays"


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("{'learning_rat': 0.5}", r"train\.per_method\.sft: \['learning_rat'\] are not settings of train"),
        ("{'lora': {'rnk': 1}}", r"train\.per_method\.sft\.lora: \['rnk'\]"),
    ],
)
def test_a_setting_of_one_method_that_is_none_is_refused(own, message):
    with pytest.raises(WorkdirError, match=message):
        method_settings.method_settings(small_config(f"train.per_method={{'sft': {own}}}"), "sft")


def test_the_rooms_get_what_the_config_says():
    config = small_config(
        "train.optimizer=lion", "train.b1=0.5", "train.weight_decay=0.25", "train.decay_on=('embedding',)",
        "train.ema_decay=0.75", "train.schedule=cosine", "train.learning_rate=0.5", "train.num_steps=9",
        "train.loss.dft=True", "train.loss.kl=0.5", "train.loss.z_loss=0.125", "train.loss.label_smoothing=0.25",
    )  # fmt: skip
    settings = method_settings.method_settings(config, "sft")
    expected = Optimizer("lion", 0.5, 0.99, 1e-8, 0.25, ("embedding",), 1.0, 0.75)
    assert method_settings.optimizer(settings) == expected
    assert method_settings.schedule(settings) == Schedule(0.5, 9, "cosine", config.train.warmup_frac)
    assert method_settings.loss(settings) == Loss(True, 0.25, 0.125, 0.5)


def test_trackers_change_nothing_that_is_trained():
    before, after = (
        method_settings.settling(method_settings.method_settings(small_config(*more), "sft"))
        for more in ((), ("train.trackers=('wandb',)", "train.wandb_project=mine", "train.keep=5"))
    )
    assert before == after


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (
            ["train.tune=lora", "train.lora.targets=('q_proj',)"],
            ValueError,
            "'q_proj' is Hugging Face's name, here it is q",
        ),
        (["train.tune=lora", "train.lora.base_dtype=int4"], ValueError, r"lora\.base_dtype: 'int4'"),
        (["train.optimizer=adam"], OptimizerError, r"train\.optimizer = 'adam'"),
        (["train.schedule=step"], OptimizerError, r"train\.schedule = 'step'"),
        (["train.freeze=('embed',)"], OptimizerError, r"train\.freeze: 'embed' names none of"),
        (["train.loss.average=row"], WorkdirError, r"train\.loss\.average = 'row'; choose token or example"),
        (["train.loss.kl=-1.0"], WorkdirError, r"train\.loss\.kl = -1\.0"),
        (["train.loss.label_smoothing=1.0"], WorkdirError, r"train\.loss\.label_smoothing = 1\.0"),
        (["train.trackers=('mlflow',)"], TrackerError, r"train\.trackers: \['mlflow'\]"),
        (["train.validate.use_best=loss", "train.validate.every=1"], WorkdirError, r"use_best = 'loss'; choose from"),
        (["train.validate.use_best=validation_loss"], WorkdirError, r"needs train\.validate\.every above 0"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(walked, overrides, error, message):
    _, workdir = walked
    with pytest.raises(error, match=message):
        method_settings.check_settings(small_config(*overrides), workdir)
