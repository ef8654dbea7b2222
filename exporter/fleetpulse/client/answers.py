"""What the server's answer to a batch means.

An acknowledgement is believed only where its numbers add up to the batch: any other good answer, such as a sign-in
page of some network, is none. A refusal is final only in the words of Fleetpulse: a proxy's 400 is not.
"""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum

from fleetpulse.client.transport import Answer

LONGEST_RETRY_AFTER = 300.0
PROBLEM = "urn:fleetpulse:problem:"
TOO_LARGE = 413
LATER = frozenset({408, 425, 429})
JUDGED = frozenset({400, 415, 422})


class Verdict(Enum):
    """What to do with the batch."""

    KEPT = "the server has judged each of it"
    NARROW = "it is refused as a whole: try a part"
    LATER = "try again"
    BLOCKED = "try again slowly: somebody has to change something first"


@dataclass(frozen=True)
class Outcome:
    """A verdict with its reason; `pause` is what the server asked for, in seconds; counts of what was kept."""

    verdict: Verdict
    reason: str = ""
    pause: float | None = None
    stored: int = 0
    duplicates: int = 0
    rejected: int = 0


def judge(answer: Answer, count: int) -> Outcome:
    """The outcome for a batch of `count` records."""
    document = _object(answer.body)
    if answer.status in (200, 202):
        return _acknowledged(document, count)
    reason = f"HTTP {answer.status}{_detail(document)}"
    if answer.status == TOO_LARGE or (answer.status in JUDGED and _is_ours(document)):
        return Outcome(Verdict.NARROW, reason)
    if answer.status >= 500 or answer.status in LATER:  # noqa: PLR2004 - HTTP
        return Outcome(Verdict.LATER, reason, _seconds(answer.retry_after))
    return Outcome(Verdict.BLOCKED, reason)


def together(parts: Sequence[Outcome]) -> Outcome:
    """The outcome for parts of one batch that are all kept."""
    reason = next((part.reason for part in parts if part.reason), "")
    stored, duplicates = sum(part.stored for part in parts), sum(part.duplicates for part in parts)
    return Outcome(Verdict.KEPT, reason, None, stored, duplicates, sum(part.rejected for part in parts))


def _acknowledged(document: dict[str, object], count: int) -> Outcome:
    stored, duplicates, rejected = (document.get(name) for name in ("accepted", "duplicates", "rejected"))
    if not isinstance(stored, int) or not isinstance(duplicates, int) or not isinstance(rejected, list):
        return Outcome(Verdict.LATER, "the answer is no acknowledgement; is this Fleetpulse's address?")
    if stored + duplicates + len(rejected) != count:
        return Outcome(Verdict.LATER, "the acknowledgement does not add up")
    return Outcome(Verdict.KEPT, _first_reason(rejected), None, stored, duplicates, len(rejected))


def _first_reason(rejected: list[object]) -> str:
    """Why the first of the rejected was: `execution_time: Input should be …`."""
    first = rejected[0] if rejected else None
    errors = first.get("errors") if isinstance(first, dict) else None
    error = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(error, dict):
        return ""
    place = error.get("loc")
    name = ".".join(map(str, place)) if isinstance(place, list) else ""
    return f"{name}: {error.get('msg', '')}"[:300]


def _detail(document: dict[str, object]) -> str:
    detail = document.get("detail") or document.get("title")
    return f": {detail}"[:300] if isinstance(detail, str) else ""


def _is_ours(document: dict[str, object]) -> bool:
    return str(document.get("type", "")).startswith(PROBLEM)


def _object(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After (seconds or a date, RFC 9110) in seconds, jittered so that many clients do not return at once."""
    if retry_after is None:
        return None
    try:
        asked = float(retry_after) if retry_after.isdigit() else _until(retry_after)
    except (ValueError, OverflowError):
        return None
    return min(max(asked, 0.0), LONGEST_RETRY_AFTER) + random.uniform(0, 0.5)  # noqa: S311 - jitter


def _until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()
