"""The chat service's topics: which there are, who may listen, and how stored rows get there.

- `chat/{session}`: a session's messages, by their ids in the journal. `chat` is all of them, for administrators.
- `inbox/{user}`: what is addressed to a user, by the mailbox's ids.
- `broadcasts`: messages to everyone.
- `signs/{session}`: who is there, who types, what the AI does: state, of which the newest counts.
- `monitor`: statistics and who comes and goes, for administrators.
"""

from collections.abc import Callable, Sequence
from typing import Any

from fleetpulse.auth import Principal, Role
from fleetpulse.journal import MAILBOX, MESSAGES, Journal, Row, Table
from fleetpulse.journal.history import CHAT_STREAM, INBOX_STREAM, JournalHistory, Stream
from fleetpulse.live import EVENT, STATE, Hub

CHAT, INBOX, BROADCASTS, SIGNS, MONITOR = "chat", "inbox", "broadcasts", "signs", "monitor"
BROADCAST_STREAM = Stream(BROADCASTS, MESSAGES, "message_id", only=("recipient", "*"), kept_as=CHAT)
STREAMS = {MESSAGES: (CHAT_STREAM, BROADCAST_STREAM), MAILBOX: (INBOX_STREAM,)}
Show = Callable[[str], Sequence[Any]]


def declare(hub: Hub, journal: Journal, signs: Show, monitor: Show) -> None:
    """Declares them; `signs` and `monitor` show the state of a topic."""
    hub.declare(CHAT, EVENT, history=JournalHistory(journal, CHAT_STREAM), admits=may_enter)
    hub.declare(INBOX, EVENT, history=JournalHistory(journal, INBOX_STREAM), admits=is_own)
    hub.declare(BROADCASTS, EVENT, history=JournalHistory(journal, BROADCAST_STREAM))
    hub.declare(SIGNS, STATE, signs, admits=may_enter)
    hub.declare(MONITOR, STATE, monitor, admits=lambda principal, _topic: principal.may(Role.OPERATOR))


def publish(hub: Hub, table: Table, rows: Sequence[Row], first_id: int) -> None:
    """Tells of rows that a commit has just made durable."""
    for stream in STREAMS.get(table, ()):
        hub.publish_rows(stream.family, stream.stored(rows, first_id))


def may_enter(principal: Principal, topic: str) -> bool:
    """Whether a topic of a session is for this caller; the one of all sessions is for administrators."""
    session_id = topic.partition("/")[2]
    return principal.may_enter(session_id) if session_id else principal.may(Role.ADMIN)


def is_own(principal: Principal, topic: str) -> bool:
    """Whether an inbox is this caller's; where nobody is asked who they are, everyone's are."""
    user_id = topic.partition("/")[2]
    return bool(user_id) and (principal.subject == user_id or is_anyone(principal))


def is_anyone(principal: Principal) -> bool:
    """Whether no credentials are asked for, so that callers are who they say."""
    return principal.sessions is None and principal.subject == "anonymous" and principal.may(Role.ADMIN)
