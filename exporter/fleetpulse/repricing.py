"""Prices given at run time, and stored requests that get a cost afterwards.

A price is in force for new requests once it is stored. Then a run gives the stored requests without a cost theirs,
a few at a time between ingest's own transactions, so that ingest waits for one such transaction (milliseconds) at
the most. Runs wait for one another; one that was cut off goes on after the next start.
"""

import asyncio
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from fleetpulse.config import ModelPrice
from fleetpulse.errors import InvalidInputError, NotFoundError, OverloadedError
from fleetpulse.journal import REQUESTS, Journal
from fleetpulse.journal.corrections import (
    Correct,
    Correction,
    FoldCorrections,
    UnpricedRow,
    unpriced,
)
from fleetpulse.journal.prices import (
    BeginRun,
    DeletePrice,
    EndRun,
    GivenPrice,
    read_prices,
    unfinished_runs,
)
from fleetpulse.journal.writes import Barrier
from fleetpulse.pricing import Pricer, Tariff

CHUNK_ROWS = 256
PAUSE_SECONDS = 0.001  # at least, between chunks
MAX_GIVEN = 1_000
MAX_RUNS = 100
log = logging.getLogger(__name__)


class Order(BaseModel):
    """Which stored requests a run is to price, and who said so; None is any."""

    model_config = ConfigDict(frozen=True)

    made_by: str
    model: str | None = None
    provider: str | None = None
    source: str | None = None

    def wants(self, row: UnpricedRow) -> bool:
        """Whether a request is one of those."""
        return self.provider in (None, row.provider) and self.source in (None, row.source)


@dataclass(eq=False)
class Run:
    """A run that waits, is at work, or is `over`: `finished`, or cut off until the next start."""

    run_id: str
    order: Order
    over: asyncio.Event = field(default_factory=asyncio.Event)
    finished: bool = False


class Repricing:
    """Owns the prices given at run time, and the runs. Lives on the event loop."""

    def __init__(
        self,
        journal: Journal,
        pricer: Pricer,
        fold: FoldCorrections,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes up what was kept. Blocks for a moment."""
        self.pricer = pricer
        self._journal = journal
        self._fold = fold
        self._clock = clock
        with closing(journal.reader()) as reader:
            self._given = {(kept.model, kept.provider): kept for kept in read_prices(reader)}
            kept_runs = unfinished_runs(reader)
        self._runs = deque(Run(run_id, Order.model_validate_json(order)) for run_id, order in kept_runs)
        self._woken = asyncio.Event()
        self._lock = asyncio.Lock()
        self._give()

    @property
    def given(self) -> Sequence[GivenPrice]:
        """The prices given at run time."""
        return list(self._given.values())

    @property
    def pending(self) -> int:
        """Runs that are not done."""
        return len(self._runs)

    async def set_price(self, price: ModelPrice, made_by: str) -> Run:
        """Puts a price in force, in place of the one for the same model and provider, and begins to use it.

        Raises InvalidInputError where the configuration decides or too many are kept, and OverloadedError.
        """
        kept = GivenPrice(
            price.model, price.provider or "", self._clock(), made_by, price.model_dump_json(exclude_none=True)
        )
        async with self._lock:
            self._admit(price)
            order = Order(made_by=made_by, model=price.model, provider=price.provider)
            return await self._begin(order, kept)

    async def delete_price(self, model: str, provider: str | None) -> None:
        """Takes a price back; what was priced by it keeps its cost. Raises NotFoundError, OverloadedError."""
        key = (model, provider or "")
        async with self._lock:
            if not await self._journal.submit(DeletePrice(*key)):
                raise NotFoundError("no such price was given")
            self._given.pop(key, None)
            self._give()

    async def price_stored(self, order: Order) -> Run:
        """Begins to price stored requests by the prices in force. Raises OverloadedError."""
        async with self._lock:
            return await self._begin(order, None)

    async def would(self, order: Order, price: ModelPrice | None = None) -> AsyncIterator[list[Correction]]:
        """What a run would correct now, with one more price if given; in parts.

        Raises InvalidInputError as `set_price` would.
        """
        pricer = self.pricer
        if price is not None:
            self._admit(price)
            pricer = Pricer(self.pricer.configured)
            others = (
                each for each in self.pricer.given if (each.model, each.provider) != (price.model, price.provider)
            )
            pricer.give([*others, price])
        async for corrections in self._corrections(order, pricer):
            yield corrections

    async def run(self) -> None:
        """Does the runs, one after another, until cancelled.

        A run begins behind a barrier: whoever priced a request before the price was in force has submitted it at
        once, so it is stored by then.
        """
        try:
            while True:
                while self._runs:
                    await self._attempt(self._runs[0])
                    self._runs.popleft().over.set()
                self._woken.clear()
                await self._woken.wait()
        finally:
            for run in self._runs:
                run.over.set()

    async def _attempt(self, run: Run) -> None:
        try:
            await self._do(run)
        except Exception:  # storage that cannot be read, most likely
            log.exception("stored requests could not be priced; the next start tries again")

    def _admit(self, price: ModelPrice) -> None:
        configured = self.pricer.configured_for(price)
        if configured is not None:
            msg = f"is decided by the setting `prices`, which has {configured.model!r}: change it there"
            raise InvalidInputError("the configuration sets this price", [{"loc": ["body", "model"], "msg": msg}])
        if len(self._given) >= MAX_GIVEN and (price.model, price.provider or "") not in self._given:
            msg = f"would be price number {MAX_GIVEN + 1}; take back one that is not used, or use `*`"
            raise InvalidInputError("too many prices were given", [{"loc": ["body", "model"], "msg": msg}])

    async def _begin(self, order: Order, price: GivenPrice | None) -> Run:
        if len(self._runs) >= MAX_RUNS:
            raise OverloadedError(f"{len(self._runs)} runs wait already; nothing was changed", retry_after=10)
        run = Run(secrets.token_hex(8), order)
        await self._journal.submit(BeginRun(run.run_id, order.model_dump_json(), price))
        if price is not None:
            self._given[price.model, price.provider] = price
            self._give()
        self._runs.append(run)
        self._woken.set()
        return run

    def _give(self) -> None:
        self.pricer.give(ModelPrice.model_validate_json(kept.price) for kept in self._given.values())

    async def _do(self, run: Run) -> None:
        corrected = 0
        await self._write(Barrier())
        async for corrections in self._corrections(run.order, self.pricer):
            began = time.perf_counter()
            await self._write(Correct(corrections, self._fold, run.run_id, run.order.made_by, self._clock()))
            corrected += len(corrections)
            await asyncio.sleep(max(PAUSE_SECONDS, time.perf_counter() - began))
        await self._write(EndRun(run.run_id))
        run.finished = True
        log.info("%d stored requests were priced (run %s, by %s)", corrected, run.run_id, run.order.made_by)

    async def _write(self, write: Barrier | Correct | EndRun) -> None:
        """Writes; waits for as long as the journal takes nothing."""
        while True:
            try:
                await self._journal.submit(write)
            except OverloadedError as error:
                log.warning("the pricing of stored requests waits: %s", error.detail)
                await asyncio.sleep(error.retry_after)
            else:
                return

    async def _corrections(self, order: Order, pricer: Pricer) -> AsyncIterator[list[Correction]]:
        """The stored requests that the order is of and that there is a price for, a chunk at a time."""
        last = self._journal.newest_id(REQUESTS)
        async for rows in unpriced(self._journal.reader, order.model, last, CHUNK_ROWS):
            corrections = _priced(pricer, [row for row in rows if order.wants(row)])
            if corrections:
                yield corrections


def _priced(pricer: Pricer, rows: Sequence[UnpricedRow]) -> list[Correction]:
    corrections = []
    said: dict[Tariff, str] = {}
    for row in rows:
        tariff = pricer.tariff(row)
        usd = None if tariff is None else tariff.cost(row).usd
        if tariff is not None and usd is not None:
            if tariff not in said:
                said[tariff] = json.dumps(tariff.described(), ensure_ascii=False)
            corrections.append(Correction(row, usd, said[tariff]))
    return corrections
