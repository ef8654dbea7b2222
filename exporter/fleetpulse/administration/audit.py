"""The audit log: who did what to whom, and what came of it.

Promises: a call is on disk as an intent before anything is done, and with its outcome before it is answered. So
what was answered is never missing, and what was cut off half-way is there as an intent without an outcome. Both are
events of the log, of the categories `intent` and `audit`, with the same `call_id`.
"""

import re
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fleetpulse.administration.commands import Done
from fleetpulse.errors import FleetpulseError, OverloadedError
from fleetpulse.events import Events

DONE = "audit"
ASKED = "intent"
TEXT_CHARACTERS = 200
MAX_DEPTH = 4
HIDDEN = "(hidden)"
SECRET = re.compile(r"secret|token|passw|authori[sz]ation|api.?key|credential|cookie", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """A call that is being audited."""

    call_id: str
    actor: str
    action: str
    target: str
    detail: Mapping[str, Any]


class Audit:
    """Writes the audit log."""

    def __init__(self, events: Events) -> None:
        self._events = events

    async def asked(self, action: str, target: str, *, actor: str, body: Mapping[str, Any], address: str) -> Case:
        """Notes what is about to be done. Raises OverloadedError where it cannot: then it must not be done."""
        call_id = secrets.token_hex(8)
        detail = {"call_id": call_id, "address": address, "body": redacted(body)}
        await self._events.record(ASKED, action, actor=actor, subject=target, detail=detail)
        return Case(call_id, actor, action, target, detail)

    async def failed(self, case: Case | None, error: FleetpulseError) -> None:
        """Notes that it could not be done; where even that cannot be written, the intent alone is there."""
        if case is None:
            return
        with suppress(OverloadedError):
            detail = {**case.detail, "error": error.detail}
            await self._events.record(DONE, case.action, actor=case.actor, subject=case.target, detail=detail)

    async def done(self, case: Case, outcomes: Iterable[Done]) -> dict[str, int]:
        """Notes what came of it; returns the sums by outcome. Raises OverloadedError that says it was done."""
        summary = dict(Counter(str(each.outcome) for each in outcomes))
        detail = {**case.detail, "outcomes": summary, "recipients": sum(summary.values())}
        try:
            await self._events.record(DONE, case.action, actor=case.actor, subject=case.target, detail=detail)
        except OverloadedError as error:
            raise OverloadedError(
                f"it was done, but its outcome could not be written to the audit log: {error.detail}; the intent "
                f"{case.call_id} is there"
            ) from error
        return summary


def redacted(value: Any, depth: int = MAX_DEPTH) -> Any:
    """A request's body as the audit log may hold it: without secrets, long texts cut."""
    if isinstance(value, Mapping):
        return {
            str(name): HIDDEN if SECRET.search(str(name)) else redacted(each, depth - 1) if depth else "…"
            for name, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redacted(each, depth - 1) if depth else "…" for each in value]
    if isinstance(value, str) and len(value) > TEXT_CHARACTERS:
        return f"{value[:TEXT_CHARACTERS]}… ({len(value)} characters)"
    return value
