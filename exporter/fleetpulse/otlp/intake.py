"""From the body of an export request to validated request logs, and the account of everything else in it.

What a request log may hold is decided by `RequestLog`: every call that is not plainly in bounds (`checked`) passes
its validation. One that fails it is trimmed (long texts cut, control characters replaced) and tried once more; what
fails again, such as a negative number of tokens, is rejected and the reason told.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fleetpulse.otlp.calls import Source, Unreadable, of_record, of_span, source
from fleetpulse.otlp.checked import CheckedLog, Checker
from fleetpulse.otlp.plain import Kind, Record, Span
from fleetpulse.otlp.reply import JSON, PROTOBUF
from fleetpulse.otlp.wire_json import steps
from fleetpulse.otlp.wire_protobuf import ProtobufReader
from fleetpulse.signals import RequestLog

MAX_REASONS = 5
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
LABELS = {"source": 128, "model": 128, "provider": 128, "user_id": 200, "session_id": 200, "account_id": 200}
TEXTS = {"command": 8_192, "error": 8_192}

ONE: TypeAdapter[RequestLog] = TypeAdapter(RequestLog)


@dataclass(slots=True)
class Account:
    """What came of the items of one request so far: the good, the ignored, and why others were rejected."""

    good: list[RequestLog | CheckedLog] = field(default_factory=list)
    ignored: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def reasons(self, what: str) -> str:
        """The rejections in words: `what` are spans or log records. Never shows what was sent."""
        common = self.rejected.most_common(MAX_REASONS)
        more = len(self.rejected) - len(common)
        listed = "; ".join(f"{count} {what} rejected: {reason}" for reason, count in common)
        return f"{listed}; and {more} other reasons" if more > 0 else listed


class Intake:
    """Reads export requests."""

    def __init__(self, most: int, *, events: bool) -> None:
        """At most so many items a request; `events`: whether events of exported spans are request logs, too."""
        self._most = most
        self._events = events
        self._checker = Checker()
        self._steps = {JSON: steps, PROTOBUF: ProtobufReader().steps}

    def read(self, kind: Kind, media: str, body: bytes, account: Account) -> Iterator[None]:
        """Adds the items of a body to an account, a step at each `next`.

        Raises MalformedError or TooLargeError: then nothing of the account may be used.
        """
        sources: dict[int, Source] = {}
        for step in self._steps[media](kind, body, self._most):
            key = id(step.origin)
            if key not in sources:
                sources = {key: source(step.origin)}
            self._take(step.items, sources[key], account)
            yield

    def _take(self, items: list[Span] | list[Record], source: Source, account: Account) -> None:
        for item in items:
            try:
                fields = self._fields(item, source)
                if fields is None:
                    account.ignored += 1
                else:
                    account.good.append(self._checker.checked(fields) or _validated(fields))
            except Unreadable as error:
                account.rejected[str(error)] += 1
            except ValidationError as error:
                account.rejected[_reason(error)] += 1

    def _fields(self, item: Span | Record, source: Source) -> dict[str, Any] | None:
        if isinstance(item, Span):
            return of_span(item, source)
        return of_record(item, source, always=self._events)


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")


def _validated(fields: dict[str, Any]) -> RequestLog:
    try:
        return ONE.validate_python(fields)
    except ValidationError:
        return ONE.validate_python(_trimmed(fields))


def _trimmed(fields: dict[str, Any]) -> dict[str, Any]:
    """The same within the bounds of text. A label of nothing but blanks is none."""
    trimmed = dict(fields)
    for name, most in LABELS.items():
        if fields.get(name):
            trimmed[name] = UNPRINTABLE.sub(" ", fields[name]).strip()[:most].strip() or None
    for name, most in TEXTS.items():
        if fields.get(name):
            trimmed[name] = fields[name].replace("\x00", " ")[:most]
    trimmed["source"] = trimmed["source"] or "unknown_service"
    return {name: value for name, value in trimmed.items() if value is not None}
