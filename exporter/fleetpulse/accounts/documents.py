"""The accounts' metrics as their document shows them: its names, its times (UTC, without a zone)."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from fleetpulse.accounts.book import Account
from fleetpulse.accounts.whole import Figures

MAX_SHOWN = 1_000
Chosen = frozenset[str]
"""Ids of accounts; none means all, of which the MAX_SHOWN that were heard last are shown."""


def document_time(at: float) -> str:
    """A time as the document writes it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def account_document(account: Account) -> dict[str, Any]:
    """One account."""
    return {
        "account_id": account.account_id,
        **account.counts(),
        "last_activity": document_time(account.state.last_activity),
    }


def metrics_update(book: Figures, chosen: Chosen, at: float) -> dict[str, Any]:
    """The message that tells all of it."""
    accounts: Iterable[Account] = book.chosen(chosen) if chosen else book.latest(MAX_SHOWN)
    return {
        "type": "metrics_update",
        "timestamp": document_time(at),
        "system_metrics": book.system(),
        "account_metrics": [account_document(account) for account in accounts],
    }
