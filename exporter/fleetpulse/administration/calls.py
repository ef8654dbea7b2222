"""Calls between replicas: one asks, the others do it and answer, within a bounded time.

Over the bus, which may lose either: who does not answer in time did it perhaps, and callers are told `pending`.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from fleetpulse.live.bus import Bus

CALL = "admin.call"
ANSWER = "admin.answer"
ANSWER_SECONDS = 2.0
MAX_SERVED = 64
Work = Callable[[Mapping[str, Any]], Awaitable[Sequence[Mapping[str, Any]]]]
Answers = dict[str, Sequence[Mapping[str, Any]]]
log = logging.getLogger(__name__)


class _Asked:
    """A call that waits for answers."""

    def __init__(self, replicas: Collection[str]) -> None:
        self.answers: Answers = {}
        self.missing = set(replicas)
        self.complete = asyncio.Event()


class Calls:
    """Both sides of a call. `serve` what others may ask for before the first one comes."""

    def __init__(self, bus: Bus, seconds: float = ANSWER_SECONDS) -> None:
        self._bus = bus
        self._seconds = seconds
        self._work: dict[str, Work] = {}
        self._asked: dict[str, _Asked] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        bus.on(CALL, self._called)
        bus.on(ANSWER, self._answered)

    def serve(self, name: str, work: Work) -> None:
        """Does this when another replica asks for it; what it returns is JSON."""
        self._work[name] = work

    async def ask(
        self, name: str, arguments: Mapping[str, Any], replicas: Collection[str], patience: float = 0.0
    ) -> Answers:
        """What the replicas answered, by replica; `patience` is what they may take beyond the usual, in seconds."""
        if not replicas:
            return {}
        call_id = secrets.token_hex(8)
        asked = self._asked[call_id] = _Asked(replicas)
        try:
            payload = {"id": call_id, "from": self._bus.replica, "name": name, "arguments": dict(arguments)}
            self._bus.send(CALL, payload | {"to": sorted(replicas)})
            async with asyncio.timeout(self._seconds + patience):
                await asked.complete.wait()
        except TimeoutError:
            log.warning("%s did not answer %s in time", ", ".join(sorted(asked.missing)), name)
        finally:
            del self._asked[call_id]
        return asked.answers

    async def stop(self) -> None:
        """Ends what is being done for others."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _called(self, payload: Mapping[str, Any]) -> None:
        work = self._work.get(str(payload["name"]))
        if self._bus.replica not in payload["to"] or work is None:
            return
        if len(self._tasks) >= MAX_SERVED:
            log.warning("too many calls of other replicas at once: one is not answered")
            return
        task = asyncio.get_running_loop().create_task(self._serve(work, payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, work: Work, payload: Mapping[str, Any]) -> None:
        try:
            result = await work(payload["arguments"])
        except Exception:
            log.exception("a call of another replica failed")
            return
        answer = {"id": payload["id"], "to": payload["from"], "from": self._bus.replica, "result": list(result)}
        self._bus.send(ANSWER, answer)

    def _answered(self, payload: Mapping[str, Any]) -> None:
        asked = self._asked.get(str(payload["id"])) if payload["to"] == self._bus.replica else None
        if asked is None or payload["from"] not in asked.missing:
            return
        asked.missing.discard(str(payload["from"]))
        asked.answers[str(payload["from"])] = payload["result"]
        if not asked.missing:
            asked.complete.set()
