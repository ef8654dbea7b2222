"""Statistics of request logs from Prometheus: exact sums over windows, by source, model and status, hour and day."""

import time
from collections.abc import Callable
from zoneinfo import ZoneInfo

from fleetpulse.query.figures import Summary, Timeline
from fleetpulse.query.promql import Prometheus
from fleetpulse.query.windows import Window


class Statistics:
    """Answers for any window. Every method raises UpstreamError where Prometheus does not answer as expected."""

    def __init__(self, prometheus: Prometheus, zone: ZoneInfo, clock: Callable[[], float] = time.time) -> None:
        self.zone = zone

    async def over(self, window: Window, source: str | None = None) -> Summary:
        """The sums over a window, of one source or of all."""
        raise NotImplementedError

    async def by_hour(self, window: Window, source: str | None = None) -> Timeline:
        """The sums by hour of the local clock."""
        raise NotImplementedError

    async def by_day(self, window: Window, source: str | None = None) -> Timeline:
        """The sums by local day."""
        raise NotImplementedError
