"""Judges room: the worker process of the pool. Started as ``python -m s3ft_jax.judges.worker``; never imports JAX.

In: on standard input, a first line of settings, then one line for each pair (the example, which names its judge, and
the response), or for several at once. Out: on standard output, one line for each: a verdict, or why there is none. What
a judge prints goes to standard error.

    {"level": "landlock", "wall_seconds": 4.0, "parent": 4711}
    {"example": "{...}", "response": "{...}"}      -> {"verdict": {...}}
                                                   -> {"undecided": "judge_error: KeyError: 'x' (rules.py, line 7)"}
                                                   -> {"fatal": "judge.name='nubmers': there is no such judge; ..."}
    {"pairs": [{...}, {...}]}                      -> {"answers": [{...}, {...}]}
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
import traceback
from typing import Any

from s3ft_jax.judges import JudgeError, find_judge, programs
from s3ft_jax.judges.sandbox import Limits, SandboxUnavailable
from s3ft_jax.judges.verdicts import make_verdict
from s3ft_jax.records import OUTCOMES, Example, Response, Verdict, from_line


def main() -> None:
    """Answer lines until standard input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    settings = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_parent, args=(settings["parent"],), daemon=True).start()
    try:
        if settings["level"]:
            programs.open_sandbox(settings["level"], limits=Limits(wall_seconds=settings["wall_seconds"]), num_slots=1)
        answer: dict[str, Any] = {"ready": True}
    except SandboxUnavailable as error:
        answer = {"fatal": str(error)}
    print(json.dumps(answer), file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(line)), file=replies, flush=True)


def _answer(line: str | dict[str, Any]) -> dict[str, Any]:
    try:
        pair = json.loads(line) if isinstance(line, str) else line
        if isinstance(pair, dict) and "pairs" in pair:
            return {"answers": [_answer(one) for one in pair["pairs"]]}
        example = from_line(Example, pair["example"], "the pool's line")
        response = from_line(Response, pair["response"], "the pool's line")
    except (ValueError, KeyError, TypeError) as error:
        return {"fatal": f"not a line with an example and a response: {type(error).__name__}: {error}"}
    try:
        verdict = find_judge(example.judge)(example, response)
    except (JudgeError, SandboxUnavailable) as error:
        return {"fatal": str(error)}
    except Exception as error:
        return {"undecided": f"judge_error: {type(error).__name__}: {error}{_place(error, example.judge)}"}
    if isinstance(verdict, bool):
        said = "right" if verdict else "wrong"
        verdict = make_verdict(response, example.judge, said, "", f"{said}: the judge says {verdict}")
    if not isinstance(verdict, Verdict) or verdict.outcome not in OUTCOMES:
        return {"undecided": f"judge_error: TypeError: the judge returned {verdict!r:.80}, no Verdict, True or False"}
    try:
        json.dumps(dataclasses.asdict(verdict))
    except (TypeError, ValueError) as error:
        return {"undecided": f"judge_error: {type(error).__name__}: its Verdict cannot be written: {error}"}
    return {"verdict": dataclasses.asdict(verdict)}


def _place(error: Exception, judge: str) -> str:
    """`` (my_rules.py, line 7)``: where a judge of one's own was when it failed; else where the failure was."""
    module = sys.modules.get(judge.partition(":")[0])
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [place for place in places if place[0] == getattr(module, "__file__", None)]
    file, line = (own or places)[-1]
    return f" ({os.path.basename(file)}, line {line})"


def _leave_with_parent(parent: int) -> None:
    """End this process when the one that started it is gone, even if a judge hangs."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main()
