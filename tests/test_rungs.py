"""rungs: who reached each rung, who was accepted there, and what it cost this method."""

from s3ft_jax.records import Response, Selection, Verdict
from s3ft_jax.rungs import Rung, count_rungs, pass_rates


def response(example_id, origin, tokens, given=0):
    return Response(example_id, origin, 0, "", (1,), tuple(range(tokens)), True, -1.0, given)


def selection(example_id, origin, index=0):
    return Selection(example_id, "m", origin, index, "", (1,), (2,), "")


RESPONSES = {
    "a": [response("a", "own", 5), response("a", "paraphrase", 9)],
    "b": [response("b", "own", 6), response("b", "paraphrase", 7)],
    "c": [response("c", "own", 7), response("c", "paraphrase", 8), response("c", "repair", 20, given=15)],
}


def test_a_method_pays_for_the_questions_that_reach_a_rung():
    chosen = [selection("a", "own"), selection("b", "paraphrase"), selection("c", "repair")]
    assert count_rungs("s3ft-repair", list("abc"), chosen, RESPONSES) == {
        "own": Rung(reached=3, accepted=1, targets=1, responses=3, tokens=18),
        "paraphrase": Rung(reached=2, accepted=1, targets=1, responses=2, tokens=15),
        "repair": Rung(reached=1, accepted=1, targets=1, responses=1, tokens=5),
        "gold": Rung(0, 0, 0, 0, 0),
    }


def test_a_method_that_keeps_all_reaches_every_rung_with_every_question():
    chosen = [selection("a", "own"), selection("a", "own", 1), *(selection(i, "gold", None) for i in "abc")]
    rungs = count_rungs("rft", list("abc"), chosen, RESPONSES)
    assert rungs == {"own": Rung(3, 1, 2, 3, 18), "gold": Rung(3, 3, 3, 0, 0)}


def test_replayed_rows_cost_no_sampling():
    chosen = [*(selection(i, "gold", None) for i in "abc"), selection("replay/x", "replay", None)]
    assert count_rungs("sft-replay", list("abc"), chosen, {}) == {
        "gold": Rung(3, 3, 3, 0, 0),
        "replay": Rung(1, 1, 1, 0, 0),
    }


def test_pass_rates_by_hand():
    outcomes = {"a": ["right", "right"], "b": ["wrong", "undecided"], "c": ["right", "wrong"], "d": ["wrong", "wrong"]}
    verdicts = [Verdict(i, "own", n, "exact", o, "", o) for i, all_ in outcomes.items() for n, o in enumerate(all_)]
    assert pass_rates(verdicts) == {"examples": 4, "mean": 0.375, "by_right": {"0": 2, "1": 1, "2": 1}}
    none_right_once = [verdict for verdict in verdicts if verdict.example_id != "c"]
    assert pass_rates(none_right_once)["by_right"] == {"0": 2, "1": 0, "2": 1}
    assert pass_rates([]) == {"examples": 0, "mean": 0.0, "by_right": {}}
