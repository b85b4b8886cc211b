"""The truth table, written by hand: what a person says of a response, each row with its reason (truth_table/*.jsonl).

``known_limits.jsonl`` holds rows on which a judge is known to differ from a person; a test watches that they still do.
"""

import json
import pathlib
from collections import Counter

import pytest

from s3ft_jax.judges import find_judge, leaks, model, programs
from s3ft_jax.judges.composition import judge_composed
from s3ft_jax.judges.sandbox import Limits, SandboxUnavailable
from s3ft_jax.records import OUTCOMES, Example, Response

FOLDER = pathlib.Path(__file__).parent / "truth_table"
ROWS = {
    f"{path.stem}-{number}": json.loads(line)
    for path in sorted(FOLDER.glob("*.jsonl"))
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
}
LIMITS = {name: row for name, row in ROWS.items() if name.startswith("known_limits")}
TABLE = {name: row for name, row in ROWS.items() if name not in LIMITS}
KINDS = {
    "numbers",
    "expressions",
    "programs",
    "answers",
    "choice",
    "exact",
    "gates",
    "leaks",
    "replies",
    "compositions",
}


@pytest.fixture(scope="module")
def sandbox():
    try:
        programs.open_sandbox(limits=Limits(wall_seconds=2.0), num_slots=1)
    except SandboxUnavailable:
        yield False
    else:
        yield True
    programs.close_sandbox()


def outcome(row: dict, sandbox: bool) -> tuple[str, str]:
    """What our judge says, and why. ``leak`` and ``reply`` rows are no judges: a passed text counts as right."""
    if row["judge"] == "leak":
        phrase = leaks.mentions_reference(row["response"])
        return ("wrong" if phrase else "right"), str(phrase)
    if row["judge"] == "reply":
        return model.read_verdict(row["response"]), ""
    if row["judge"] == "programs" and not sandbox:
        pytest.skip("no sandbox here")
    messages = ({"role": "user", "content": row.get("question", "q")},)
    example = Example("t/test/0", "t", "test", messages, row.get("gold", ""), row["judge"], row.get("check", {}))
    response = Response(example.id, "own", 0, row["response"], (), (), True, 0.0)
    (verdict,) = judge_composed([(example, response)], lambda pairs: [find_judge(e.judge)(e, r) for e, r in pairs])
    return verdict.outcome, verdict.reason


@pytest.mark.parametrize("name", TABLE)
def test_the_verdict_is_the_one_a_person_gives(name, sandbox):
    found, reason = outcome(TABLE[name], sandbox)
    assert found == TABLE[name]["verdict"], f"{TABLE[name]['why']}: {reason}"


@pytest.mark.parametrize("name", LIMITS)
def test_a_known_limit_is_still_one(name, sandbox):
    assert outcome(LIMITS[name], sandbox)[0] != LIMITS[name]["verdict"], "now right: move this row into its table"


def test_every_row_has_a_verdict_and_a_reason_and_stands_once():
    assert all(row["verdict"] in OUTCOMES and row["why"].strip() for row in ROWS.values())
    asked = [json.dumps({key: row[key] for key in row if key not in ("verdict", "why")}) for row in ROWS.values()]
    assert len(set(asked)) == len(asked)
    counts = Counter(name.rpartition("-")[0] for name in TABLE)
    assert set(counts) == KINDS and min(counts.values()) >= 12 and len(TABLE) >= 400
