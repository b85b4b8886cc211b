"""Mixtral's and Qwen3-MoE's fields; parity with torch is in test_families.py."""

import pytest
from test_families import SIZES

from s3ft_jax.models.families import UnsupportedModel, read_config


def test_balancing_of_experts_is_left_out_and_noise_is_refused():
    values = {"model_type": "mixtral", **SIZES, "num_local_experts": 4}
    plain, _ = read_config(values)
    assert (plain.num_experts, plain.experts_per_token, plain.normalize_router) == (4, 2, True)
    assert read_config(values | {"router_aux_loss_coef": 0.02, "output_router_logits": True})[0] == plain
    with pytest.raises(
        UnsupportedModel, match=r"router_jitter_noise = 0.1 is not supported: routing here has no noise"
    ):
        read_config(values | {"router_jitter_noise": 0.1})


@pytest.mark.parametrize("changes", [{"decoder_sparse_step": 2}, {"mlp_only_layers": [0]}])
def test_layers_without_experts_are_refused(changes):
    values = {"model_type": "qwen3_moe", **SIZES, "moe_intermediate_size": 8, "num_experts": 9}
    config, _ = read_config(values)
    assert (config.num_experts, config.experts_per_token, config.mlp_dim) == (9, 8, 8)
    with pytest.raises(UnsupportedModel, match="all of them must have experts"):
        read_config(values | changes)
