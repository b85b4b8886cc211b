"""Weight rows as data."""

from s3ft_jax.models.families.rows import Row, WeightMap


def test_a_stacked_row_names_one_tensor_per_layer():
    row = Row("model.layers.{i}.q.weight", "blocks.q.kernel", "transpose")
    assert row.stacked
    assert [row.tensor_name(layer) for layer in (0, 11)] == ["model.layers.0.q.weight", "model.layers.11.q.weight"]


def test_turn_is_its_own_inverse():
    transpose, same = Row("a", "b", "transpose"), Row("a", "b")
    assert transpose.turn((3, 5)) == (5, 3)
    assert transpose.turn(transpose.turn((3, 5))) == (3, 5)
    assert same.turn((3, 5)) == (3, 5)
    assert not same.stacked


def test_ignored_patterns_match_whole_names_and_digits_only():
    weight_map = WeightMap((), ignored=("model.layers.{i}.rotary.inv_freq",))
    assert weight_map.ignores("model.layers.12.rotary.inv_freq")
    assert not weight_map.ignores("model.layers.x.rotary.inv_freq")
    assert not weight_map.ignores("model.layers.1.rotary.inv_freq.extra")
    assert not weight_map.ignores("modelxlayersx1xrotaryxinv_freq")
