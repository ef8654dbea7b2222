"""What a preset is: a way to open a kind of message, and where in what was opened its fields are."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

FIELDS = ("kind", "user", "room", "text", "time")


class Opened(NamedTuple):
    """A message whose envelope was taken off.

    `document` is what configured paths look into, `inner` what the preset's own do (None: the same). `kind` and
    `room` are what the protocol itself says; it goes before the preset's paths.
    """

    document: Any
    inner: Any = None
    kind: str | None = None
    room: str | None = None


Open = Callable[[str, Any], Opened | None]
"""Opens a payload, whose JSON is given, too (None: it is no object or array); None: it is not of this shape."""


class Preset(NamedTuple):
    """A known shape of messages: how to open one, and the JSONPaths of each field, in order."""

    name: str
    open: Open
    kind: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    room: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    time: tuple[str, ...] = ()


def paths(scopes: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """The paths to each of some names, in the first scope, then in the second, and so on."""
    names = tuple(names)
    return tuple(f"{scope}.{name}" for scope in scopes for name in names)
