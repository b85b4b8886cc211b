"""The README's results table, from the report.json files of an experiment.

    python -m benchmarks.results_table runs/experiment

One row per task and model: target accuracy, change of the mean general skill, both with 95 % intervals over seeds; then
the claims of each report with their verdicts.
"""

from __future__ import annotations

import json
import pathlib
import sys


def interval(values: dict, scale: float = 100.0, sign: str = "") -> str:
    """``61.2 [58.0, 64.4]`` in points."""
    numbers = [values[key] * scale for key in ("mean", "low", "high")]
    return f"{numbers[0]:{sign}.1f} [{numbers[1]:{sign}.1f}, {numbers[2]:{sign}.1f}]"


def rows(report: dict) -> list[str]:
    """Markdown rows of one report."""
    lines = []
    for method, values in report["summary"].items():
        change = "" if method == "base" else interval(values["general_change"], sign="+")
        lines.append(f"| {report['task']} | {method} | {interval(values['target'])} | {change} |")
    return lines


def main() -> None:
    """Print the table and the claims."""
    folder = pathlib.Path(sys.argv[1])
    reports = {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("*/report.json"))}
    print("| task | model | target, % [95 %] | general change, points [95 %] |\n| --- | --- | --- | --- |")
    for name, report in reports.items():
        if not name.endswith("-near"):
            print("\n".join(rows(report)))
    print("\nNear gold (negative control):\n")
    print("| task | model | target, % [95 %] | general change, points [95 %] |\n| --- | --- | --- | --- |")
    for name, report in reports.items():
        if name.endswith("-near"):
            print("\n".join(rows(report)))
    for name, report in reports.items():
        print(f"\n{name}: {report['headline']}")
        for claim in report["claims"]:
            print(f"* {claim['statement']}: {claim['verdict']}")


if __name__ == "__main__":
    main()
