"""Weight rows as data."""

from s3ft_jax.models.families.rows import Row, WeightMap


def test_a_stacked_row_names_one_tensor_per_layer():
    row = Row("model.layers.{i}.q.weight", "blocks.q.kernel", "transpose")
    assert row.leading == 1
    assert [row.tensor_name([layer]) for layer in (0, 11)] == ["model.layers.0.q.weight", "model.layers.11.q.weight"]
    assert Row("a", "b").leading == 0 and Row("a", "b").tensor_name() == "a"


def test_layers_and_experts_are_named_in_order():
    row = Row("layers.{i}.experts.{e}.w1.weight", "blocks.experts.gate", "transpose")
    assert row.leading == 2 and row.tensor_name([3, 7]) == "layers.3.experts.7.w1.weight"


def test_shapes_and_slices_of_tensors():
    transpose, same = Row("a", "b", "transpose"), Row("a", "b")
    assert transpose.tensor_shape((3, 5)) == (5, 3) and same.tensor_shape((3, 5)) == (3, 5)
    rows, columns = slice(0, 3), slice(1, 4)
    assert transpose.tensor_index((rows, columns)) == (columns, rows)
    # the outputs 5..9 of 20: in the torch order the outputs come first
    part = Row("a", "b", "transpose", start=5, whole=20)
    assert part.tensor_shape((3, 5)) == (20, 3)
    assert part.tensor_index((rows, columns)) == (slice(6, 9), rows)
    assert Row("a", "b", start=5, whole=20).tensor_index((columns,)) == (slice(6, 9),)


def test_a_prefix_that_the_files_leave_out_is_left_out():
    weight_map = WeightMap((Row("t.h.{i}.w", "w"),), ("t.h.{i}.mask",), (("lm_head", "t.wte"),), "t.")
    assert weight_map.named_as(["t.h.0.w"]) is weight_map
    short = weight_map.named_as(["h.0.w", "wte"])
    assert short == WeightMap((Row("h.{i}.w", "w"),), ("h.{i}.mask",), (("lm_head", "wte"),))


def test_ignored_patterns_match_whole_names_and_digits_only():
    weight_map = WeightMap((), ignored=("model.layers.{i}.rotary.inv_freq",))
    assert weight_map.ignores("model.layers.12.rotary.inv_freq")
    assert not weight_map.ignores("model.layers.x.rotary.inv_freq")
    assert not weight_map.ignores("model.layers.1.rotary.inv_freq.extra")
    assert not weight_map.ignores("modelxlayersx1xrotaryxinv_freq")
