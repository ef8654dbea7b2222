"""Waiting for work, until there is some or for a while; and ending it."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress


async def rest(wake: asyncio.Event, seconds: float) -> None:
    """Returns when `wake` is set, which is cleared, or after some seconds.

    Not `asyncio.wait_for`: up to Python 3.11 it loses a cancellation that comes at the instant of the wake.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
    wake.clear()


async def end(tasks: Iterable[asyncio.Task[None]], again_seconds: float) -> None:
    """Cancels until all have ended: redis-py loses a cancellation that comes at the instant of its own time-out.

    What takes longer than `again_seconds` to end is cancelled again. Errors of the tasks stay with them.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=again_seconds)
