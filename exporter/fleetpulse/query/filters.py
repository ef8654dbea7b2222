"""Which requests are asked for, in the three forms it takes: SQL conditions, terms of the index, a test of a row.

The index proposes, the row decides: its terms may find rows that do not match (two values of one hash, phrases over
the border of two fields), never miss one that does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

from fleetpulse.journal import RequestRow
from fleetpulse.query.text import Phrase, TextQuery, of_json, tokens

SUCCESS = "success"
EQUAL = ("source", "status", "user_id", "model", "account_id", "session_id", "trace_id")
# Marks of exact values in the index: characters that begin no word, each before the hash of a value.
MARKS = dict(zip(EQUAL, "§¶¤¦©¬®", strict=True))
FAILED = "±"
NO_TEXT = TextQuery(())


@dataclass(frozen=True)
class RequestFilter:
    """All that is given must hold. Times are Unix seconds: received from `start` up to `end`.

    `text` searches command, error, ids, source, model, provider and metadata; `equal` are columns of EQUAL with
    their values; `failed` is whether the status is another than `success`; `min_cost` in USD, `min_time` in s.
    """

    text: TextQuery = NO_TEXT
    equal: tuple[tuple[str, str], ...] = ()
    failed: bool | None = None
    start: float | None = None
    end: float | None = None
    min_cost: float | None = None
    min_time: float | None = None

    def matches(self, row: RequestRow) -> bool:
        """Whether a row that fulfils the SQL conditions is asked for."""
        return not self.text.terms or self.text.matches(fields(row))

    def conditions(self) -> tuple[str, list[object]]:
        """The SQL conditions on a row, each after AND, and their values."""
        found = list(self._conditions())
        return "".join(f" AND {condition}" for condition, _ in found), [value for _, value in found]

    def _conditions(self) -> Iterator[tuple[str, object]]:
        for column, value in self.equal:
            yield f"{column} = ?", value
        if self.failed is not None:
            yield ("status != ?" if self.failed else "status = ?"), SUCCESS
        limits = (("received_at >= ?", self.start), ("received_at < ?", self.end))
        least = (("cost >= ?", self.min_cost), ("execution_time >= ?", self.min_time))
        yield from ((condition, value) for condition, value in limits + least if value is not None)

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
        marks = [mark(column, value) for column, value in self.equal]
        if self.failed is not None:
            marks.append(FAILED if self.failed else mark("status", SUCCESS))
        return found + [Phrase((each,), prefix=False) for each in marks]


def fields(row: RequestRow) -> Sequence[str]:
    """The texts of a row that are searched."""
    found = (
        row.command,
        row.error,
        row.request_id,
        row.user_id,
        row.session_id,
        row.trace_id,
        row.source,
        row.model,
        row.provider,
        row.account_id,
    )
    texts = [text for text in found if text]
    return [*texts, of_json(row.metadata)] if row.metadata else texts


def document(row: RequestRow) -> str:
    """All tokens of a row, as they go into the index."""
    parts = [tokens(text) for text in fields(row)]
    parts += [mark(column, value) for column in EQUAL if (value := getattr(row, column)) is not None]
    if row.status != SUCCESS:
        parts.append(FAILED)
    return " ".join(parts)


def mark(column: str, value: str) -> str:
    """The token of an exact value."""
    return f"{MARKS[column]}{crc32(value.encode()):x}"


def _quoted(phrase: Phrase) -> str:
    return f'"{" ".join(phrase.tokens)}"{"*" if phrase.prefix else ""}'
