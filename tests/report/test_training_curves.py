"""Training at its end: last step and last look, means over seeds."""

from synthetic_evidence import synthetic_contents, synthetic_evidence

from s3ft_jax.report import build_contents
from s3ft_jax.report.markdown import build_markdown
from s3ft_jax.report.page import build_page
from s3ft_jax.report.training_curves import last_values_table, look_values

CURVES = {("sft", 0): [(1, 3.0), (2, 1.0)], ("sft", 1): [(1, 3.0), (2, 2.0)], ("s3ft", 0): [(2, 0.5)], ("ssr", 0): []}
LOOKS = {
    ("sft", 0): [
        {"step": 1, "validation_loss": 2.0, "validation_kl": 0.1},
        {"step": 2, "validation_loss": 1.5, "validation_kl": 0.25, "validation_score": 0.75},
    ]
}


def cells(table):
    return [[(cell.text, cell.detail) for cell in row] for row in table.rows]


def test_last_values_worked_by_hand():
    table = last_values_table(synthetic_evidence(curves=CURVES, looks=LOOKS))
    assert [column.split(",")[0] for column in table.columns] == [
        "", "last step", "training loss", "last look after step", "validation loss", "validation score",
        "KL to the base",
    ]  # fmt: skip
    sft, s3ft = cells(table)
    assert sft[1:3] == [("2", ""), ("1.5000", "s.d. 0.7071")]
    assert [text for text, _ in sft[3:]] == ["2", "1.5000", "75.0", "0.2500"]
    assert s3ft[0] == ("S3FT", "") and [text for text, _ in s3ft[3:]] == ["\u2013"] * 4
    plain = last_values_table(synthetic_evidence(curves=CURVES))
    assert len(plain.columns) == 3 and "look" not in plain.caption
    assert last_values_table(synthetic_evidence(curves={})) is None


def test_looks_stand_in_every_output():
    evidence = synthetic_evidence(curves=CURVES, looks=LOOKS)
    assert look_values(evidence)[0] == {
        "method": "sft", "seed": 0, "step": 1, "validation_loss": 2.0, "validation_score": None, "validation_kl": 0.1
    }  # fmt: skip
    contents = build_contents(evidence)
    page, text = build_page(contents), build_markdown(contents)
    assert page.count('aria-label="Looks at validation examples') == 3 and "validation score, %" in page
    assert "## Training\n" in text and "| SFT | 2 | 1.5000 s.d. 0.7071 | 2 | 1.5000 | 75.0 | 0.2500 |" in text
    assert "## Training\n" in build_markdown(synthetic_contents()) and "Looks at" not in build_page(
        synthetic_contents()
    )
