"""Prometheus' HTTP API (v1): instant and range queries, and how a selector is written.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/. Queries are posted, as they may be long.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fleetpulse.errors import UpstreamError
from fleetpulse.query.upstream import Upstream

QUERY_SECONDS = 15
PLAIN = frozenset(map(chr, range(0x20, 0x7F))) - {'"', "\\"}
MAX_ERROR = 200


class Series(NamedTuple):
    """A series of an answer: its labels, and `(Unix seconds, value)` in order; an instant query's has one."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


class Prometheus(Upstream):
    """Asks one Prometheus, or whatever speaks its API. Every method raises UpstreamError."""

    def __init__(self, url: str, token_file: Path | None = None, seconds: float = QUERY_SECONDS) -> None:
        super().__init__("Prometheus", url, token_file, seconds)
        self._seconds = seconds

    async def query(self, expression: str, at: float) -> list[Series]:
        """An instant query at a time; of a range selector, the samples as they were scraped."""
        return await self._samples("/api/v1/query", {"query": expression, "time": _time(at)})

    async def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """The expression's values at `start`, every `step` seconds after it, up to and with `end`."""
        when = {"start": _time(start), "end": _time(end), "step": _time(step)}
        return await self._samples("/api/v1/query_range", {"query": expression} | when)

    def explain(self, document: Any) -> str:
        """Prometheus says `{"status": "error", "errorType", "error"}`."""
        return str(document.get("error", ""))[:MAX_ERROR] if isinstance(document, dict) else ""

    async def _samples(self, path: str, form: Mapping[str, str]) -> list[Series]:
        document = await self.post(path, {**form, "timeout": f"{self._seconds:g}s"})
        try:
            return [_series(each) for each in document["data"]["result"]]
        except (KeyError, TypeError, ValueError) as error:
            raise UpstreamError(self.name, "answered something else than series") from error


def selector(name: str, matchers: Mapping[str, str]) -> str:
    """A selector of the series whose labels have exactly these values."""
    return f"{name}{{{','.join(f'{label}={quoted(value)}' for label, value in matchers.items())}}}"


def quoted(value: str) -> str:
    """A PromQL string. All but printable ASCII is escaped: its scanner takes some characters for the end."""
    return '"' + "".join(each if each in PLAIN else f"\\U{ord(each):08x}" for each in value) + '"'


def duration(seconds: float) -> str:
    """A PromQL duration, to the millisecond."""
    return f"{round(seconds * 1000)}ms"


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"


def _series(each: Any) -> Series:
    points = each["values"] if "values" in each else [each["value"]]
    return Series(dict(each["metric"]), [(float(at), float(value)) for at, value in points])
