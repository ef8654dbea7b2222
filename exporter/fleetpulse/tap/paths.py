"""Where in a JSON document something is: one JSONPath, and several of them in order, for one field of a message.

By far most paths lead to one place, `$.data.user.id`: those are walked directly, and neighbours with one parent
share the way to it. Every other path is left to the library, which takes some microseconds for each node of the
document, so that it is asked only where the document is small (`wide`). Both give the same answers.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from fleetpulse.config.expressions import Keys, json_path

if TYPE_CHECKING:
    from jsonpath import JSONPath

WIDE_NODES = 1_000
MAX_RESULTS = 100

T = TypeVar("T")
Accept = Callable[[Any], T | None]
"""Makes a field's value of what a path found; None where that cannot be one, and the search goes on."""


class Path:
    """One compiled path. `keys` are the steps of a path that leads to one place, None for any other."""

    __slots__ = ("_path", "keys", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.keys, self._path = json_path(text)

    def results(self, document: Any) -> Iterable[Any]:
        """What the path finds, in document order; the first MAX_RESULTS, and nothing below the library's depth."""
        if self._path is not None:
            yield from _found(self._path, document)
        elif self.keys is not None and (found := walk(document, self.keys)) is not None:
            yield found


def _found(path: "JSONPath", document: Any) -> Iterable[Any]:
    from jsonpath import JSONPathError  # noqa: PLC0415 - it is there by now; nobody else needs it

    try:
        for match in islice(path.finditer(document), MAX_RESULTS):
            yield match.obj
    except (JSONPathError, RecursionError):  # too deep, for the library or for comparing
        return


def is_small(payload: str) -> bool:
    """Whether JSON has no more than WIDE_NODES values: by what parts them, so texts that hold many count, too."""
    return len(payload) <= WIDE_NODES or payload.count(",") + payload.count("[") + payload.count("{") <= WIDE_NODES


def walk(document: Any, keys: Sequence[str | int]) -> Any:
    """What stands there; None where there is nothing, or null."""
    for key in keys:
        if type(document) is dict:
            document = document.get(key)
        elif type(document) is list and type(key) is int and -len(document) <= key < len(document):
            document = document[key]
        else:
            return None
    return document


class _Group(NamedTuple):
    """Names to look for in one object, which `parent` leads to; or, where it is None, one path for the library."""

    parent: Keys | None
    names: tuple[str, ...]
    path: Path


class Field(Generic[T]):
    """The paths of one field of messages, in order, and what makes its value of what they find."""

    def __init__(self, paths: Iterable[str], accept: Accept[T]) -> None:
        self.paths = tuple(Path(path) for path in paths)
        self.accept = accept
        self._groups = [
            _Group(parent, tuple(_name(path) for path in members), members[0])
            for parent, found in groupby(self.paths, _parent)
            for members in _shared(parent, list(found))
        ]

    def find(self, document: Any, *, wide: bool) -> T | None:
        """The first value that is accepted. Paths that may find several are asked where it is `wide` only."""
        for parent, names, path in self._groups:
            if parent is None:
                if (wide or path.keys is not None) and (found := self.first(path, document)) is not None:
                    return found
                continue
            if parent and type(document) is dict and parent[0] not in document:
                continue  # which most are not, and this is quicker than to walk
            inside = walk(document, parent) if parent else document
            if type(inside) is dict:
                for name in names:
                    if (value := inside.get(name)) is not None and (found := self.accept(value)) is not None:
                        return found
        return None

    def first(self, path: Path, document: Any) -> T | None:
        """The first value that one of the paths finds and that is accepted."""
        for value in path.results(document):
            if (found := self.accept(value)) is not None:
                return found
        return None


def _parent(path: Path) -> Keys | None:
    """The way to the object that holds what the path names; None where its last step is no name."""
    return path.keys[:-1] if path.keys and type(path.keys[-1]) is str else None


def _name(path: Path) -> str:
    return str(path.keys[-1]) if path.keys else ""


def _shared(parent: Keys | None, paths: list[Path]) -> list[list[Path]]:
    return [[path] for path in paths] if parent is None else [paths]
