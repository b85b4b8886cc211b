"""Tables: signs, arrows, and counts."""

import pytest
from synthetic_evidence import (
    METHODS,
    SEEDS,
    TASK,
    synthetic_answers,
    synthetic_contents,
    synthetic_evidence,
    synthetic_scores,
)

from s3ft_jax.evaluation.statistics import Interval
from s3ft_jax.report.flow import build_flow
from s3ft_jax.report.scoreboard import build_scoreboard
from s3ft_jax.report.summary import Estimate, summarize
from s3ft_jax.report.tables import (
    arrows_legend,
    change_cell,
    costs_table,
    flatten,
    logprobs_table,
    paired_table,
    pass_rate_table,
    responses_table,
    rounds_table,
    rungs_table,
    scores_table,
    targets_table,
)


@pytest.mark.parametrize(
    ("seeds", "examples", "arrow", "certain"),
    [
        ((0.02, 0.04), (0.01, 0.05), "\u25b2", True),
        ((0.02, 0.04), (-0.01, 0.07), "\u25b3", False),
        ((-0.05, -0.02), (-0.06, -0.01), "\u25bc", True),
        ((-0.05, 0.02), (-0.06, -0.01), "\u25bd", False),
        ((-0.0001, 0.0001), (-0.1, 0.1), "", False),
    ],
)
def test_a_change_is_certain_only_if_both_intervals_say_so(seeds, examples, arrow, certain):
    over = Interval(sum(examples) / 2, *examples, "examples", 80, "synthetic")
    cell = change_cell(Estimate(sum(seeds) / 2, *seeds, "synthetic", (over,)))
    assert (cell.arrow, cell.certain) == (arrow, certain)
    assert (cell.tint > 0) == certain


def test_an_arrow_that_correction_takes_away_is_hollow_and_the_legend_says_why():
    kept, lost = (change_cell(Estimate(0.15, 0.1, 0.2, "synthetic", (), p)) for p in (0.01, 0.2))
    assert (kept.arrow, lost.arrow, lost.tint) == ("\u25b2", "\u25b3", 0.0)
    rows = synthetic_contents().rows
    assert "p, corrected for all comparisons of this report, is below 0.05" in arrows_legend(rows)
    assert "by likelihood" in arrows_legend(rows) and arrows_legend(rows) in synthetic_contents().headline_table.caption
    plain = summarize(build_scoreboard(synthetic_scores(), TASK, METHODS))
    assert arrows_legend(plain).endswith("Not corrected for how many changes there are.")


def test_paired_table_counts_every_example_once():
    scores = synthetic_scores()
    board = build_scoreboard(scores, TASK, METHODS, synthetic_answers(scores))
    table = paired_table(board)
    for row in table.rows:
        assert sum(float(cell.text) for cell in row[1:]) == pytest.approx(600, abs=0.2)
    s3ft = next(row for row in table.rows if row[0].method == "s3ft")
    regressed, fixed = float(s3ft[1].text), float(s3ft[2].text)
    mean = sum(board.score(("s3ft", seed), TASK).value for seed in SEEDS) / 3
    assert (fixed - regressed) / 600 == pytest.approx(mean - board.score(("base", None), TASK).value, abs=1e-3)


def test_scores_table_holds_every_task_and_metric():
    table = scores_table(synthetic_scores(), METHODS)
    assert len(table.rows) == 9
    assert table.rows[0][4].text == "28.0"
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_costs_are_summed_without_a_speed():
    table = costs_table({"sample": {"seconds": 30.0, "tokens": 600}, "judge": {"seconds": 60.5}})
    assert [cell.text for cell in table.rows[0]] == ["sample", "30 s", "600", "20"]
    assert [cell.text for cell in table.rows[-1]] == ["sum", "1 min 30 s", "600", "\u2013"]


def test_costs_say_what_was_stopped_and_what_is_not_known():
    whole, older = {"seconds": 30.0, "stops": 0, "unseen": 0}, {"seconds": 60.5}
    plain = costs_table({"sample": whole})
    assert plain.rows[0][1].detail == "" and "stopped" not in plain.caption and "older" not in plain.caption
    assert "scored (gate, drift)" in plain.caption and "sampled (sample, refresh)" in plain.caption
    stopped = {"train": whole | {"stops": 1}, "evaluate": whole | {"stops": 2, "unseen": 1}, "drift": older}
    table = costs_table(stopped)
    assert [row[1].detail for row in table.rows] == [
        "went on after 1 stop",
        "at least; went on after 2 stops",
        "",
        "at least; went on after 3 stops",
    ]
    assert "all its starts" in table.caption and table.caption.endswith("the last start alone.")


def test_logprobs_table_weighs_tokens():
    table = logprobs_table(synthetic_evidence(logprobs={"gold": [(-10.0, 2), (-2.0, 4)]}))
    assert [cell.text for cell in table.rows[0]] == ["gold", "2", "\u22122.00", "\u22126.00", "\u22126.00", "3.0"]


def test_flatten_joins_names():
    assert dict(flatten({"train": {"rate": 1, "decay": {}}, "task": "x"})) == {
        "train.rate": 1,
        "train.decay": {},
        "task": "x",
    }


def test_short_spread_is_the_widest_interval():
    over = Interval(-0.02, -0.06, 0.02, "examples", 80, "synthetic")
    assert change_cell(Estimate(-0.02, -0.02, -0.02, "synthetic", (over,)), short=True).detail == "\u00b14.0"
    assert change_cell(Estimate(-0.02, -0.12, 0.08, "synthetic", (over,)), short=True).detail == "\u00b110.0"


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_rungs_tell_acceptance_and_cost():
    rungs = {
        "s3ft": {
            "own": {"reached": 8, "accepted": 2, "targets": 2, "responses": 16, "tokens": 1000},
            "gold": {"reached": 6, "accepted": 6, "targets": 6, "responses": 0, "tokens": 0},
        }
    }
    table = rungs_table(build_flow(synthetic_evidence(rungs=rungs)))
    assert texts(table) == [
        ["S3FT", "own", "8", "2", "25.0 %", "2", "16", "1,000", "500"],
        ["S3FT", "gold", "6", "6", "100.0 %", "6", "0", "0", "\u2013"],
    ]
    assert rungs_table(build_flow(synthetic_evidence())) is None


def test_a_gate_has_a_column_also_where_it_refused_nothing():
    table = responses_table(build_flow(synthetic_evidence(gated={"paraphrase": {}})))
    assert table.columns[-1] == "right, refused by the gate" and [row[-1] for row in texts(table)] == ["\u2013", "0"]
    assert responses_table(build_flow(synthetic_evidence())).columns[-1] == "undecided"


def test_pass_rates_by_number_of_right_responses():
    rate = {"examples": 4, "mean": 0.375, "by_right": {"0": 2, "1": 1, "2": 1}}
    table = pass_rate_table(build_flow(synthetic_evidence(pass_rate=rate)))
    assert texts(table) == [["0", "2"], ["1", "1"], ["2", "1"]] and table.rows[0][1].detail == "50.0 %"
    assert "37.5 % right, mean over 4 questions" in table.caption
    assert pass_rate_table(build_flow(synthetic_evidence())) is None


def test_targets_have_a_column_for_each_origin_that_occurs():
    selections = {"sft": [("a", "gold", ""), ("x", "replay", "")], "s3ft": [("a", "repair", "")]}
    table = targets_table(build_flow(synthetic_evidence(selections=selections)))
    assert table.columns == ("", "own", "paraphrase", "repair", "gold", "replay", "targets")
    assert texts(table)[0] == ["SFT", "0", "0", "0", "1", "1", "2"]


def test_rounds_are_means_over_seeds():
    def told(step, mean, own, changed):
        return {"step": step, "pass_rate": {"mean": mean}, "origins": {"own": own, "gold": 8 - own}, "changed": changed}

    rounds = {("s3ft", 0): [told(2, 0.5, 4, 3), told(4, 0.75, 6, 1)], ("s3ft", 1): [told(2, 0.25, 2, 5)]}
    table = rounds_table(synthetic_evidence(rounds=rounds))
    rows = [[cell.text for cell in row] for row in table.rows]
    assert rows == [
        ["S3FT", "2", "37.5 %", "3", "0", "5", "4"],
        ["S3FT", "4", "75.0 %", "6", "0", "2", "1"],
    ]
    assert rounds_table(synthetic_evidence()) is None
