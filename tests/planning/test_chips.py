"""chips: names of slices, and messages for those that cannot be."""

import pytest

from s3ft_jax.planning import chips
from s3ft_jax.planning.chips import CHIPS, GIB, GPUS, PlanError, parse_topology, peak_flops


@pytest.mark.parametrize(
    "text, name, chips",
    [
        ("v5e:4x4", "v5e:4x4", 16),
        ("v5p:2x2x1", "v5p:2x2x1", 4),
        (" V6E:2x4 ", "v6e:2x4", 8),
        ("v4:2x2x2", "v4:2x2x2", 8),
        ("2xv5e:16x16", "2xv5e:16x16", 512),
        ("v5litepod-16", "v5e:4x4", 16),
        ("v5e-256", "v5e:16x16", 256),
        ("v5p-512", "v5p:4x8x8", 256),
        ("v4-8", "v4:2x2x1", 4),
        ("3xv6e-8", "3xv6e:2x4", 24),
    ],
)
def test_a_topology_is_a_chip_and_a_shape(text, name, chips):
    topology = parse_topology(text)
    assert (topology.name, topology.num_chips) == (name, chips)
    assert topology.slice_name == name[name.index("v") :]
    assert topology.chip is CHIPS[topology.slice_name.partition(":")[0]]


@pytest.mark.parametrize(
    "text, name, count",
    [("h100", "h100:1", 1), ("H100x8", "h100:8", 8), ("h200:4", "h200:4", 4), ("a100-40gb:2", "a100-40gb:2", 2)],
)
def test_gpus_are_those_of_one_machine(text, name, count, monkeypatch):
    monkeypatch.delenv(chips.FRACTION, raising=False)
    topology = parse_topology(text)
    assert (topology.name, topology.num_chips, topology.num_slices) == (name, count, 1)
    assert topology.chip.platform == "gpu" and topology.chip.usable_hbm == round(0.75 * topology.chip.hbm)


def test_jax_takes_as_much_of_a_gpu_as_it_is_told(monkeypatch):
    monkeypatch.setenv(chips.FRACTION, ".9")
    assert parse_topology("rtx4090").chip.usable_hbm == 21_600_000_000
    for text in ("0.0", "1.5", "much"):
        monkeypatch.setenv(chips.FRACTION, text)
        with pytest.raises(PlanError, match=f"{chips.FRACTION}={text}: must be a share"):
            parse_topology("rtx4090")


def test_the_gpus_are_as_their_data_sheets_say():
    for chip in GPUS.values():
        assert chip.peak_flops("bfloat16") > chip.peak_flops("float32") > 0 and chip.source
        assert chip.hbm in (24e9, 40e9, 80e9, 141e9)
    assert GPUS["h100"].flops == peak_flops("NVIDIA H100 80GB HBM3", "bfloat16")
    assert GPUS["a100-80gb"].flops == peak_flops("NVIDIA A100-SXM4-80GB", "bfloat16")


@pytest.mark.parametrize(
    "text, part",
    [
        ("h100:9", "give 1 to 8 GPUs of one machine, as h100:8"),
        ("h100:0", "give 1 to 8 GPUs"),
        ("l4:2x2", "give 1 to 8 GPUs"),
        ("2xh100:8", "planned for one machine"),
        ("a100:8", "did you mean a100-"),
        ("b200:8", "known: .*h100:8.*, rtx4090:8"),
        ("v7x:2x2", "known: v4:2x2x1, v5e:4x4, v5p:2x2x1, v6e:4x4"),
        ("v5:2x2", "did you mean v5"),
        ("v5e", "2 axes, for example v5e:4x4"),
        ("v5e:4x4x4", "2 axes"),
        ("v5p:4x4", "3 axes, for example v5p:2x2x1"),
        ("v5e:4x", "2 axes"),
        ("v5e:0x4", "2 axes"),
        ("v6e:32x32", "at most 256 chips"),
        ("v5p-7", "no such accelerator type; known: v5p-8, v5p-16"),
        ("v5e-512", "known: v5e-1, v5e-4"),
        ("0xv5e:2x2", "no chip '0xv5e'"),
    ],
)
def test_what_cannot_be_says_what_can(text, part):
    with pytest.raises(PlanError, match=f"--topology={text}: .*{part}"):
        parse_topology(text)


def test_every_chip_has_a_page_and_gives_programs_about_what_it_has():
    for chip in CHIPS.values():
        assert chip.source.endswith(f"/{chip.name}")
        assert 0.95 < chip.usable_hbm / chip.hbm < 1.01
    assert CHIPS["v5e"].usable_hbm == 15.75 * GIB


def test_float32_products_take_six_passes():
    assert CHIPS["v5e"].peak_flops("float32") * 6 == CHIPS["v5e"].peak_flops("bfloat16") == 197e12


@pytest.mark.parametrize(
    ("kind", "dtype", "expected"),
    [
        ("TPU v5 lite", "bfloat16", 197e12),
        ("TPU v5", "bfloat16", 459e12),
        ("TPU v6 lite", "float32", 918e12 / 6),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989e12),
        ("NVIDIA A100-SXM4-80GB", "bfloat16", 312e12),
        ("NVIDIA H100 80GB HBM3", "float32", 0.0),
        ("cpu", "bfloat16", 0.0),
    ],
)
def test_peak_of_a_device_by_its_name(kind, dtype, expected):
    assert peak_flops(kind, dtype) == expected
