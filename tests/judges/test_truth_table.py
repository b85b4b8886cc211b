"""The truth table: (gold or check, response, verdict) written by hand, each with its reason in truth_table.jsonl."""

import json
import pathlib

import pytest

from s3ft_jax.judges import find_judge
from s3ft_jax.records import OUTCOMES, Example, Response

LINES = (pathlib.Path(__file__).parent / "truth_table.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("number", range(len(LINES)))
def test_the_verdict_is_the_one_a_person_gives(number):
    row = json.loads(LINES[number])
    messages = ({"role": "user", "content": row.get("question", "q")},)
    example = Example("t/test/0", "t", "test", messages, row.get("gold", ""), row["judge"], row.get("check", {}))
    response = Response(example.id, "own", 0, row["response"], (), (), True, 0.0)
    verdict = find_judge(row["judge"])(example, response)
    assert verdict.outcome == row["verdict"], f"{row['why']}: {verdict.reason}"


def test_every_row_has_a_verdict_and_a_reason_and_stands_once():
    rows = [json.loads(line) for line in LINES]
    assert all(row["verdict"] in OUTCOMES and row["why"].strip() for row in rows)
    asked = [json.dumps({key: row[key] for key in row if key not in ("verdict", "why")}) for row in rows]
    assert len(set(asked)) == len(asked)
    assert {row["judge"] for row in rows} == {"numbers", "choice", "exact", "answers"}
