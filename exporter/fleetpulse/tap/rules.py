"""Which rules a message matches: keywords, regular expressions and watched users.

Keywords are found as they are, without differences of case, width and composition (as search does it). All of a
stream's are one expression that is looked for first, and so are all patterns: by far most messages cost one pass of
each, however many there are. Regular expressions are RE2's: no pattern and no message makes them slow. What is
looked at is a reading's text, of which `values.TEXT_CHARACTERS` are kept.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import re2  # type: ignore[import-untyped]  # ships no types

from fleetpulse.config.expressions import regular_expression
from fleetpulse.config.tap import Rule
from fleetpulse.query.text import normalise
from fleetpulse.tap.frames import Reading

QUOTATION = r"\Q"  # up to \E, which may be in the next expression
FEW = 4  # of these are looked for one by one at no greater cost


class _Watch(NamedTuple):
    """One rule, made ready."""

    name: str
    keywords: tuple[str, ...]
    pattern: Any
    users: frozenset[str]


class RuleBook:
    """The rules of one stream."""

    def __init__(self, rules: Iterable[Rule], stream: str) -> None:
        self._watches = [_watch(rule) for rule in rules if not rule.streams or stream in rule.streams]
        keywords = {keyword for watch in self._watches for keyword in watch.keywords}
        self._keywords = bool(keywords)
        self._any_keyword = _any_of([re2.escape(each) for each in sorted(keywords)])
        patterns = [f"(?:{watch.pattern.pattern})" for watch in self._watches if watch.pattern is not None]
        self._patterns = bool(patterns)
        self._any_pattern = _any_of(patterns)

    def match(self, reading: Reading) -> tuple[str, ...]:
        """The names of the rules that a message matches, in the order of the configuration."""
        if not self._watches:
            return ()
        text, normal = self._for_patterns(reading.text), self._for_keywords(reading.text)
        user = normalise(reading.user) if reading.user else None
        return tuple(watch.name for watch in self._watches if _matches(watch, text, normal, user))

    def _for_keywords(self, text: str) -> str | None:
        """The text as keywords are looked for in it; None where it holds none of them."""
        if not self._keywords:
            return None
        normal = normalise(text)
        return normal if self._any_keyword is None or _is_in(self._any_keyword, normal.encode()) else None

    def _for_patterns(self, text: str) -> bytes | None:
        """The text as patterns are looked for in it; None where it holds none of them."""
        if not self._patterns:
            return None
        encoded = text.encode()
        return encoded if self._any_pattern is None or _is_in(self._any_pattern, encoded) else None


def _is_in(expression: Any, encoded: bytes) -> bool:
    """Whether an expression is found. In bytes: of a str the library would find out where, too."""
    return expression.search(encoded) is not None


def _matches(watch: _Watch, text: bytes | None, normal: str | None, user: str | None) -> bool:
    return (
        (user is not None and user in watch.users)
        or (normal is not None and any(keyword in normal for keyword in watch.keywords))
        or (watch.pattern is not None and text is not None and _is_in(watch.pattern, text))
    )


def _watch(rule: Rule) -> _Watch:
    return _Watch(
        rule.name,
        tuple(dict.fromkeys(normalise(keyword) for keyword in rule.keywords)),
        regular_expression(rule.pattern) if rule.pattern else None,
        frozenset(normalise(user) for user in rule.users),
    )


def _any_of(expressions: Sequence[str]) -> Any:
    """One expression of all of these; None where they are few, or too many for one."""
    if len(expressions) <= FEW or any(QUOTATION in each for each in expressions):
        return None
    try:
        return regular_expression("|".join(expressions))
    except ValueError:  # more than RE2's memory holds: they are looked for one by one
        return None
