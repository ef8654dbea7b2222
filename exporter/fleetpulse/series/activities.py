"""The fold of group accounts' activities: each account's counters, and how long replies took.

All counters of an account exist from its first activity on, so that none of them appears with a jump. Accounts past
the cap are counted under `other`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, MutableMapping

from fleetpulse import catalogue
from fleetpulse.journal.rows import ActivityRow
from fleetpulse.journal.totals import Key
from fleetpulse.series.bounds import bucket_of, les, sum_of

COUNTED = {
    "message": catalogue.ACCOUNT_MESSAGES.name,
    "reply": catalogue.ACCOUNT_REPLIES.name,
    "redpacket": catalogue.ACCOUNT_REDPACKETS.name,
    "error": catalogue.ACCOUNT_ERRORS.name,
}
SECONDS, TIMED = catalogue.ACCOUNT_REPLY_SECONDS.name, catalogue.ACCOUNT_TIMED_REPLIES.name
ALL = catalogue.ACCOUNT_ACTIVITIES.name
METRICS = (*COUNTED.values(), ALL, SECONDS, TIMED)
DURATION = catalogue.ACCOUNT_REPLY_DURATION
LE, BUCKET, SUM = les(DURATION), bucket_of(DURATION), sum_of(DURATION)
Deltas = MutableMapping[Key, float]


def fold_activities(deltas: Deltas, rows: Iterable[ActivityRow], admit: Callable[[str, int], str]) -> None:
    """Adds the rows' increments. `admit` gives an account's label, and counts the rows that are folded."""
    groups: dict[str, list[ActivityRow]] = {}
    for row in rows:
        groups.setdefault(row.account_id, []).append(row)
    for account_id, group in groups.items():
        labels = (admit(account_id, len(group)),)
        for metric in METRICS:
            deltas[Key(metric, labels)] += 0
        for row in group:
            if row.kind in COUNTED:
                deltas[Key(COUNTED[row.kind], labels)] += row.number
                deltas[Key(ALL, labels)] += row.number
            if row.kind == "reply" and row.reply_time is not None:
                _replied(deltas, labels, row.number, row.reply_time)


def _replied(deltas: Deltas, labels: tuple[str, ...], number: int, seconds: float) -> None:
    deltas[Key(TIMED, labels)] += number
    deltas[Key(SECONDS, labels)] += number * seconds
    deltas[Key(SUM, ())] += number * seconds
    deltas[Key(BUCKET, (LE[bisect_left(DURATION.buckets, seconds)],))] += number
