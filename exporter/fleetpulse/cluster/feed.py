"""Other replicas' rows in the live feed: the same topics as this one's, each row under its own epoch."""

from collections.abc import Sequence

from fleetpulse.errors import NotFoundError
from fleetpulse.journal import Numbered, Stream, Table
from fleetpulse.live import Hub


class HubFeed:
    """A `receiver.Taker` that publishes to the hub. `streams` say which rows are which messages."""

    def __init__(self, hub: Hub, streams: Sequence[Stream]) -> None:
        self._hub = hub
        self._streams = [stream for stream in streams if _declared(hub, stream.family)]

    def follow(self, table: Table, epoch: str, offset: int, *, old: int = 0) -> None:
        """The next rows to come are those after `offset`: listeners who had less get a gap record."""
        for stream in self._streams:
            if stream.table is table:
                self._hub.follow(stream.family, epoch, offset, old=old)

    def settle(self, table: Table, epoch: str) -> None:
        """The old rows have come."""
        for stream in self._streams:
            if stream.table is table:
                self._hub.settle(stream.family, epoch)

    def publish(self, table: Table, epoch: str, rows: Sequence[Numbered]) -> None:
        """Tells listeners."""
        for stream in self._streams:
            if stream.table is table:
                mine = [stream.message(each.number, each.row) for each in rows if stream.holds(each.row)]
                self._hub.publish_rows(stream.family, mine, epoch=epoch)


def _declared(hub: Hub, family: str) -> bool:
    try:
        hub.tops(family)
    except NotFoundError:  # this exporter serves no such topic
        return False
    return True
