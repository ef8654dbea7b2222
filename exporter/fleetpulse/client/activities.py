"""What a group account's activity becomes: a record like that of a call, marked for another address.

Promises: it has an id from the start, so that one sent twice is a duplicate at the server.
Refuses: an activity without account or kind, and what the server would refuse of `count` and `reply_time`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Required, TypedDict

from fleetpulse.client.records import MAX_TEXT, Record, Shape, Text, finish, normal

MARK = b"activity "
MAX_COUNT = 1_000_000
MAX_SECONDS = 1_000_000.0
# The server's bounds, which tests/client/test_activities.py compares with fleetpulse.signals.
LIMITS = {"activity_id": 200, "account_id": 128, "account_name": 128, "kind": 64, "text": MAX_TEXT}
ACTIVITY = Shape("activity_id", LIMITS, frozenset({"count", "reply_time", "online", "metadata"}), MARK)


class ActivityFields(TypedDict, total=False):
    """What may be said of one activity. None is the same as leaving a field out; account and kind are needed.

    `kind`: "message", "reply", "redpacket" and "error" are counted; another word, such as "status", is kept and
    changes the account's state only.
    `count`: how many it stands for, 1 to 1,000,000. `reply_time`: of a reply, seconds it took; of several, their
    mean. `online`: whether the account is, from now on. Without `activity_id` one is made, without `timestamp` it
    is now (one without a zone is local time; numbers are seconds since 1970).
    """

    account_id: Required[Text]
    kind: Required[Text]
    count: int | None
    reply_time: float | timedelta | None
    online: bool | None
    activity_id: Text | None
    account_name: Text | None
    text: str | BaseException | None
    metadata: Mapping[str, object] | None
    timestamp: datetime | float | str | None


def encode_activity(fields: Mapping[str, object]) -> Record:
    """The record of one activity. Raises ValueError or TypeError for what the server would refuse."""
    said, unknown = normal(fields, ACTIVITY)
    missing = [name for name in ("account_id", "kind") if name not in said]
    if missing:
        raise ValueError(f"an activity needs {' and '.join(missing)}")
    _check_count(said.get("count", 1))
    if "reply_time" in said:
        said["reply_time"] = _reply_time(said)
    return finish(said, unknown, ACTIVITY)


def _check_count(count: object) -> None:
    if not isinstance(count, int) or not 1 <= count <= MAX_COUNT:
        raise ValueError(f"count must be a whole number from 1 to {MAX_COUNT}")


def _reply_time(said: Mapping[str, object]) -> float:
    """Seconds."""
    given = said["reply_time"]
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if str(said["kind"]).strip().lower() != "reply":
        raise ValueError("reply_time belongs to an activity of kind reply")
    if not isinstance(seconds, (int, float)) or not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"reply_time must be seconds from 0 to {MAX_SECONDS:.0f}")
    return seconds
