"""Python's cycle collector, kept from stalling the loop; and memory that is free, given back.

What the exporter holds for long (connections, the live feed's history, agents) is much, and hardly ever part of a
cycle: it goes when its last reference does. The collector walks all of it again and again all the same, for a tenth
of a second and more at a time. So what has survived a pass is frozen: freed as ever, but walked no more. Now and
then everything is walked once, for cycles that were alive when they were frozen.

What slow clients were owed, and batches of rows, are many small pieces: the C library keeps their pages when they
are freed, and is asked for them once a minute, which takes about 10 ms.

Sources: https://docs.python.org/3/library/gc.html#gc.freeze; malloc_trim(3)
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable

NEW_OBJECTS = 10_000  # before it looks: a batch makes thousands that live as long as it does
YOUNG_PASSES = 4
FREEZE_SECONDS = 5.0
THOROUGH_EVERY = 120  # freezes
TRIM_EVERY = 12


def begin() -> None:
    """Freezes what was restored, and has the collector look less often."""
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, YOUNG_PASSES)


class Garbage:
    """Works in the background."""

    def __init__(self, seconds: float = FREEZE_SECONDS, thorough_every: int = THOROUGH_EVERY) -> None:
        """It looks every so many seconds, and at everything every so many times."""
        self._seconds = seconds
        self._thorough_every = thorough_every

    async def run(self) -> None:
        """Collects and freezes until cancelled; thaws at the end, or what is left in cycles is never freed."""
        passes = 0
        trim = _trim()
        try:
            while True:
                await asyncio.sleep(self._seconds)
                passes += 1
                if passes % self._thorough_every == 0:
                    gc.unfreeze()
                gc.collect()
                gc.freeze()
                if passes % TRIM_EVERY == 0:
                    trim(0)
        finally:
            gc.unfreeze()


def _trim() -> Callable[[int], object]:
    """The C library's malloc_trim; nothing where it has none, as only glibc does."""
    found: Callable[[int], object] = getattr(ctypes.CDLL(None), "malloc_trim", bool)
    return found
