"""Which rules a message matches: keywords, regular expressions and watched users.

Keywords are found as they are, without differences of case, width and composition (as search does it). All of a
stream's are one expression that is looked for first, so by far most messages cost one pass, however many there are.
Regular expressions are RE2's: no pattern and no message makes them slow. What is looked at is a reading's text, of
which `values.TEXT_CHARACTERS` are kept.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import re2  # type: ignore[import-untyped]  # ships no types

from fleetpulse.config.expressions import regular_expression
from fleetpulse.config.tap import Rule
from fleetpulse.query.text import normalise
from fleetpulse.tap.frames import Reading

FEW = 8  # keywords that are looked for one by one at no greater cost


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
        self._keywords = any(watch.keywords for watch in self._watches)
        self._any = _any_of({keyword for watch in self._watches for keyword in watch.keywords})

    def match(self, reading: Reading) -> tuple[str, ...]:
        """The names of the rules that a message matches, in the order of the configuration."""
        if not self._watches:
            return ()
        text = self._searched(reading.text)
        user = normalise(reading.user) if reading.user else None
        return tuple(watch.name for watch in self._watches if _matches(watch, reading.text, text, user))

    def _searched(self, text: str) -> str | None:
        """The text as keywords are looked for in it; None where it holds none of them."""
        if not self._keywords:
            return None
        normal = normalise(text)
        return normal if self._any is None or self._any.search(normal) is not None else None


def _matches(watch: _Watch, text: str, normal: str | None, user: str | None) -> bool:
    return (
        (user is not None and user in watch.users)
        or (normal is not None and any(keyword in normal for keyword in watch.keywords))
        or (watch.pattern is not None and watch.pattern.search(text) is not None)
    )


def _watch(rule: Rule) -> _Watch:
    return _Watch(
        rule.name,
        tuple(dict.fromkeys(normalise(keyword) for keyword in rule.keywords)),
        regular_expression(rule.pattern) if rule.pattern else None,
        frozenset(normalise(user) for user in rule.users),
    )


def _any_of(keywords: Sequence[str] | set[str]) -> Any:
    """One expression of all the keywords; None where they are few, or too many for one."""
    if len(keywords) <= FEW:
        return None
    try:
        return regular_expression("|".join(re2.escape(keyword) for keyword in sorted(keywords)))
    except ValueError:  # more than RE2's memory holds: they are looked for one by one
        return None
