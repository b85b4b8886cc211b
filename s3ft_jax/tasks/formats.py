"""Formats: one data file -> its rows, each with its ``file:row``.

In: a path, local or in a bucket: jsonl, json, csv, parquet, the first three also as .gz, or one file in a zip. Out:
pairs of place and values. What cannot be read of one row is an ``Unreadable`` in the place of its values, so that
whoever counts rows decides what to do about it; a file that is no table at all is an error.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import json
import pathlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from s3ft_jax.tasks.task import DataError

PLAIN = (".jsonl", ".json", ".csv", ".parquet")
SUFFIXES = (*PLAIN, ".zip", ".jsonl.gz", ".json.gz", ".csv.gz")
DEEPEST = 100
"""Lists and objects inside of one another that a row may have; more is no data, and would break what writes it."""
_HALF = re.compile("[\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A row that cannot be read, and why."""

    problem: str


def read_file(path: Any) -> Iterator[tuple[str, Any]]:
    """(``file:row``, values or ``Unreadable``) of every row; rows are counted from 1 as an editor counts lines.

    Raises:
      DataError: a file of unknown kind, or one that is no table at all.
    """
    readers = {".jsonl": _jsonl_rows, ".json": _json_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
    if path.suffix == ".zip":
        path = _unpacked(path)
    elif path.name.endswith(SUFFIXES) and path.suffix == ".gz":
        path = _Packed(path, path.name.removesuffix(".gz"), lambda outer=path: _Unzipped(outer))
    if path.suffix not in readers:
        raise DataError(f"{path}: unknown kind of file. Use one of {', '.join(SUFFIXES)}.")
    try:
        yield from readers[path.suffix](path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}). Pack or download it again.") from None


def stem(name: str) -> str:
    """A data file's name without what says its kind: ``train.jsonl.gz`` -> ``train``."""
    return pathlib.PurePath(name.removesuffix(".gz")).stem


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    names = {str: "text", list: "a list", int: "a number", float: "a number", bool: "true or false", type(None): "null"}
    return names.get(type(value), type(value).__name__)


class _Packed:
    """A file inside of another, with what the readers ask of a path.

    Args:
      outer: the path of the other, which messages name.
      name: what it was called before it was packed.
      opened: its bytes, from the beginning.
    """

    def __init__(self, outer: Any, name: str, opened: Callable[[], io.BufferedIOBase]):
        self.outer, self.opened = outer, opened
        self.suffix = pathlib.PurePath(name.removesuffix(".zip")).suffix

    def __str__(self) -> str:
        return str(self.outer)

    def read_text(self, encoding: str) -> str:
        with self.opened() as file:
            return file.read().decode(encoding)

    def open(self, mode: str, encoding: str | None = None) -> Any:
        file = self.opened()
        return file if "b" in mode else io.TextIOWrapper(file, encoding=encoding)


class _Unzipped(gzip.GzipFile):
    """The bytes in a .gz, which closes the file below, too."""

    def __init__(self, path: Any):
        self.below = path.open("rb")
        super().__init__(fileobj=self.below, mode="rb")

    def close(self) -> None:
        super().close()
        self.below.close()


def _unpacked(path: Any) -> Any:
    """The one file in a zip, as a path that can be read; named by what it was before it was packed where it says so."""
    try:
        packed = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    except zipfile.BadZipFile:
        raise DataError(f"{path}: not a zip file. Download it again.") from None
    names = [name for name in packed.namelist() if not name.endswith("/")]
    if len(names) != 1:
        raise DataError(f"{path}: holds {len(names)} files; unpack it and name one of them.")
    return _Packed(path, names[0], lambda: io.BytesIO(packed.read(names[0])))


def _jsonl_rows(path: Any) -> Iterator[tuple[str, Any]]:
    with path.open("r", encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield f"{path}:{number}", _whole(json.loads(line.rstrip()), _doubtful(line))
            except json.JSONDecodeError as error:
                yield f"{path}:{number}", Unreadable(f"not JSON: {error.msg} at column {error.colno}")
            except ValueError as error:  # a number of thousands of digits
                yield f"{path}:{number}", Unreadable(f"not JSON: {error}")
            except RecursionError:
                yield f"{path}:{number}", Unreadable(_TOO_DEEP)


def _json_rows(path: Any) -> Iterator[tuple[str, Any]]:
    text = path.read_text(encoding="utf-8-sig")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: not JSON: {error.msg} at column {error.colno}. "
            "Repair the file, or name it .jsonl if each line is an object of its own."
        ) from None
    except (ValueError, RecursionError) as error:
        cause = _TOO_DEEP if isinstance(error, RecursionError) else error
        raise DataError(f"{path}: not JSON that can be read: {cause}. Repair the file.") from None
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
    if not isinstance(content, list):
        raise DataError(f'{path}: holds {kind_of(content)}; expected a list of objects, or {{"data": [...]}}.')
    doubtful = _doubtful(text)
    for number, values in enumerate(content, 1):
        yield f"{path}:{number}", _whole(values, doubtful)


_TOO_DEEP = f"more than {DEEPEST} lists and objects inside of one another"


def _doubtful(text: str) -> bool:
    """Whether JSON may hold what ``_whole`` looks for, which takes far longer to say for sure."""
    return "\\ud" in text.lower() or text.count("[") + text.count("{") > DEEPEST


def _whole(values: Any, doubtful: bool) -> Any:
    """The values, or why they cannot be written to a file as text."""
    if not doubtful:
        return values
    left = [(values, 1)]
    while left:
        value, depth = left.pop()
        if isinstance(value, str) and _HALF.search(value):
            return Unreadable("holds half of a character (a lone surrogate such as \\ud800), which is no text")
        if isinstance(value, Mapping | list):
            if depth > DEEPEST:
                return Unreadable(_TOO_DEEP)
            parts = [*value, *value.values()] if isinstance(value, Mapping) else value
            left += [(part, depth + 1) for part in parts]
    return values


def _csv_rows(path: Any) -> Iterator[tuple[str, Any]]:
    csv.field_size_limit(2**31 - 1)
    text = io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")
    reader = csv.DictReader(text, strict=True)
    if not reader.fieldnames:
        raise DataError(f"{path}: empty; the first line must name the columns.")
    start = reader.line_num + 1
    while True:
        where = f"{path}:{start}"
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{where}: not CSV: {error}. Repair the quotes.") from None
        start = reader.line_num + 1
        if None in values or None in values.values():
            extra = len(values.get(None) or ())
            count = sum(1 for key, value in values.items() if key is not None and value is not None) + extra
            yield where, Unreadable(f"has {count} columns where the header has {len(reader.fieldnames)}")
        else:
            yield where, values


def _parquet_rows(path: Any) -> Iterator[tuple[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as file:
            number = 0
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches():
                for values in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", values
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path}: not a Parquet file ({str(error).splitlines()[0]}). Write it again.") from None
