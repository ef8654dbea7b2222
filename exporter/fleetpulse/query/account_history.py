"""What group accounts did over a window, from Prometheus: one column of numbers a quantity, one row a time.

Of several replicas the sums are those of all, as every series of theirs is scraped.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fleetpulse import catalogue
from fleetpulse.query.promql import Prometheus, Series, quoted
from fleetpulse.query.upstream import together

COUNTS = {
    catalogue.ACCOUNT_MESSAGES.name: "message_count",
    catalogue.ACCOUNT_REPLIES.name: "reply_count",
    catalogue.ACCOUNT_REDPACKETS.name: "redpacket_count",
    catalogue.ACCOUNT_ERRORS.name: "error_count",
}
SUMS = {
    catalogue.ACCOUNT_MESSAGES.name: "total_messages",
    catalogue.ACCOUNT_REPLIES.name: "total_replies",
    catalogue.ACCOUNT_REDPACKETS.name: "total_redpackets",
    catalogue.ACCOUNT_ERRORS.name: "total_errors",
}
REPLY_SECONDS = catalogue.ACCOUNT_REPLY_SECONDS.name
TIMED = catalogue.ACCOUNT_TIMED_REPLIES.name
SPECIAL = frozenset("\\.+*?()|[]{}^$")
Column = list[float | None]


class Window(NamedTuple):
    """From `start` to `end` (Unix seconds), with a point every `step` seconds."""

    start: float
    end: float
    step: int


class AccountHistory(NamedTuple):
    """Columns by name: those of all accounts together, and of each. None where Prometheus knows nothing."""

    times: list[float]
    step: int
    system: dict[str, Column]
    accounts: dict[str, dict[str, Column]]


async def account_history(prometheus: Prometheus, accounts: Sequence[str], window: Window) -> AccountHistory:
    """The history of these accounts, and of all together. Raises UpstreamError."""
    sums, states, counts = await together(
        prometheus.query_range(expression, *window) for expression in _expressions(accounts)
    )
    count = int((window.end - window.start) // window.step) + 1
    times = [window.start + number * window.step for number in range(count)]
    places = {round(at): place for place, at in enumerate(times)}
    return AccountHistory(times, window.step, _system(sums, states, places), _accounts(accounts, counts, places))


def _expressions(accounts: Sequence[str]) -> tuple[str, str, str]:
    sums = _names([*SUMS, REPLY_SECONDS, TIMED])
    wanted = quoted("|".join(map(_literal, accounts)))
    return (
        f"sum by (__name__) ({{{sums}}})",
        f"sum by (state) ({catalogue.ACCOUNTS.name})",
        f"sum by (__name__, account_id) ({{{_names(COUNTS)},account_id=~{wanted}}})",
    )


def _names(metrics: Iterable[str]) -> str:
    return f"__name__=~{quoted('|'.join(metrics))}"


def _literal(text: str) -> str:
    """A text as a regular expression (RE2) that matches nothing else."""
    return "".join(f"\\{each}" if each in SPECIAL else each for each in text)


def _system(counted: Sequence[Series], states: Sequence[Series], places: dict[int, int]) -> dict[str, Column]:
    columns = {each.labels["__name__"]: _column(each, places) for each in counted}
    by_state = {each.labels["state"]: _column(each, places) for each in states}
    nothing: Column = [None] * len(places)
    online, offline = by_state.get("online", nothing), by_state.get("offline", nothing)
    seconds, timed = columns.get(REPLY_SECONDS, nothing), columns.get(TIMED, nothing)
    return {
        "total_accounts": [
            None if up is None or down is None else up + down for up, down in zip(online, offline, strict=True)
        ],
        "online_accounts": online,
        **{name: columns.get(metric, nothing) for metric, name in SUMS.items()},
        "average_reply_time": [
            total / number if total is not None and number else None
            for total, number in zip(seconds, timed, strict=True)
        ],
    }


def _accounts(
    wanted: Sequence[str], found: Sequence[Series], places: dict[int, int]
) -> dict[str, dict[str, Column]]:
    nothing: Column = [None] * len(places)
    accounts = {account: dict.fromkeys(COUNTS.values(), nothing) for account in wanted}
    for each in found:
        account = accounts.get(each.labels["account_id"])
        if account is not None:
            account[COUNTS[each.labels["__name__"]]] = _column(each, places)
    return accounts


def _column(series: Series, places: dict[int, int]) -> Column:
    column: Column = [None] * len(places)
    for at, value in series.points:
        place = places.get(round(at))
        if place is not None:
            column[place] = value
    return column
