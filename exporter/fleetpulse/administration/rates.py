"""How much is published on each topic: its rate over the last minute, from what was counted every few seconds."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping

from fleetpulse.live import Hub

SAMPLE_SECONDS = 5.0
WINDOW_SECONDS = 60.0


class TopicRates:
    """Looks at the hub's topics regularly. Bounded by the number of topics, and of samples in a minute."""

    def __init__(
        self,
        hub: Hub,
        timer: Callable[[], float] = time.monotonic,
        *,
        sample_seconds: float = SAMPLE_SECONDS,
    ) -> None:
        self._hub = hub
        self._timer = timer
        self._sample_seconds = sample_seconds
        self._samples: deque[tuple[float, Mapping[str, int]]] = deque(
            maxlen=int(WINDOW_SECONDS // sample_seconds) + 1
        )
        self._began = timer()

    async def run(self) -> None:
        """Samples until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(self._sample_seconds)

    def sample(self) -> None:
        """Notes how much was published until now."""
        self._samples.append((self._timer(), {topic.name: topic.seq for topic in self._hub.topics}))

    def published(self) -> dict[str, tuple[int, float]]:
        """Of each topic in use: messages in the last minute (or since the start), and their rate a second."""
        now = self._timer()
        since, before = self._samples[0] if self._samples else (self._began, {})
        seconds = max(now - since, 1e-9)
        found = {}
        for topic in self._hub.topics:
            then = before.get(topic.name, 0)
            count = topic.seq - then if topic.seq >= then else topic.seq  # made anew meanwhile
            found[topic.name] = count, count / seconds
        return found
