"""A bus of which a test decides what arrives: what is sent lies in `sent` until the test hands it on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from fleetpulse.cluster.bus import Witness
from fleetpulse.instruments import Instruments
from fleetpulse.live.bus import Handler


class Frame(NamedTuple):
    """A message on its way, as JSON; `to` is one run, or empty for all others."""

    to: str
    channel: str
    body: bytes

    @property
    def payload(self) -> Any:
        """What it says."""
        return orjson.loads(self.body)


class Line:
    """Stands in for `RedisBus`, in a test of what goes over it."""

    def __init__(self, name: str) -> None:
        self.replica = name
        self.run_id = f"run-of-{name}"
        self.crowded = False
        self.connection: object | None = object()
        self.sent: list[Frame] = []
        self.words: list[Frame] = []
        self.instruments = Instruments()
        self._handlers: dict[str, Handler] = {}
        self._witnesses: list[Witness] = []

    def key(self, *parts: str) -> str:
        return ":".join(parts)

    def on(self, channel: str, handler: Handler) -> None:
        assert channel not in self._handlers
        self._handlers[channel] = handler

    def watch(self, witness: Witness) -> None:
        self._witnesses.append(witness)

    def send(self, channel: str, payload: Mapping[str, Any]) -> None:
        self.send_to("", channel, payload)

    def send_to(self, run_id: str, channel: str, payload: Mapping[str, Any]) -> None:
        if self.connection is not None:
            self.sent.append(Frame(run_id, channel, orjson.dumps(payload)))

    def last_words(self, channel: str, payload: Mapping[str, Any]) -> None:
        self.words.append(Frame("", channel, orjson.dumps(payload)))

    def take(self, channel: str | None = None) -> list[Frame]:
        """Takes what was sent, on one channel or on all."""
        taken = [frame for frame in self.sent if channel in (None, frame.channel)]
        self.sent = [frame for frame in self.sent if frame not in taken]
        return taken

    def hand(self, channel: str, payload: Any) -> None:
        """It arrives here; what the handler raises goes to the test."""
        self._handlers[channel](payload)

    def deliver(self, *frames: Frame) -> None:
        """Frames arrive here that are for all, or for this one."""
        for frame in frames:
            if frame.to in ("", self.run_id) and frame.channel in self._handlers:
                self.hand(frame.channel, frame.payload)

    def redis(self, *, connected: bool) -> None:
        """Redis comes or goes."""
        self.connection = object() if connected else None
        for witness in self._witnesses:
            witness(connected=connected)
