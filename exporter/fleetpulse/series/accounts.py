"""Gauges of group accounts: each account's lines are rendered when it changes, so that a scrape only joins bytes.

An account has gauges where it has counters of its own; the counts by state have every account.
"""

from collections.abc import Iterable, Mapping

from fleetpulse import catalogue
from fleetpulse.series.text import header, labelled, number

LABELS = ("account_id",)


class AccountSeries:
    """The rendered lines of the accounts that have series. Of every account it knows the state."""

    def __init__(self) -> None:
        self._online: dict[str, bytes] = {}
        self._seen: dict[str, bytes] = {}
        self._states: dict[str, bool] = {}
        self._up = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """How many accounts are in which state."""
        return {"online": self._up, "offline": len(self._states) - self._up}

    def set(self, account_id: str, *, online: bool, seen: float, shown: bool) -> None:
        """Takes an account's state; it has gauges where `shown`."""
        self._up += online - self._states.get(account_id, False)
        self._states[account_id] = online
        if shown:
            block = labelled(LABELS, (account_id,))
            self._online[account_id] = f"{catalogue.ACCOUNT_ONLINE.name}{block} {float(online)}\n".encode()
            self._seen[account_id] = f"{catalogue.ACCOUNT_SEEN.name}{block} {number(seen)}\n".encode()

    def remove(self, account_id: str) -> None:
        """Forgets an account."""
        self._up -= self._states.pop(account_id, False)
        self._online.pop(account_id, None)
        self._seen.pop(account_id, None)

    def render(self, *, openmetrics: bool) -> Iterable[bytes]:
        """The exposition of every account."""
        for gauge, lines in ((catalogue.ACCOUNT_ONLINE, self._online), (catalogue.ACCOUNT_SEEN, self._seen)):
            if lines:
                yield header(gauge, openmetrics=openmetrics).encode()
                yield b"".join(lines.values())
        yield header(catalogue.ACCOUNTS, openmetrics=openmetrics).encode()
        for state, count in self.counts.items():
            yield f"{catalogue.ACCOUNTS.name}{labelled(catalogue.ACCOUNTS.labels, (state,))} {count}.0\n".encode()
