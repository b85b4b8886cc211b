"""Plots: every role has a colour, nothing fixed is left in the drawing, odd data draw without warnings."""

import re

import pytest
from synthetic_evidence import METHODS, SKILLS, TASK, synthetic_evidence, synthetic_scores

from s3ft_jax.report import drawing, plots
from s3ft_jax.report.flow import build_flow
from s3ft_jax.report.frontier import Forgetting, Spot
from s3ft_jax.report.scoreboard import build_scoreboard
from s3ft_jax.report.summary import summarize

SPOTS = [
    Spot(method, method, 1e-3, 100, True, 1, 0.5 + place / 10, -0.1 + place / 50, 0.3)
    for place, method in enumerate(METHODS)
]


def rows_of(**options):
    return summarize(build_scoreboard(synthetic_scores(**options), TASK, METHODS))


def drawings():
    evidence = synthetic_evidence()
    return [
        plots.scatter(rows_of()),
        plots.skills(rows_of(), ("sft", "s3ft")),
        plots.flow_bars(build_flow(evidence)),
        *plots.logprob_histograms(evidence.logprobs),
        plots.loss_curves(evidence.curves, METHODS),
        *plots.looks({("sft", 0): [{"step": 5, "validation_loss": 1.0, "validation_kl": 0.2}]}, METHODS).values(),
        plots.frontier(SPOTS, 0.3, METHODS),
        plots.forgetting(Forgetting((("sft", 0.3, -0.1), ("s3ft", 0.1, -0.02)), None), METHODS),
    ]


def test_drawings_take_every_colour_from_the_page():
    for svg in drawings():
        assert svg.startswith("<svg viewBox=") and svg.endswith("</svg>")
        assert not re.findall(r"#[0-9a-f]{6}\b", svg.replace("#ffffff", ""))
        assert "http" not in svg and "xmlns" not in svg
        assert "DejaVu" not in svg and "var(--sans)" in svg
        assert set(re.findall(r"var\(--([\w-]+)\)", svg)) <= {*drawing.ROLES, "sans"}


def test_scatter_names_every_model():
    svg = plots.scatter(rows_of())
    for name in ("Base", "SFT", "SSR", "SDFT", "S3FT"):
        assert f">{name}</text>" in svg


def test_every_skill_has_a_line():
    svg = plots.skills(rows_of(), ("sft", "s3ft"))
    assert all(f">{skill}</text>" in svg for skill in SKILLS) and "var(--method-s3ft)" in svg
    assert "var(--method-ssr)" not in svg


@pytest.mark.parametrize("options", [{"seeds": (0,)}, {"seeds": (0, 1), "spread": 0.05}, {"spread": 0.0}])
def test_scatter_of_few_or_equal_seeds(options):
    assert plots.scatter(rows_of(**options)).count("</text>") > 5


def test_odd_data_draw():
    assert plots.loss_curves({("sft", 0): [(1, float("nan"))], ("ssr", 0): [(1, 2.0)]}, METHODS).startswith("<svg")
    token, total = plots.logprob_histograms({"own": [(0.0, 3)], "gold": []})
    assert token.startswith("<svg") and total.startswith("<svg")


def test_long_curves_are_thinned():
    short = plots.loss_curves({("sft", 0): [(step, 1.0 / step) for step in range(1, 151)]}, METHODS)
    long = plots.loss_curves({("sft", 0): [(step, 1.0 / step) for step in range(1, 20_001)]}, METHODS)
    assert len(long) < 1.3 * len(short)


def test_looks_draw_what_was_measured_and_nothing_else():
    rows = [{"step": 5, "validation_loss": 2.0, "validation_kl": float("nan")}, {"step": 9, "validation_loss": 1.0}]
    drawn = plots.looks({("sft", 0): rows, ("s3ft", 1): []}, METHODS)
    assert list(drawn) == ["validation_loss"] and "var(--method-sft)" in drawn["validation_loss"]
    assert plots.looks({}, METHODS) == {}
