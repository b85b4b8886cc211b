"""Benchmark: how fast the judges are, beside a peer, and whether hostile programs and formulas slow the others down.

    python -m benchmarks.judging rates [--count 20000] [--programs 974]
    python -m benchmarks.judging mixed [--count 20000] [--hostile 200]

rates: numeric answers (ours, and math-verify in one process), reference programs of MBPP (ours, and a plain
``python -c`` for each, without any protection), turn about, verdicts per second.

mixed: --count pairs, of which --hostile are the programs of tests/judges/test_sandbox.py and formulas that never end,
in an order from a seed. Three runs of ``judge_all``: the clean pairs alone, the hostile alone, all together. What the
hostile took alone is taken off the whole; the rate of the clean pairs that is left is compared with the clean run's.
Verdicts of the clean pairs must be the same in both, none of the hostile may be right, and no process, file below the
temporary folder or file descriptor may be left over.

Needs math-verify, and MBPP below S3FT_DATA_DIR (default ../shared/data).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

from s3ft_jax.judges.pool import Pair, judge_all
from s3ft_jax.progress import progress
from s3ft_jax.records import Example, Response, Verdict

ROOT = pathlib.Path(__file__).resolve().parents[1]
MBPP = pathlib.Path(os.environ.get("S3FT_DATA_DIR", ROOT.parent / "shared" / "data")) / "datasets" / "mbpp"
BOMBS = ("9^{9^{9^9}}", "10^{10^{10}}", "(x+1)^{100000}", "\\binom{10^6}{5\\cdot 10^5}")
SHARES = {"numbers": 0.5, "answers": 0.2, "choice": 0.1, "expressions": 0.02}
"""Of the clean pairs; the rest are programs."""


def pair(number: int, judge: str, text: str, gold: str = "", check: dict | None = None) -> Pair:
    """One example and its response."""
    example = Example(
        f"t/train/{number:05}", "t", "train", ({"role": "user", "content": "q"},), gold, judge, check or {}
    )
    return example, Response(example.id, "own", 0, text, (), (), True, 0.0)


def numeric_pairs(count: int) -> list[Pair]:
    """Worked answers as models write them, every third one wrong."""
    rng = random.Random(0)
    endings = (
        "The answer is {}.",
        "#### {}",
        "so it is $\\boxed{{{}}}$",
        "**Answer:** ${}.00",
        "In all there are {} of them",
    )
    pairs = []
    for number in range(count):
        gold = rng.randrange(1, 100_000)
        told = gold + (number % 3 == 0)
        steps = " ".join(f"{rng.randrange(90)} + {rng.randrange(90)} makes {rng.randrange(180)}." for _ in range(4))
        text = f"{steps}\n{rng.choice(endings).format(f'{told:,}' if number % 2 else told)}"
        pairs.append(pair(number, "numbers", text, f"#### {gold}"))
    return pairs


def program_pairs(count: int) -> list[Pair]:
    """Reference programs of MBPP with their tests, again from the start if there are too few."""
    rows = [json.loads(line) for file in sorted(MBPP.glob("*.jsonl")) for line in file.read_text().splitlines()]
    rows = [row for row in rows if row.get("test_list") and row.get("code")]
    if not rows:
        raise SystemExit(f"{MBPP}: no MBPP rows here; set S3FT_DATA_DIR")
    chosen = [rows[number % len(rows)] for number in range(count)]
    return [
        pair(
            number,
            "programs",
            row["code"],
            check={"entry": None, "tests": row["test_list"], "setup": row.get("test_setup_code", "")},
        )
        for number, row in enumerate(chosen)
    ]


def clean_pairs(count: int) -> list[Pair]:
    """Numbers, reading answers, choices, formulas and programs, in the shares of ``SHARES``."""
    counts = {judge: int(share * count) for judge, share in SHARES.items()}
    pairs = numeric_pairs(counts["numbers"])
    for number in range(counts["answers"]):
        pairs.append(pair(number, "answers", f"in place {number % 7}", check={"answers": ["place 3", "the place 5"]}))
    for number in range(counts["choice"]):
        pairs.append(pair(number, "choice", f"The answer is ({'ABCD'[number % 4]})", check={"answer": "B"}))
    for number in range(counts["expressions"]):
        pairs.append(pair(number, "expressions", f"$\\boxed{{{number}+x^2}}$", f"\\boxed{{x^2+{number - number % 2}}}"))
    return pairs + program_pairs(count - len(pairs))


def hostile_pairs(count: int) -> list[Pair]:
    """Programs and formulas that mean harm, again from the start."""
    tests = load_tests()
    programs = [
        pair(0, "programs", code, check={"entry": "f", "tests": list(tests.TESTS)}) for _, code, _ in tests.HOSTILE
    ]
    formulas = [pair(0, "expressions", f"\\boxed{{{bomb}}}", "\\boxed{2a}") for bomb in BOMBS]
    every = programs + formulas
    return [every[number % len(every)] for number in range(count)]


def load_tests() -> ModuleType:
    """The module of tests that holds the hostile programs."""
    spec = importlib.util.spec_from_file_location("hostile", ROOT / "tests" / "judges" / "test_sandbox.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hostile"] = module
    spec.loader.exec_module(module)
    return module


def timed(pairs: list[Pair], title: str) -> tuple[float, list[Verdict]]:
    """Seconds and verdicts of ``judge_all``."""
    start = time.perf_counter()
    with progress(title, len(pairs)) as ticker:
        verdicts = judge_all(pairs, on_progress=ticker.from_here())
    return time.perf_counter() - start, verdicts


def rate_of_math_verify(pairs: list[Pair]) -> float:
    """Pairs per second in this process, gold and response parsed as its README shows."""
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    start = time.perf_counter()
    for example, response in pairs:
        verify(parse(example.gold), parse(response.text))
    return len(pairs) / (time.perf_counter() - start)


def rate_of_plain_python(pairs: list[Pair]) -> float:
    """Programs per second, each with its tests in a Python of its own, as many at a time as there are cores."""

    def run(one: Pair) -> int:
        example, response = one
        text = "\n".join([response.text, example.check["setup"], *example.check["tests"]])
        return subprocess.run([sys.executable, "-c", text], capture_output=True, timeout=30, check=False).returncode

    start = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as crew:
        list(crew.map(run, pairs))
    return len(pairs) / (time.perf_counter() - start)


def show_rates(count: int, programs: int, repeat: int = 3) -> None:
    """Rates, the best of ``repeat`` turns."""
    numeric, code = numeric_pairs(count), program_pairs(programs)
    rates: dict[str, list[float]] = {}
    for _ in range(repeat):
        rates.setdefault("numbers, ours", []).append(count / timed(numeric, "numbers")[0])
        rates.setdefault("numbers, math-verify", []).append(rate_of_math_verify(numeric[:2000]))
        rates.setdefault("programs, ours", []).append(programs / timed(code, "programs")[0])
        rates.setdefault("programs, plain python", []).append(rate_of_plain_python(code[:200]))
    for what, found in rates.items():
        print(f"{what}: {max(found):,.0f} a second at best (of {', '.join(f'{rate:,.0f}' for rate in found)})")


def processes() -> set[str]:
    """Ids of all processes whose command line names the judges."""
    found = set()
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"s3ft_jax.judges" in command:
                found.add(folder.name)
    return found


def state() -> tuple[set[str], set[str], int]:
    """What may be left over: processes, files below the temporary folder, open descriptors."""
    files = {entry.name for entry in pathlib.Path(tempfile.gettempdir()).iterdir()}
    return processes(), files, len(os.listdir("/proc/self/fd"))


def show_mixed(count: int, hostile: int) -> None:
    """The three runs and what they show."""
    clean, harmful = clean_pairs(count - hostile), hostile_pairs(hostile)
    order = list(range(count))
    random.Random(0).shuffle(order)
    every = [(clean + harmful)[place] for place in order]
    timed(clean[:6000:20], "warm-up")
    before = state()
    clean_seconds, expected = timed(clean, "clean")
    harmful_seconds, _ = timed(harmful, "hostile")
    all_seconds, verdicts = timed(every, "together")
    after = state()
    found = dict(zip(order, verdicts, strict=True))
    changed = sum(found[place].outcome != verdict.outcome for place, verdict in enumerate(expected))
    passed = sum(found[place].outcome == "right" for place in range(len(clean), count))
    rates = len(clean) / clean_seconds, len(clean) / (all_seconds - harmful_seconds)
    print(f"clean {clean_seconds:.1f} s, hostile {harmful_seconds:.1f} s, together {all_seconds:.1f} s")
    print(f"clean pairs: {rates[0]:,.0f} a second alone, {rates[1]:,.0f} among hostile ones: {rates[1] / rates[0]:.2f}")
    print(f"clean verdicts that changed: {changed}; hostile ones that passed: {passed}")
    left = sorted(after[0] - before[0]), sorted(after[1] - before[1]), after[2] - before[2]
    print(f"left over: processes {left[0]}, files {left[1]}, descriptors {left[2]}")


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rates", "mixed"))
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--programs", type=int, default=974)
    parser.add_argument("--hostile", type=int, default=200)
    arguments = parser.parse_args()
    if arguments.what == "rates":
        show_rates(arguments.count, arguments.programs)
    else:
        show_mixed(arguments.count, arguments.hostile)


if __name__ == "__main__":
    main()
