"""tuned_model: found by its name, dropped by the first process, and loaded in the middle of a run by its step."""

import numpy as np
import pytest
from flax import nnx

from s3ft_jax import checkpoints, sharding
from s3ft_jax.processes import Processes
from s3ft_jax.stages import tuned_model
from s3ft_jax.workdir import Workdir, WorkdirError


def test_a_dropped_model_is_known_not_to_be_kept_and_its_metrics_stay(copied):
    _, workdir = copied
    where = workdir / tuned_model.folder("s3ft", 0)
    second = Workdir(str(workdir.path), Processes(1, 2))
    assert tuned_model.is_kept(workdir, "s3ft", 0) and tuned_model.is_kept(workdir, "s3ft", 7), "or not trained yet"
    tuned_model.drop(second, "s3ft", 0)
    assert tuned_model.is_kept(workdir, "s3ft", 0), "of several processes the first removes"
    tuned_model.drop(workdir, "s3ft", 0)
    assert not tuned_model.is_kept(workdir, "s3ft", 0) and (where / "metrics.jsonl").exists()
    with pytest.raises(checkpoints.CheckpointError):
        tuned_model.load(workdir, "s3ft", 0)


def test_in_the_middle_of_a_run_the_step_must_be_the_newest(copied):
    _, workdir = copied
    mesh = sharding.make_mesh(2, 1, 2)
    whole, cut = (nnx.state(tuned_model.load_at(workdir, "s3ft", 0, 4, place)) for place in (None, mesh))
    for one, other in zip(nnx.to_flat_state(whole), nnx.to_flat_state(cut), strict=True):
        np.testing.assert_array_equal(one[1][...], other[1][...])
        assert other[1][...].sharding.mesh == mesh
    with pytest.raises(WorkdirError, match="a round begins at step 2, but the newest checkpoint is of step 4"):
        tuned_model.load_at(workdir, "s3ft", 0, 2)
