"""How many training questions there are, for settings that count passes over them (``train.num_epochs``)."""

from __future__ import annotations

from ml_collections import ConfigDict

from s3ft_jax.workdir import Workdir

PREPARED = "prepare"


def fill_in(config: ConfigDict, workdir: Workdir) -> None:
    """Write their number into ``train.num_questions``, in place; nothing before they are prepared."""
    manifest = workdir.manifest(PREPARED)
    if manifest is not None and "train" in config:
        config.train.num_questions = manifest["facts"]["intake"]["train"]["used"]
