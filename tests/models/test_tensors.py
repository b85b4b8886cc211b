"""Tensors of a folder, read in parts and turned round; files that are missing or broken are in test_weights.py."""

import contextlib

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from s3ft_jax.models import tensors
from s3ft_jax.models.tensors import Tensors


@pytest.mark.parametrize("wanted", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("rows", [1, 7, 8, 30])
def test_a_part_is_read_in_place_whatever_is_read_at_a_time(dtype, wanted, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "ROWS_AT_A_TIME", 8)
    matrix = np.random.default_rng(0).normal(size=(40, 6)).astype(dtype)
    save_file({"m": matrix, "v": matrix[:, 0].copy()}, tmp_path / "model.safetensors")
    lines, columns = slice(5, 5 + rows), slice(1, 5)
    stack_of_layers = np.zeros((2, 4, rows), wanted)
    plain, vector = np.zeros((rows, 4), wanted), np.zeros(rows, wanted)
    with contextlib.ExitStack() as stack:
        held = Tensors(tmp_path, stack)
        assert held.names() == {"m", "v"} and held.shape("m") == (40, 6)
        held.read_into(stack_of_layers[1], "m", (lines, columns), turned=True)
        held.read_into(plain, "m", (lines, columns), turned=False)
        held.read_into(vector, "v", (lines,), turned=False)
        np.testing.assert_array_equal(held.read("m"), matrix)
    part = matrix[lines, columns].astype(wanted)
    np.testing.assert_array_equal(stack_of_layers[1], part.T)
    assert not stack_of_layers[0].any()
    np.testing.assert_array_equal(plain, part)
    np.testing.assert_array_equal(vector, matrix[lines, 0].astype(wanted))
