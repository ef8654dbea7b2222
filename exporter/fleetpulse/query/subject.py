"""What is searched: a table, which texts of its rows, by which exact values; and a filter in its three forms.

The forms are SQL conditions, terms of the index, a test of a row. The index proposes, the row decides: its terms
may find rows that do not match (two values of one hash, phrases over the border of two fields), never miss one that
does.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar
from zlib import crc32

from fleetpulse.catalogue import Metric
from fleetpulse.journal import MessageRow, RequestRow, Table
from fleetpulse.query.text import Phrase, TextQuery, tokens

R = TypeVar("R", bound=RequestRow | MessageRow)
NO_TEXT = TextQuery(())
MOST_ROWS = 10_000
Condition = tuple[str, Sequence[object]]
"""An SQL condition, and the values of its marks."""


class IndexMetrics(NamedTuple):
    """What tells of one table's index."""

    indexed: Metric
    lag: Metric
    size: Metric
    rebuilds: Metric


@dataclass(frozen=True)
class Subject(Generic[R]):
    """A table that is searched.

    `texts` are the texts of a row that are searched. `marks` are the columns that are searched for exact values,
    each with the character that its values' hashes begin with in the index: one that begins no word, nor another.
    `flags` are further tokens of a row. `weight` is about how many characters a row has. `columns` are what is read
    of a row, as SQL.
    """

    table: Table
    row: Callable[..., R]
    marks: Mapping[str, str]
    texts: Callable[[R], Sequence[str]]
    flags: Callable[[R], Iterable[str]]
    weight: Callable[[R], int]
    metrics: IndexMetrics
    columns: str

    @property
    def key(self) -> str:
        """The column of the rows' unique key."""
        return self.table.columns[0]

    def document(self, row: R) -> str:
        """All tokens of a row, as they go into the index."""
        parts = [tokens(text) for text in self.texts(row)]
        parts += [self.mark(name, value) for name in self.marks if (value := getattr(row, name)) is not None]
        return " ".join([*parts, *self.flags(row)])

    def mark(self, column: str, value: str) -> str:
        """The token of an exact value."""
        return hashed(self.marks[column], value)


def hashed(mark: str, value: str) -> str:
    """The token of a value behind a mark."""
    return f"{mark}{crc32(value.encode()):x}"


@dataclass(frozen=True)
class Filter(ABC, Generic[R]):
    """Which rows of a subject are asked for: all that is given must hold.

    `equal` are columns of the subject's marks with their values. Times are Unix seconds: received from `start` up
    to `end`.
    """

    text: TextQuery = NO_TEXT
    equal: tuple[tuple[str, str], ...] = ()
    start: float | None = None
    end: float | None = None

    @property
    @abstractmethod
    def subject(self) -> Subject[R]:
        """What is searched."""

    @property
    def columns(self) -> str:
        """What is read of a row, as SQL."""
        return self.subject.columns

    @property
    def most(self) -> int:
        """How many rows may be in memory at once: few where they may be large."""
        return MOST_ROWS

    def matches(self, row: R) -> bool:
        """Whether a row that fulfils the SQL conditions is asked for."""
        return not self.text.terms or self.text.matches(self.subject.texts(row))

    def conditions(self) -> tuple[str, list[object]]:
        """The SQL conditions on a row, each after AND, and their values."""
        found = [*self._exact(), *self.more_conditions()]
        return "".join(f" AND {condition}" for condition, _ in found), [each for _, own in found for each in own]

    def more_conditions(self) -> Iterable[Condition]:
        """Conditions of this kind of filter's own."""
        return ()

    def more_marks(self) -> Iterable[str]:
        """Tokens that the rows have by conditions of this kind of filter's own."""
        return ()

    def _exact(self) -> Iterator[Condition]:
        for column, value in self.equal:
            yield f"{column} = ?", (value,)
        if self.start is not None:
            yield "received_at >= ?", (self.start,)
        if self.end is not None:
            yield "received_at < ?", (self.end,)

    def expression(self) -> str | None:
        """What the index is asked for, in FTS5's syntax; None where it has nothing to say.

        Every token is in quotes and holds none, so nothing of a query is ever read as syntax.
        """
        return " AND ".join(_quoted(phrase) for phrase in self._phrases()) or None

    def cheap_expression(self) -> str | None:
        """A part of the expression that costs the index less; None where there is none.

        The beginning of a word stands for every word that begins so, and all of their rows have to be put in order
        before the first is known: much work where another part alone would leave but a few.
        """
        phrases = self._phrases()
        whole = [phrase for phrase in phrases if not phrase.prefix]
        if len(whole) == len(phrases):
            return None
        longest = max(phrases, key=lambda phrase: len(phrase.tokens[-1]))
        cheap = whole or [longest][: len(phrases) - 1]
        return " AND ".join(map(_quoted, cheap)) or None

    def _phrases(self) -> list[Phrase]:
        found = [phrase for term in self.text.terms for phrase in term.phrases()]
        marks = [self.subject.mark(column, value) for column, value in self.equal]
        return found + [Phrase((each,), prefix=False) for each in (*marks, *self.more_marks())]


def _quoted(phrase: Phrase) -> str:
    return f'"{" ".join(phrase.tokens)}"{"*" if phrase.prefix else ""}'
