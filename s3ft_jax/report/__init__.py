"""The report room: scores, selections and everything around them become report.json, report.md and report.html.

In: ``Evidence``, filled by the report stage. Out: three files that say the same, and csv files of what they are made
of. The same evidence always gives the same bytes. matplotlib and jinja2 are imported only when a page is built.

    contents = build_contents(evidence)
    files = write_report(contents, workdir)
    print_result(contents)
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from s3ft_jax.report.contents import Contents, build_contents
from s3ft_jax.report.evidence import (
    BenchmarkResult,
    BrowsedAnswer,
    BrowsedExample,
    ChangedItems,
    Control,
    Evidence,
    EvidenceError,
    GridPoint,
    Item,
    ItemAnswer,
    ResponseCount,
)
from s3ft_jax.report.terminal import print_result

__all__ = [
    "BenchmarkResult",
    "BrowsedAnswer",
    "BrowsedExample",
    "ChangedItems",
    "Contents",
    "Control",
    "Evidence",
    "EvidenceError",
    "GridPoint",
    "Item",
    "ItemAnswer",
    "ReportFiles",
    "ResponseCount",
    "build_contents",
    "print_result",
    "write_report",
]


@dataclasses.dataclass(frozen=True)
class ReportFiles:
    """Where the three files and the folder of csv files lie, as ``etils.epath`` paths."""

    json: Any
    markdown: Any
    html: Any
    csv: Any


def write_report(contents: Contents, directory: Any, name: str = "report") -> ReportFiles:
    """Write report.json, report.md, report.html and report-csv/ into a directory; existing ones are replaced.

    Args:
      contents: from ``build_contents``.
      directory: local or ``gs://`` path; made if it is not there.
      name: of the files, without their ending.

    Raises:
      EvidenceError: the directory cannot be written; names it, the cause and the fix.
    """
    from etils import epath

    from s3ft_jax.report.markdown import build_markdown
    from s3ft_jax.report.page import build_page
    from s3ft_jax.report.spreadsheets import build_spreadsheets

    texts = {
        f"{name}.json": json.dumps(contents.document, ensure_ascii=False, allow_nan=False, indent=1) + "\n",
        f"{name}.md": build_markdown(contents),
        f"{name}.html": build_page(contents),
    }
    texts |= {f"{name}-csv/{table}.csv": text for table, text in build_spreadsheets(contents).items()}
    folder = epath.Path(directory)
    try:
        (folder / f"{name}-csv").mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise EvidenceError(f"cannot write the report to {folder}: {error}. Choose a workdir you may write.") from None
    return ReportFiles(*(folder / f"{name}{ending}" for ending in (".json", ".md", ".html", "-csv")))
