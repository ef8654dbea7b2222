"""Expressions in settings: regular ones, and paths into JSON. What is accepted runs in time linear in its input.

Settings are the operator's, but what they are applied to comes from strangers: an expression that backtracks, or
that walks a document once for each of its nodes, would let one message stop everything. So regular expressions are
RE2's, which cannot backtrack, and of JSONPath (RFC 9535) what multiplies is bounded: `..`, filters and `$` once
each, a few commas, and no `match()` and `search()`, which would be regular expressions of the other kind.

The JSONPath library takes a tenth of a second to import, so it is, when a path is more than names and numbers.
"""

import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import re2  # type: ignore[import-untyped]  # ships no types

if TYPE_CHECKING:
    from jsonpath import JSONPath, JSONPathEnvironment

MAX_DEPTH = 64
MAX_MEMORY = 16 * 2**20
PLAIN = re.compile(r"\$(?:\.[A-Za-z_][A-Za-z0-9_]*|\[(?:0|[1-9][0-9]{0,8})\])*")
STEP = re.compile(r"\.([A-Za-z0-9_]+)|\[([0-9]+)\]")
MOST = {"TOKEN_ROOT": ("$", 1), "TOKEN_DDOT": ("..", 1), "TOKEN_FILTER": ("?", 1), "TOKEN_COMMA": (",", 4)}

Keys = tuple[str | int, ...]


class Compiled(NamedTuple):
    """A JSONPath: `keys`, the steps of one that leads to one place at most, or `path`, the library's."""

    keys: Keys | None
    path: "JSONPath | None" = None


def json_path(text: str) -> Compiled:
    """A compiled JSONPath. Raises ValueError, which says why, for one that is none or could take too long."""
    if PLAIN.fullmatch(text):
        return Compiled(tuple(name or int(index) for name, index in STEP.findall(text)))
    path = _compiled(text)
    return Compiled(_keys(path)) if path.singular_query() else Compiled(None, path)


def checked_json_path(text: str) -> str:
    """The text, where it is a path that `json_path` takes."""
    json_path(text)
    return text


def regular_expression(pattern: str) -> Any:
    """A compiled regular expression of RE2, with `search(text)`. Raises ValueError, which says why."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = MAX_MEMORY
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        said = error.args[0]
        reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        raise ValueError(f"is no regular expression of RE2: {reason}") from error


def _compiled(text: str) -> "JSONPath":
    from jsonpath import CompoundJSONPath, JSONPathError  # noqa: PLC0415 - see above

    if not text.startswith("$"):
        raise ValueError(f"{text!r} is no JSONPath: it does not begin with $")
    environment = _environment()
    try:
        path = environment.compile(text)
        kinds = Counter(token.kind for token in environment.lexer.tokenize(text))
    except (JSONPathError, RecursionError) as error:
        raise ValueError(f"{text!r} is no JSONPath: {error.args[0]}") from error
    if isinstance(path, CompoundJSONPath):
        raise ValueError(f"{text!r} is several paths: give them one by one")  # noqa: TRY004 - of the right type
    for kind, (what, most) in MOST.items():
        if kinds[kind] > most:
            raise ValueError(f"{text!r} could take too long: it may hold {most} of {what!r} at most")
    return path


def _keys(path: "JSONPath") -> Keys:
    """The steps of a path that leads to one place: by the library's own word each is a name or an index."""
    selectors: list[Any] = [selector for segment in path.segments for selector in segment.selectors]
    return tuple(each.name if hasattr(each, "name") else each.index for each in selectors)


@cache
def _environment() -> "JSONPathEnvironment":
    from jsonpath import JSONPathEnvironment  # noqa: PLC0415 - see above

    environment = JSONPathEnvironment(strict=True)
    environment.max_recursion_depth = MAX_DEPTH
    for name in ("match", "search"):
        del environment.function_extensions[name]
    return environment
