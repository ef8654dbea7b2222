"""One topic of a feed: what is wanted of it, and where it stands on the wire and in the program's hands."""

from collections.abc import Mapping, Sequence
from typing import Any

from fleetpulse.feed.messages import TopicMessage, typed
from fleetpulse.feed.positions import Track

Scalar = str | int | float | bool | None
FilterValues = Mapping[str, Scalar | Sequence[Scalar]]


class FeedTopic:
    """A subscription that outlives connections.

    `received` is where the wire stands (what to resume from), `handed` where the program does: what lies between is
    in the feed's queue, and outlives a cut as well.
    """

    def __init__(self, name: str, wanted: FilterValues, known: Mapping[str, int] | None) -> None:
        self.name = name
        self.wanted = wanted
        self.received = Track(known)
        self.handed = Track(known)
        self.tag: int | None = None  # of the question on this connection; None where it is still to be asked
        self._epoch: str | None = None

    def question(self, tag: int) -> dict[str, Any]:
        """The message that subscribes, on a connection that knows nothing of this topic yet."""
        self.tag = tag
        self._epoch = None
        message: dict[str, Any] = {"type": "subscribe", "topic": self.name, "id": tag}
        if self.wanted:
            message["filter"] = {name: _plain(value) for name, value in self.wanted.items()}
        resume = self.received.resume()
        return message if resume is None else message | {"resume": resume}

    def taken(self, raw: Mapping[str, Any]) -> TopicMessage | None:
        """The message as its class; None where it is of an earlier subscription, had already, or not known."""
        if raw.get("type") == "subscribed":
            if raw.get("id") != self.tag:
                return None
            self._epoch = raw["epoch"]
        if self._epoch is None:
            return None
        message = typed(raw, self._epoch)
        return message if message is not None and self.received.takes(message) else None

    def cut(self) -> None:
        """The connection is gone: the question is to be asked again on the next."""
        self.tag = self._epoch = None


def canonical(topic: str) -> str:
    """`agents/*` and `agents/` are `agents`, as the server has it."""
    return topic.removesuffix("*").removesuffix("/") if topic.endswith(("/*", "/")) else topic


def _plain(value: Scalar | Sequence[Scalar]) -> Any:
    return value if value is None or isinstance(value, str | int | float) else list(value)
