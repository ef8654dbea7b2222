"""Reads a CSV or JSONL file as numbered records. Owns the formats; knows nothing of request logs."""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

import orjson

from fleetpulse.errors import InvalidInputError

CHUNK = 2**20
JSON_ENDINGS = frozenset({".jsonl", ".ndjson", ".json"})


@dataclass(frozen=True)
class Record:
    """One row: its number (from 0) and fields, or why it cannot be read."""

    number: int
    fields: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Source:
    """A file that was looked at: its format, columns (CSV only), content digest and estimated rows."""

    path: Path
    format: Literal["csv", "jsonl"]
    columns: tuple[str, ...]
    digest: str
    rows: int

    def records(self) -> Iterator[Record]:
        """The file's records in order; an unreadable one carries its error and never stops the rest.

        Raises InvalidInputError where the file itself stops being text.
        """
        read = _csv_records if self.format == "csv" else _json_records
        try:
            with _open(self.path) as file:
                yield from read(file)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InvalidInputError(f"{self.path}: cannot be read further: {error}") from error


def look(path: Path) -> Source:
    """Looks at a file; raises InvalidInputError when it is missing, empty or not text."""
    try:
        digest, lines = _digest(path)
        with _open(path) as file:
            first = file.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: {getattr(error, 'strerror', None) or 'is not UTF-8 text'}") from error
    if not first.strip():
        raise InvalidInputError(f"{path}: has no first line")
    if path.suffix.lower() in JSON_ENDINGS or first.lstrip().startswith("{"):
        return Source(path, "jsonl", (), digest, lines)
    return Source(path, "csv", tuple(name.strip() for name in next(csv.reader([first]))), digest, lines - 1)


def _open(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", newline="")


def _digest(path: Path) -> tuple[str, int]:
    """The content's digest and its number of lines, in one pass."""
    digest, lines, last = hashlib.blake2b(digest_size=8), 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            lines += chunk.count(b"\n")
            last = chunk
    return digest.hexdigest(), lines + (not last.endswith(b"\n"))


def _csv_records(file: TextIO) -> Iterator[Record]:
    reader = csv.reader(file)
    header = [name.strip() for name in next(reader)]
    number = 0
    for cells in reader:
        if not cells:
            continue
        if len(cells) > len(header):
            yield Record(number, error=f"has {len(cells)} cells under {len(header)} columns")
        else:
            yield Record(number, dict(zip(header, cells, strict=False)))
        number += 1


def _json_records(file: TextIO) -> Iterator[Record]:
    number = 0
    for line in file:
        if not line.strip():
            continue
        yield _json_record(number, line)
        number += 1


def _json_record(number: int, line: str) -> Record:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Record(number, error=f"is not JSON: {error}")
    if not isinstance(fields, dict):
        return Record(number, error="is not a JSON object")
    return Record(number, fields)
