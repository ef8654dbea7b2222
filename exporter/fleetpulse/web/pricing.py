"""What a run that prices stored requests has done, or would do: the part of the answers that is the same."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any, NotRequired

from typing_extensions import TypedDict

from fleetpulse.config import ModelPrice
from fleetpulse.journal import Journal
from fleetpulse.journal.corrections import Correction, Entry, corrected_by, corrections_of
from fleetpulse.repricing import Run

WAIT_SECONDS = 5.0  # for a run; one that takes longer goes on by itself
MAX_GROUPS = 1_000


class Rates(TypedDict):
    """What calls of a model cost, in USD per million tokens and per request."""

    model: NotRequired[str]
    provider: NotRequired[str]
    input_usd_per_million: NotRequired[float]
    output_usd_per_million: NotRequired[float]
    cached_usd_per_million: NotRequired[float]
    request_usd: NotRequired[float]
    valid_from: NotRequired[datetime]


class Group(TypedDict):
    """Requests of one source to one model."""

    source: str
    model: str
    provider: str | None
    requests: int
    cost_usd: float


class Pricing(TypedDict):
    """What a run has priced so far, or would (`run_id` is null then). At most 1,000 groups are listed."""

    run_id: str | None
    finished: bool
    requests: int
    cost_usd: float
    groups: list[Group]


class Priced(TypedDict):
    """The stored requests that got a cost, or would."""

    dry_run: bool
    pricing: Pricing


async def outcome(journal: Journal, run: Run) -> Pricing:
    """What a run has done once it is finished, or after a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(WAIT_SECONDS):
            await run.over.wait()
    finished = run.finished
    (requests, cost), entries = await asyncio.to_thread(_entered, journal, run.run_id)
    return {
        "run_id": run.run_id,
        "finished": finished,
        "requests": requests,
        "cost_usd": cost,
        "groups": [_group(each.source, each.model, each.provider, each.requests, each.cost) for each in entries],
    }


async def preview(parts: AsyncIterator[Sequence[Correction]]) -> Pricing:
    """What a run would do."""
    requests, cost = 0, 0.0
    groups: dict[tuple[str, str, str], Group] = {}
    async for corrections in parts:
        for row, usd, _ in corrections:
            requests, cost = requests + 1, cost + usd
            key = (row.source, row.model or "", row.provider or "")
            if key in groups or len(groups) < MAX_GROUPS:
                group = groups.setdefault(key, _group(*key, 0, 0.0))
                group["requests"] += 1
                group["cost_usd"] += usd
        await asyncio.sleep(0)
    found = list(groups.values())
    return {"run_id": None, "finished": True, "requests": requests, "cost_usd": cost, "groups": found}


def rates(price: ModelPrice) -> Rates:
    """A price as it is shown."""
    said: Any = price.model_dump(exclude_none=True)
    shown: Rates = said
    return shown


def moment(seconds: float) -> datetime:
    """Unix seconds as they are shown."""
    return datetime.fromtimestamp(seconds, UTC)


def _entered(journal: Journal, run_id: str) -> tuple[tuple[int, float], list[Entry]]:
    with closing(journal.reader()) as reader:
        return corrected_by(reader, run_id), corrections_of(reader, run_id, MAX_GROUPS)


def _group(source: str, model: str, provider: str, requests: int, cost: float) -> Group:
    return {"source": source, "model": model, "provider": provider or None, "requests": requests, "cost_usd": cost}
