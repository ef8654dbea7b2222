"""Python's cycle collector, kept from stalling the loop.

What the exporter holds for long (connections, the live feed's history, agents) is much, and hardly ever part of a
cycle: it goes when its last reference does. The collector walks all of it again and again all the same, for a tenth
of a second and more at a time. So what has survived a pass is frozen: freed as ever, but walked no more. Now and
then everything is walked once, for cycles that were alive when they were frozen.

Source: https://docs.python.org/3/library/gc.html#gc.freeze
"""

import asyncio
import gc

NEW_OBJECTS = 10_000  # before it looks: a batch makes thousands that live as long as it does
YOUNG_PASSES = 4
FREEZE_SECONDS = 5.0
THOROUGH_EVERY = 120  # freezes


def begin() -> None:
    """Freezes what was restored, and has the collector look less often."""
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, YOUNG_PASSES)


class Garbage:
    """Works in the background."""

    async def run(self) -> None:
        """Collects and freezes until cancelled; thaws at the end, or what is left in cycles is never freed."""
        passes = 0
        try:
            while True:
                await asyncio.sleep(FREEZE_SECONDS)
                passes += 1
                if passes % THOROUGH_EVERY == 0:
                    gc.unfreeze()
                gc.collect()
                gc.freeze()
        finally:
            gc.unfreeze()
