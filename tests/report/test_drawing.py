"""Drawing: every role has a stand-in of its own, and no fixed colour is left in the picture."""

import re

from s3ft_jax.report import drawing


def test_each_role_has_a_stand_in_and_becomes_its_variable():
    assert len({drawing.stand_in(role) for role in drawing.ROLES}) == len(drawing.ROLES)
    figure, axes = drawing.figure_of(2.0)
    axes.plot([0, 1], [0, 1], color=drawing.stand_in("method-s3ft"))
    drawing.frame(axes, [(0.0, 0.0), (1.0, 1.0)])
    text = drawing.svg(figure, "mine")
    assert "var(--method-s3ft)" in text and "#0b0c" not in text and "http" not in text
    assert all(name.startswith("mine-") for name in re.findall(r'\bid="([^"]+)"', text))


def test_methods_without_a_colour_share_the_spare_ones():
    names = ("base", "sft", "self-output", "unverified")
    assert drawing.method_role("sft", names) == "method-sft"
    assert drawing.method_role("self-output", names) != drawing.method_role("unverified", names)
    assert all(drawing.method_role(name, names) in drawing.ROLES for name in names)


def test_names_lie_on_no_other_name():
    _, axes = drawing.figure_of(3.0)
    axes.set_xlim(0, 1), axes.set_ylim(0, 1)
    drawing.label_spots(axes, [(0.5, 0.5, "one"), (0.51, 0.5, "two"), (0.5, 0.51, "three")])
    places = [text.get_position() for text in axes.texts]
    assert len(set(places)) == 3
