"""What is in cycles is freed, sooner or later; what is not is not walked for ever."""

import asyncio
import gc
import weakref

from fleetpulse.app.garbage import Garbage

DEADLINE = 30.0


class Knot:
    """An object that holds itself."""

    def __init__(self) -> None:
        self.own = self


async def gone(knot: "weakref.ref[Knot]") -> None:
    async with asyncio.timeout(DEADLINE):
        while knot() is not None:  # noqa: ASYNC110 - the collector tells nobody
            await asyncio.sleep(0.01)


async def test_a_cycle_that_was_alive_when_it_was_frozen_is_freed_too() -> None:
    knot = Knot()
    work = asyncio.create_task(Garbage(0.01, thorough_every=3).run())
    try:
        async with asyncio.timeout(DEADLINE):
            while not gc.get_freeze_count():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        reference = weakref.ref(knot)
        del knot
        await gone(reference)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    assert gc.get_freeze_count() == 0
