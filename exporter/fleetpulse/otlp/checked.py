"""Request logs that need no validation, because it can be seen at a glance that they would pass it.

pydantic takes a seventh of the time that a span takes. What this says is in bounds is in bounds for `RequestLog`,
with the very same values (a test holds it to that); of what it is not sure about, `RequestLog` decides.
"""

import time
from datetime import datetime
from typing import Any, NamedTuple

from fleetpulse.signals import DAY_SECONDS, MAX_INT, MAX_SECONDS, MAX_USD

MAX_LABEL, MAX_IDENTIFIER, MAX_TEXT = 128, 200, 8_192
MAX_KNOWN = 4_096


class CheckedLog(NamedTuple):
    """The fields of a request log that are all in bounds; as `RequestLog` names them."""

    request_id: str
    source: str
    status: str
    execution_time: float
    user_id: str = ""
    command: str = ""
    tokens_used: int | None = None
    cost: float | None = None
    timestamp: datetime | None = None
    model: str | None = None
    provider: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    error: str | None = None
    session_id: str | None = None
    trace_id: str | None = None
    metadata: dict[str, Any] | None = None
    account_id: str | None = None

    @property
    def total_tokens(self) -> int:
        """As `RequestLog` has it."""
        return max(self.tokens_used or 0, (self.input_tokens or 0) + (self.output_tokens or 0))


class Checker:
    """Knows good labels again: models, providers and sources are few."""

    def __init__(self) -> None:
        self._labels: set[str | None] = {None}

    def checked(self, fields: dict[str, Any]) -> CheckedLog | None:
        """The request log, or None where `RequestLog` has to look at it.

        `fields` are as `calls` makes them: ids, status and metadata are known to be in bounds.
        """
        log = CheckedLog(**fields)
        labels = self._labels
        if not (
            (log.model in labels or self._is_label(log.model))
            and (log.provider in labels or self._is_label(log.provider))
            and (log.source in labels or self._is_label(log.source))
            and 0 <= log.execution_time <= MAX_SECONDS
            and (log.timestamp is None or log.timestamp.timestamp() <= time.time() + DAY_SECONDS)
            and _are_tokens(log)
            and (log.cost is None or (type(log.cost) is float and 0 <= log.cost <= MAX_USD))
            and (log.user_id == "" or _is_plain(log.user_id, MAX_IDENTIFIER))
            and (log.session_id is None or _is_plain(log.session_id, MAX_IDENTIFIER))
            and (log.account_id is None or _is_plain(log.account_id, MAX_IDENTIFIER))
            and len(log.command) <= MAX_TEXT
            and "\x00" not in log.command
            and (log.error is None or "\x00" not in log.error)
        ):
            return None
        return log

    def _is_label(self, text: str | None) -> bool:
        if text is None or not _is_plain(text, MAX_LABEL):
            return False
        if len(self._labels) < MAX_KNOWN:
            self._labels.add(text)
        return True


def _is_plain(text: str, most: int) -> bool:
    """Whether a text is short, and would be the same without blanks at its ends and control characters."""
    return 0 < len(text) <= most and text.isprintable() and text[0] != " " and text[-1] != " "


def _are_tokens(log: CheckedLog) -> bool:
    for count in (log.input_tokens, log.output_tokens, log.cached_tokens, log.tokens_used):
        if count is not None and (type(count) is not int or not 0 <= count <= MAX_INT):
            return False
    return not log.cached_tokens or log.cached_tokens <= (log.input_tokens or 0)
