"""Journals as lists, for tests of journalled topics: what a hub publishes of them, and reads back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetpulse.live import Page, Stored


@dataclass
class Rows:
    """A journal with one table of messages, each of one session; rows up to `gone` are deleted."""

    epoch: str
    sessions: list[str] = field(default_factory=list)
    gone: int = 0
    reads: int = 0

    def add(self, *sessions: str) -> list[Stored]:
        """Stores rows; what there is to publish of them."""
        first = len(self.sessions) + 1
        self.sessions += sessions
        return [self.row(number) for number in range(first, len(self.sessions) + 1)]

    def row(self, number: int) -> Stored:
        """One row."""
        session = self.sessions[number - 1]
        data: dict[str, Any] = {"n": number, "session": session, "from": self.epoch, "text": "x" * (number % 40)}
        return Stored(number, f"m{number}", data, (f"chat/{session}",))

    def of(self, topic: str, after: int, upto: int) -> list[int]:
        """The ids of a topic's rows in (after, upto], deleted or not."""
        rest = topic.partition("/")[2]
        return [number for number in range(after + 1, upto + 1) if rest in ("", self.sessions[number - 1])]

    def newest(self) -> int:
        """As `History` has it."""
        return len(self.sessions)

    def floor(self, topic: str) -> int:  # noqa: ARG002 - signature of History
        """As `History` has it."""
        return self.gone

    def after(self, topic: str, offset: int, upto: int, limit: int) -> Page:
        """As `History` has it; a page is short, so that many are needed."""
        self.reads += 1
        limit = min(limit, 5)
        found: Sequence[int] = self.of(topic, max(offset, self.gone), upto)[:limit]
        return Page([self.row(n) for n in found], found[-1] if len(found) == limit else upto, self.gone)
