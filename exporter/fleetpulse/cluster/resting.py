"""Waiting for work: until there is some, or for a while."""

import asyncio
from contextlib import suppress


async def rest(wake: asyncio.Event, seconds: float) -> None:
    """Returns when `wake` is set, which is cleared, or after some seconds.

    Not `asyncio.wait_for`: up to Python 3.11 it loses a cancellation that comes at the instant of the wake.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
    wake.clear()
