"""forecast: which mesh, what fits, and the largest batch, by estimates and by a compiler's answers."""

import dataclasses

import pytest
from tiny_experiment import CONFIG, changed

from s3ft_jax import sharding
from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.planning import costs, forecast
from s3ft_jax.planning.chips import GIB, PlanError, parse_topology
from s3ft_jax.planning.compiled import Compiled
from s3ft_jax.planning.forecast import Slice

V5E = parse_topology("v5e:2x2")
# about 1.5 billion numbers: 23 GiB with Adam's moments and gradients, 5.6 GiB alone
LARGE = dataclasses.replace(CONFIG, num_layers=24, model_dim=2048, mlp_dim=8192, num_heads=16, num_kv_heads=16)


class Line:
    """A program that needs 2 GiB, 1 GiB more for each row, and keeps 3 GiB beside."""

    name, counted, split, dtype, size, unit, copies = "train", "rows", costs.Split(2), "bfloat16", 4, 2, 1

    def shape(self, size):
        return f"{size} rows"

    def estimate(self, size):
        return 2 * GIB, size * GIB

    def beside(self, size):
        return 3 * GIB

    def work(self, size):
        return costs.Work(197e12, 0.0, 0.0, size * 100)

    def lower(self, size, mesh):
        return size


def test_by_estimates():
    found = forecast.forecast(Line(), Slice(V5E, None, 4))
    assert (found.fits, found.compiled, found.size, found.shape) == (True, False, 4, "4 rows")
    assert (found.answer.arguments, found.answer.temporaries, found.answer.peak) == (2 * GIB, 4 * GIB, 6 * GIB)
    assert (found.beside, found.capacity) == (3 * GIB, 15.75 * GIB)
    # 2 + 10 + 3 of 15.75; 12 rows are too many
    assert (found.largest.size, found.largest.exact) == (10, True)
    assert found.bound == (1.0, 200.0, "compute")


def answering(monkeypatch, ask):
    """Let ``ask`` (size -> Compiled) be the compiler; returns the sizes it was asked for."""
    asked = []

    def compile_program(lower):
        asked.append(lower())
        return ask(asked[-1])

    monkeypatch.setattr(forecast, "compile_program", compile_program)
    monkeypatch.setattr(forecast.sharding, "make_mesh", lambda *sizes, devices: None)
    return asked


def test_by_the_compiler(monkeypatch):
    def ask(size):
        need = (1 + 2 * size) * GIB
        return Compiled(need <= 15.75 * GIB, need, 0, GIB, need - GIB, 1.0, 1.0)

    asked = answering(monkeypatch, ask)
    found = forecast.forecast(Line(), Slice(V5E, [], 4))
    assert found.compiled and found.fits and found.answer.peak == 9 * GIB
    assert (found.largest.size, found.largest.exact) == (4, True)  # 13 with what is beside; 6 rows need 16
    assert asked == [4, 6]  # as by the estimate one more row needs 1 GiB: 4 + (15.75 - 12)


def test_each_compile_is_told_and_its_error_names_the_program(monkeypatch):
    def ask(size):
        raise PlanError("the TPU compiler cannot compile this program: reason")

    answering(monkeypatch, ask)
    told = []
    with pytest.raises(PlanError, match="train, 4 rows: the TPU compiler cannot compile this program: reason"):
        forecast.forecast(Line(), Slice(V5E, [], 0, told.append))
    assert told == ["compiling train, 4 rows"]


@pytest.mark.parametrize("said, peak", [(20 * GIB, 20 * GIB), (0, 6 * GIB)])
def test_of_what_does_not_fit_the_parts_are_estimates(monkeypatch, said, peak):
    asked = answering(monkeypatch, lambda size: Compiled(False, said, 0, 0, 0, 1.0, 1.0))
    found = forecast.forecast(Line(), Slice(V5E, [], 0))
    assert not found.fits and asked == [4]
    assert (found.answer.peak, found.answer.arguments, found.answer.temporaries) == (peak, 2 * GIB, 4 * GIB)
    assert (found.largest.size, found.largest.exact) == (0, False)


def test_a_program_that_fits_alone_may_not_beside_the_rest(monkeypatch):
    answering(monkeypatch, lambda size: Compiled(True, 14 * GIB, 0, GIB, 13 * GIB, 1.0, 1.0))
    found = forecast.forecast(Line(), Slice(V5E, [], 0))
    assert found.answer.fits and not found.fits


def test_all_programs_of_an_experiment():
    found, notes = forecast.forecasts(changed(), Slice(V5E, None, 4))
    assert [one.program for one in found] == ["train", "prefill", "decode"]
    assert [one.split for one in found] == [costs.Split(4), costs.Split(), costs.Split()]
    assert all(one.fits and one.largest.size >= one.size for one in found)
    assert notes == [
        f"train: {forecast.TrainStep(changed(), costs.Split(4)).settings}",
        "prefill and decode: a chip holds a copy of the model; 4 copies",
    ]


def test_a_model_too_large_for_a_chip_is_split_and_the_flags_are_told():
    own = changed(config=LARGE)
    split, (note,) = forecast.choose_split(own, V5E)
    assert split == costs.Split(1, 2, 2)
    flags = "--config.mesh.data=1 --config.mesh.fsdp=2 --config.mesh.tensor=2"
    assert note.endswith(f"To run so: {flags}") and "data 4 x fsdp 1 x tensor 1" in note
    large = dataclasses.replace(own, batch_size=512)
    assert forecast.choose_split(large, parse_topology("v5p:2x2x1")) == (costs.Split(4), [])
    assert forecast.choose_split(own, parse_topology("v5e:1x1")) == (costs.Split(), [])


def test_more_chips_than_rows_are_told_of():
    own, place = changed(config=LARGE, batch_size=2), parse_topology("v5p:2x2x2")
    split, (note,) = forecast.choose_split(own, place)
    assert split == costs.Split(8)
    assert note.startswith("mesh data 8 x fsdp 1 x tensor 1 takes at least ") and " s a step, of 8 rows; data " in note
    found = [int(part.partition("=")[2]) for part in note.split(": ")[1].split()]
    assert found[0] * found[1] <= 2, "no more parts than rows"
    assert forecast.choose_split(dataclasses.replace(own, batch_size=512), place) == (costs.Split(8), [])


def test_slices_share_no_tensor_and_meet_once_a_step():
    own, two = changed(config=LARGE), parse_topology("2xv5e:2x2")
    split, _ = forecast.choose_split(own, two)
    assert split.chips == 8 and split.data % 2 == 0
    assert all(sharding.across_slices(*one, 2) for one in forecast.splits(own, two))
    assert costs.Split(1, 1, 8) not in forecast.splits(own, two)
    with pytest.raises(sharding.ShardingError, match="on 2 slices"):
        forecast.choose_split(changed(config=LARGE, mesh={"data": 1, "fsdp": 1, "tensor": 8}), two)
    sampling, (note,) = forecast.choose_sampling_split(changed(config=dataclasses.replace(LARGE, num_layers=96)), two)
    assert sampling == costs.Split(tensor=2) and note.endswith("4 copies")


def test_a_mesh_that_is_asked_for_is_kept():
    for mesh, split in (({"data": 2, "fsdp": 1, "tensor": -1}, costs.Split(2, 1, 2)),):
        assert forecast.choose_split(changed(config=LARGE, mesh=mesh), V5E) == (split, [])
    two = {"data": 2, "fsdp": 1, "tensor": 1}
    assert forecast.choose_split(changed(mesh=two), V5E)[1] == [
        "mesh data 2 x fsdp 1 x tensor 1: 2 of 4 chips stay idle"
    ]
    with pytest.raises(sharding.ShardingError, match="data 3 x fsdp 2 x tensor 1 does not fit 4 devices"):
        forecast.choose_split(changed(mesh={"data": 3, "fsdp": 2, "tensor": 1}), V5E)


def test_sampling_takes_the_chips_that_sampling_itself_takes():
    split, (note,) = forecast.choose_sampling_split(changed(engine=EngineSettings(num_slots=10**6)), V5E)
    assert split == costs.Split() and note.endswith("a chip holds a copy of the model; 4 copies")
    assert forecast.choose_sampling_split(changed(), parse_topology("v5e:1x1")) == (costs.Split(), [])
    larger = dataclasses.replace(LARGE, num_layers=96)
    split, (note,) = forecast.choose_sampling_split(changed(config=larger), V5E)
    assert split == costs.Split(tensor=2)
    assert "2 chips together hold a copy of the model; 2 copies" in note
    asked = changed(config=larger, engine=EngineSettings(tensor=4))
    assert forecast.choose_sampling_split(asked, V5E)[0] == costs.Split(tensor=4)
    # 6 heads over 4 chips: 2 of them
    odd = dataclasses.replace(larger, num_layers=192, num_heads=6, num_kv_heads=6)
    assert forecast.choose_sampling_split(changed(config=odd), V5E)[0] == costs.Split(tensor=2)
