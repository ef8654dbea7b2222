"""One published message, and how its data becomes JSON: once, and only when somebody listens."""

import dataclasses
import logging
from typing import Any

import orjson
from pydantic import BaseModel

_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
log = logging.getLogger(__name__)


def dumps(value: Any) -> bytes:
    """JSON of anything that is JSON already, says `as_json()`, or is a pydantic model, dataclass or named tuple."""
    return orjson.dumps(value, default=_plain, option=_OPTIONS)


def _plain(value: Any) -> Any:
    if hasattr(value, "as_json"):
        return value.as_json()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return value._asdict()
    raise TypeError(f"{type(value).__name__} has no JSON form")


class Message:
    """One message of one topic. `data` belongs to the hub from publishing on: nobody may change it.

    `at` is the clock's time of publishing; `origin` names the topic it was published to where that is another (the
    topic of a whole family). `seq` numbers the topic's messages in this process; `epoch` names the replica that
    `offset` is of, None where that is this one.
    """

    __slots__ = ("_body", "at", "data", "epoch", "key", "kind", "offset", "origin", "seq")

    def __init__(  # noqa: PLR0913 - made 100,000 times a second: positional is cheapest
        self,
        offset: int,
        at: float,
        kind: str,
        key: str | None,
        data: Any,
        origin: str | None,
        seq: int | None = None,
        epoch: str | None = None,
    ) -> None:
        self.offset = offset
        self.seq = offset if seq is None else seq
        self.epoch = epoch
        self.at = at
        self.kind = kind
        self.key = key
        self.data = data
        self.origin = origin
        self._body: bytes | None = None

    @property
    def body(self) -> bytes:
        """The data as JSON; data that has no JSON form is logged and becomes `null`, so that its offset stays."""
        if self._body is None:
            try:
                self._body = bytes(memoryview(dumps(self.data)))  # a copy: orjson's own holds 4 KiB at the least
            except TypeError:
                log.exception("message %d has no JSON form", self.offset)
                self._body = b"null"
            if not isinstance(self.data, dict):
                self.data = None  # kept messages are many, and most objects are larger than their JSON
        return self._body

    @property
    def fields(self) -> dict[str, Any]:
        """The data's top-level fields, for filters; none where the data is no JSON object."""
        if isinstance(self.data, dict):
            return self.data
        return fields_of(orjson.loads(self.body))


class Hole(Message):
    """In place of messages that will not come: those of `epoch` with offsets `begin` to `offset`."""

    __slots__ = ("begin",)

    def __init__(self, begin: int, offset: int, at: float, seq: int, epoch: str) -> None:
        super().__init__(offset, at, "gap", None, None, None, seq, epoch)
        self.begin = begin

    def past(self, known: int) -> "Hole":
        """The part of it that is news to who has everything up to an offset within it."""
        return self if self.begin > known else Hole(known + 1, self.offset, self.at, self.seq, str(self.epoch))


class Mark(Hole):
    """Says that everything of `epoch` up to `offset` has come; nobody missed anything."""

    __slots__ = ()

    def __init__(self, offset: int, at: float, seq: int, epoch: str) -> None:
        super().__init__(offset, offset, at, seq, epoch)

    def past(self, _known: int) -> "Mark":
        """It is a position, whatever somebody knew before."""
        return self


def fields_of(data: Any) -> dict[str, Any]:
    """The top-level fields of JSON-able data; none where it is no object."""
    if not isinstance(data, dict):
        data = orjson.loads(dumps(data))
    return data if isinstance(data, dict) else {}
