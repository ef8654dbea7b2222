"""How a call ended: the status label of a request log, and its error's text."""

import re
from collections.abc import Sequence

from fleetpulse.otlp.plain import Attributes, Event

SUCCESS, ERROR = "success", "error"
KINDS = (
    ("timeout", re.compile(r"time.?out|timed.?out|deadline.?exceeded|\b(?:408|504)\b", re.IGNORECASE)),
    (
        "rate_limited",
        re.compile(r"rate.?limit|too.?many.?requests|resource.?exhausted|throttl|\b429\b", re.IGNORECASE),
    ),
    ("cancelled", re.compile(r"cancel", re.IGNORECASE)),
)
CLASS = re.compile(r"<class '(.+)'>")  # how Python prints a class, which is what some report as its name
MAX_JUDGED = 1_000  # characters of a message that may say what kind of error it was
MAX_ERROR = 8_192


def outcome(found: Attributes, message: str, events: Sequence[Event], *, failed: bool) -> tuple[str, str | None]:
    """Status and error. A call failed where its span says so, or where it names a type of error."""
    said = found.get("error_type")
    if not failed and said is None:
        return SUCCESS, None
    exception = next((event.attributes for event in reversed(events) if event.name == "exception"), {})
    kind = _name(said) or _name(exception.get("exception.type"))
    message = message or str(exception.get("exception.message") or "")
    return _status(kind, message), _text(kind, message)


def _name(value: object) -> str:
    text = "" if value is None else str(value)
    found = CLASS.fullmatch(text)
    return found[1] if found else text


def _status(kind: str, message: str) -> str:
    """The type tells more surely than the message, which is asked only where the type says nothing."""
    for text in (kind, message[:MAX_JUDGED]):
        for status, pattern in KINDS:
            if pattern.search(text):
                return status
    return ERROR


def _text(kind: str, message: str) -> str | None:
    if kind and message and kind not in message:
        return f"{kind}: {message}"[:MAX_ERROR]
    return (message or kind)[:MAX_ERROR] or None
