"""Frontier: means over seeds, the settings that none beats, what is reached at a given loss, and KL against loss."""

import pytest
import scipy.stats
from synthetic_evidence import synthetic_evidence

from s3ft_jax.report import GridPoint, build_contents, frontier
from s3ft_jax.report.markdown import build_markdown
from s3ft_jax.report.page import build_page

BASE = GridPoint("base", "base", None, None, None, 0.30, 0.90, 0.0, True)


def point(label, rate, score, general, kl, *, seed=0, chosen=False):
    return GridPoint(label, f"{label}@learning_rate={rate}", seed, rate, 100, score, general, kl, chosen)


GRID = (
    BASE,
    point("sft", 1e-4, 0.40, 0.895, 0.01),
    point("sft", 1e-3, 0.60, 0.80, 0.3, chosen=True),
    point("sft", 1e-3, 0.64, 0.84, 0.4, seed=1, chosen=True),
    point("sft", 2e-3, 0.58, 0.70, 0.9),
    point("s3ft", 1e-4, 0.70, 0.90, 0.02, chosen=True),
    point("s3ft", 1e-3, 0.75, 0.88, 0.1),
)


def test_spots_are_means_over_seeds():
    found = {spot.variant: spot for spot in frontier.spots(GRID)}
    both = found["sft@learning_rate=0.001"]
    assert (both.seeds, both.score, both.change, both.kl) == (2, *map(pytest.approx, (0.62, -0.08, 0.35)))
    assert len(found) == 5 and found["sft@learning_rate=0.0001"].seeds == 1


def test_the_edge_leaves_out_what_another_setting_beats():
    mine = [spot for spot in frontier.spots(GRID) if spot.label == "sft"]
    assert [spot.learning_rate for spot in frontier.edge(mine)] == [1e-4, 1e-3], "2e-3 loses more and scores less"
    assert frontier.edge([]) == []


def test_what_is_reached_at_a_loss():
    table = frontier.frontier_table(GRID)
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert rows["SFT"] == ["3", "0.001, 100", "62.0", "\u22128.0", "40.0", "40.0", "40.0", "62.0"]
    assert rows["S3FT"][4:] == ["70.0", "75.0", "75.0", "75.0"]
    none = (BASE, point("sft", 2e-3, 0.58, 0.70, 0.9, chosen=True))
    assert [cell.text for cell in frontier.frontier_table(none).rows[0][5:]] == ["\u2013"] * 4
    tie = (BASE, point("sft", 1e-4, 0.40, 0.90 - 21 / 840, 0.1, chosen=True))
    assert frontier.frontier_table(tie).rows[0][6].text == "40.0", "2.5 points, however floats write them"
    assert frontier.frontier_table(()) is None and frontier.grid_table(()) is None


def test_forgetting_ranks_as_scipy_does():
    found = frontier.forgetting(synthetic_evidence(grid=GRID), {})
    kl, change = [mark[1] for mark in found.marks], [mark[2] for mark in found.marks]
    assert len(found.marks) == 6 and found.rank == pytest.approx(scipy.stats.spearmanr(kl, change).statistic)
    mine = [mark for mark in found.marks if mark[0] == "sft"]
    assert len(mine) == 4 and found.within is None, "too few of one method"
    more = (*GRID, point("sft", 5e-3, 0.5, 0.5, 2.0), point("s3ft", 5e-3, 0.5, 0.5, 2.0))
    assert frontier.forgetting(synthetic_evidence(grid=more), {}).within == pytest.approx(-0.9)
    assert "\u22120." in frontier.forgetting_sentence(found) or "\u22121." in frontier.forgetting_sentence(found)


def test_one_model_under_two_labels_is_one_mark():
    twice = (*GRID, GridPoint("sft-again", GRID[1].variant, 0, 1e-4, 100, 0.40, 0.895, 0.01, True))
    assert len(frontier.forgetting(synthetic_evidence(grid=twice), {}).marks) == 6
    more = (*GRID, point("sft", 5e-3, 0.5, 0.5, 2.0), point("s3ft", 5e-3, 0.5, 0.5, 2.0))
    alone = frontier.forgetting(synthetic_evidence(grid=more), {}).within
    again = GridPoint("sft-low-rate", GRID[1].variant, 0, 1e-4, 100, 0.40, 0.895, 0.01, True)
    assert frontier.forgetting(synthetic_evidence(grid=(*more, again)), {}).within == alone, "sft keeps its own"


def test_without_a_grid_the_models_of_the_tables_are_drawn():
    evidence = synthetic_evidence(kl={("sft", 0): 0.5, ("s3ft", 0): 0.1})
    found = frontier.forgetting(evidence, {("sft", 0): -0.1, ("s3ft", 0): -0.02})
    assert found.marks == (("sft", 0.5, -0.1), ("s3ft", 0.1, -0.02)) and found.rank is None
    assert frontier.forgetting_sentence(frontier.Forgetting((), None)) == ""


def test_the_page_and_the_markdown_show_it():
    contents = build_contents(synthetic_evidence(grid=GRID))
    page, text = build_page(contents), build_markdown(contents)
    for where in (page, text):
        assert "Every setting tried" in where and "0.001, 100" in where
    assert "Spearman" in page and page.count("frontier-") > 3 and "forgetting-" in page
    assert contents.document["grid"][1]["learning_rate"] == 1e-4
    plain = build_page(build_contents(synthetic_evidence()))
    assert "Every setting tried" not in plain and "Distance from the base" not in plain


def test_the_document_holds_what_the_table_of_the_frontier_says():
    told = frontier.frontier_values(GRID)
    table = frontier.frontier_table(GRID)
    assert [one["settings_tried"] for one in told] == [int(row[1].text) for row in table.rows]
    for one, row in zip(told, table.rows, strict=True):
        assert frontier.percent(one["score"]) == row[3].text
        within = {best["loss"]: frontier.percent(best["score"]) for best in one["best"]}
        assert [within.get(loss, "\u2013") for loss in frontier.LOSSES] == [cell.text for cell in row[5:]]
    assert frontier.frontier_values(()) == []
