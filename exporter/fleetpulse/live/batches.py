"""Batches: which of the messages that wait are sent next, of state topics only the newest for each key."""

from collections.abc import Sequence
from typing import NamedTuple

from fleetpulse.live.messages import Message
from fleetpulse.live.topics import STATE, Policy


class Batch(NamedTuple):
    """Messages to send, which bring a client to number `end`; `conflated` were left out for newer ones."""

    messages: list[Message]
    end: int
    conflated: int


def pick(policy: Policy, window: Sequence[Message], most_bytes: int) -> Batch:
    """The next messages of a window that is not empty: of state only the newest per key; as many as fit, or one."""
    messages = newest(window) if policy is STATE else list(window)
    size = 0
    for index, message in enumerate(messages):
        size += len(message.body)
        if size > most_bytes and index:
            messages = messages[:index]
            break
    else:
        return Batch(messages, window[-1].seq, len(window) - len(messages))
    end = messages[-1].seq
    return Batch(messages, end, sum(message.seq <= end for message in window) - len(messages))


def newest(window: Sequence[Message]) -> list[Message]:
    """The newest message of each key and kind, in order; messages without a key all stay.

    Kinds do not replace each other: one may say less than another (`offline` names only the agent).
    """
    last = {(message.key, message.kind): message.seq for message in window}
    return [message for message in window if message.key is None or last[message.key, message.kind] == message.seq]
