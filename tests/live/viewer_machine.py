"""What both state machines of the hub do with their viewers: stall, cut, resume and evict them."""

from abc import abstractmethod
from typing import Generic, Protocol, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from tests.live.pipe import Pipe

from fleetpulse.live import Cause, Hub
from fleetpulse.live.client import Client

FLUSHES = 100


class Watcher(Protocol):
    """A viewer, as far as its connection goes."""

    pipe: Pipe
    client: Client | None

    def read(self) -> None:
        """Takes what has arrived, and holds it to the rules."""


V = TypeVar("V", bound=Watcher)


class ViewerMachine(RuleBasedStateMachine, Generic[V]):
    """`hub` and `watching` are the subclass's; `now` is the hub's clock."""

    viewers = Bundle("viewers")
    hub: Hub

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.watching: list[V] = []

    @abstractmethod
    def connect(self, viewer: V) -> None:
        """Connects it, resuming where it was."""

    def lose(self, viewer: V) -> None:
        """The connection is gone: what had not arrived never will."""
        assert viewer.client is not None
        viewer.pipe.abort()
        viewer.read()
        self.hub.disconnect(viewer.client)
        viewer.client = None

    def settle(self) -> None:
        """Everyone is back, reads, and has heard of everything."""
        for viewer in self.watching:
            viewer.pipe.stalled = False
            viewer.pipe.drain()
            viewer.read()
            self.resume(viewer)
        for _ in range(FLUSHES):
            self.hub.flush()
        self.now += 1
        self.hub.sweep()
        for viewer in self.watching:
            viewer.read()
            assert viewer.client is not None
            assert not viewer.client.closed

    @rule()
    def flush(self) -> None:
        self.hub.flush()

    @rule(seconds=st.sampled_from([0.5, 1.5, 7.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.hub.sweep()

    @rule(viewer=viewers)
    def stall(self, viewer: V) -> None:
        viewer.pipe.stalled = True

    @rule(viewer=viewers, size=st.integers(1, 2_000))
    def drain(self, viewer: V, size: int) -> None:
        viewer.pipe.drain(size)

    @rule(viewer=viewers)
    def read_on(self, viewer: V) -> None:
        viewer.pipe.stalled = False
        viewer.pipe.drain()

    @rule(viewer=viewers)
    def cut(self, viewer: V) -> None:
        if viewer.client is not None:
            self.lose(viewer)

    @rule(viewer=viewers)
    def resume(self, viewer: V) -> None:
        if viewer.client is None:
            self.connect(viewer)

    @rule(viewer=viewers)
    def evict(self, viewer: V) -> None:
        if viewer.client is not None:
            self.hub.close(viewer.client, Cause.SLOW)

    @rule(viewer=consumes(viewers))
    def leave(self, viewer: V) -> None:
        if viewer.client is not None:
            self.lose(viewer)
        self.watching.remove(viewer)

    @invariant()
    def clients_understand_everything(self) -> None:
        for viewer in self.watching:
            viewer.read()
            if viewer.client is not None and viewer.client.closed:
                self.lose(viewer)
