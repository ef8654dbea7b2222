"""Messages as they are searched: what of them, which are asked for, and what of the own chat one may see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from fleetpulse import catalogue
from fleetpulse.journal import MESSAGES, MessageRow
from fleetpulse.query.subject import Condition, Filter, IndexMetrics, Subject, hashed
from fleetpulse.query.text import of_json

CHAT = "chat"
EQUAL = ("stream", "kind", "user_id", "session_id")
RULE = "©"
WITH_PAYLOAD = ",".join(MESSAGES.columns)
WITHOUT_PAYLOAD = ",".join("NULL" if name == "raw" else name for name in MESSAGES.columns)


@dataclass(frozen=True)
class MessageFilter(Filter[MessageRow]):
    """All that is given must hold; see `Filter`.

    `text` searches text, user, room and metadata; `equal` are columns of EQUAL with their values; `rule` is the
    name of one that it matched. Of the own chat only what was said in `sessions` is found, None: in any; where
    `private`, also what was said to one user or to all. `payloads`: what came is read, not only what it says.
    """

    rule: str | None = None
    sessions: frozenset[str] | None = None
    private: bool = True
    payloads: bool = False

    @property
    def subject(self) -> Subject[MessageRow]:
        """Messages."""
        return MESSAGE_LOG

    @property
    def columns(self) -> str:
        """Payloads may be large, so they are left out where nobody asked."""
        return WITH_PAYLOAD if self.payloads else WITHOUT_PAYLOAD

    @property
    def most(self) -> int:
        """Few: a message may have a megabyte, and its payload another."""
        return 8 if self.payloads else 64

    def more_conditions(self) -> Iterator[Condition]:
        """The rule, and what may be seen."""
        if self.rule is not None:
            yield "instr(rules, ?) > 0", (f",{self.rule},",)
        if self.private:
            return
        if self.sessions is None:
            yield "(stream != ? OR session_id IS NOT NULL)", (CHAT,)
        elif not self.sessions:
            yield "stream != ?", (CHAT,)
        else:
            allowed = orjson.dumps(sorted(self.sessions)).decode()
            yield "(stream != ? OR session_id IN (SELECT value FROM json_each(?)))", (CHAT, allowed)

    def more_marks(self) -> Iterator[str]:
        """The rule's."""
        if self.rule is not None:
            yield hashed(RULE, self.rule)


def rules_of(row: MessageRow) -> Sequence[str]:
    """The names of the rules that a message matched."""
    return () if row.rules is None else row.rules.strip(",").split(",")


def _texts(row: MessageRow) -> Sequence[str]:
    texts = [text for text in (row.text, row.user_id, row.session_id) if text]
    return [*texts, of_json(row.metadata)] if row.metadata else texts


MESSAGE_LOG = Subject(
    MESSAGES,
    MessageRow,
    marks=dict(zip(EQUAL, "§¶¤¦", strict=True)),
    texts=_texts,
    flags=lambda row: [hashed(RULE, rule) for rule in rules_of(row)],
    weight=lambda row: len(row.text) + len(row.raw or "") + len(row.metadata or ""),
    metrics=IndexMetrics(
        catalogue.MESSAGE_SEARCH_INDEXED,
        catalogue.MESSAGE_SEARCH_LAG,
        catalogue.MESSAGE_SEARCH_SIZE,
        catalogue.MESSAGE_SEARCH_REBUILDS,
    ),
    columns=WITHOUT_PAYLOAD,
)
