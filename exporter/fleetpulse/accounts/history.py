"""What the accounts' metrics were, for clients of `ws/metrics` that ask: from Prometheus, in as few points as fit.

The more accounts, the fewer points: a history has MAX_VALUES numbers at most, so it is made and sent in one go.
"""

import asyncio
from math import ceil
from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field

from fleetpulse.accounts.documents import Chosen, document_time
from fleetpulse.accounts.whole import Figures
from fleetpulse.errors import OverloadedError, UpstreamError
from fleetpulse.query.account_history import AccountHistory, Window, account_history
from fleetpulse.query.promql import Prometheus

MAX_MINUTES = 7 * 24 * 60
MAX_POINTS = 240
MAX_VALUES = 40_000
MAX_ACCOUNTS = 100  # where none are chosen: those heard last
FIELDS = 4  # numbers of one account at one time
LEAST_STEP = 5
AT_ONCE, WAITING = 2, 32
SECONDS = 10.0  # a client that waits for it is not live yet


class Span(BaseModel):
    """How far back, and with which step, which may become larger."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    minutes: Annotated[float, Field(gt=0, le=MAX_MINUTES)] = 15
    """Minutes, a week at most."""
    step: Annotated[int, Field(ge=LEAST_STEP, le=86_400)] | None = None
    """Seconds between two points; default: as fine as may be."""


class HistoryDesk:
    """Asks Prometheus, for a few clients at once."""

    def __init__(self, prometheus: Prometheus, book: Figures) -> None:
        self._prometheus = prometheus
        self._book = book
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def message(self, span: Span, chosen: Chosen, now: float) -> bytes:
        """The message `metrics_history`. Raises UpstreamError, or OverloadedError where too many ask."""
        if self._waiting >= WAITING:
            raise OverloadedError("too many ask for a history at once; ask again later")
        accounts = sorted(chosen) or [account.account_id for account in self._book.latest(MAX_ACCOUNTS)]
        window = _window(span, len(accounts), now)
        self._waiting += 1
        try:
            async with asyncio.timeout(SECONDS), self._turns:
                history = await account_history(self._prometheus, accounts, window)
        except TimeoutError as error:
            raise UpstreamError("Prometheus", f"did not answer within {SECONDS:g} s") from error
        finally:
            self._waiting -= 1
        return await asyncio.to_thread(_encoded, history, now)


def _window(span: Span, accounts: int, now: float) -> Window:
    """The times that are asked for: whole steps, so that all who ask with one step ask for the same."""
    seconds = span.minutes * 60
    points = max(2, min(MAX_POINTS, MAX_VALUES // (FIELDS * max(accounts, 1))))
    step = max(span.step or 0, LEAST_STEP, ceil(seconds / (points - 1)))
    end = now // step * step
    return Window(end - seconds // step * step, end, step)


def _encoded(history: AccountHistory, now: float) -> bytes:
    times = [document_time(at) for at in history.times]
    shown = {
        "type": "metrics_history",
        "timestamp": document_time(now),
        "step": history.step,
        "timestamps": times,
        "system_metrics": history.system,
        "account_metrics": [{"account_id": name, **columns} for name, columns in history.accounts.items()],
    }
    return orjson.dumps(shown)
