"""Tensors of a folder, read in parts and turned round; files that are missing or broken are in test_weights.py."""

import contextlib

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from s3ft_jax.models import tensors
from s3ft_jax.models.tensors import Tensors


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("rows", [1, 7, 8, 30])
def test_a_part_is_turned_round_whatever_is_read_at_a_time(dtype, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "TURNED_ROWS", 8)
    matrix = np.arange(40 * 6).reshape(40, 6).astype(dtype)
    save_file({"m": matrix}, tmp_path / "model.safetensors")
    with contextlib.ExitStack() as stack:
        held = Tensors(tmp_path, stack)
        assert held.names() == {"m"} and held.shape("m") == (40, 6)
        turned = held.read_turned("m", (slice(5, 5 + rows), slice(1, 5)))
        np.testing.assert_array_equal(turned, matrix[5 : 5 + rows, 1:5].T)
        np.testing.assert_array_equal(held.read("m", (slice(3, 5), slice(0, 6))), matrix[3:5])
        np.testing.assert_array_equal(held.read("m"), matrix)
    assert turned.dtype == dtype and turned.flags.c_contiguous
