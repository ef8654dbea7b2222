"""Where a client stands in each topic: what to resume from, and what it had already.

A topic is a union of streams, one for each origin (`epoch`), and each stream's offsets only grow. So a position is
`{epoch: offset}`, and a message is new exactly when its offset is past the position of its epoch.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetpulse.errors import InvalidInputError
from fleetpulse.feed.messages import Gap, Position, Snapshot, Subscribed, TopicMessage

MAX_EPOCHS = 32  # origins remembered of one topic; past it those that were heard of first are forgotten

Positions = dict[str, dict[str, int]]


class Track:
    """One topic's position, moved by the messages that `takes` is shown."""

    def __init__(self, known: Mapping[str, int] | None = None) -> None:
        self.policy = ""
        self._at = dict(known or {})
        self._next: dict[str, int] | None = None

    @property
    def position(self) -> dict[str, int]:
        """The position, as `{epoch: offset}`; empty before the first subscription."""
        return dict(self._at)

    def resume(self) -> dict[str, Any] | None:
        """What `resume` of a subscription says; None where there is nothing to resume."""
        if not self._at:
            return None
        if len(self._at) == 1:
            ((epoch, offset),) = self._at.items()
            return {"epoch": epoch, "offset": offset}
        return {"positions": dict(self._at)}

    def takes(self, message: TopicMessage) -> bool:
        """Moves the position by a message; False where it was had already."""
        if isinstance(message, Subscribed):
            self._subscribed(message)
        elif isinstance(message, Snapshot):
            self._settle()
            self._at |= {**message.positions, message.epoch: message.offset}
        elif isinstance(message, Gap):
            self._settle()
            self._move(message.epoch, max(message.last, self._at.get(message.epoch, 0)))
        else:
            more = message.positions if isinstance(message, Position) else {}
            return self._moved({**more, message.epoch: message.offset})
        return True

    def _moved(self, offsets: Mapping[str, int]) -> bool:
        """Moves forward; False where nothing of it is past what was had."""
        before = self._at if self._next is None else self._next
        fresh = {epoch: offset for epoch, offset in offsets.items() if offset > before.get(epoch, 0)}
        if fresh:
            self._settle()
        for epoch, offset in fresh.items():
            self._move(epoch, offset)
        return bool(fresh)

    def _subscribed(self, answer: Subscribed) -> None:
        """Takes over where the stream stands.

        What could not be recovered is told by the messages that follow: until one of them has come, a cut must lead
        to the same question again, or it would never be told. So the new position only counts from then on.
        """
        self.policy = answer.policy
        stands = {**answer.positions, answer.epoch: answer.offset}
        self._next = None
        if answer.recovered:
            self._at = stands | self._at
        elif not self._at:
            self._at = stands
        else:
            self._next = stands

    def _settle(self) -> None:
        if self._next is not None:
            self._at, self._next = self._next, None

    def _move(self, epoch: str, offset: int) -> None:
        if epoch not in self._at and len(self._at) >= MAX_EPOCHS:
            del self._at[next(iter(self._at))]
        self._at[epoch] = offset


def load_positions(path: Path) -> Positions:
    """The positions of a file that `save_positions` wrote; none where there is no file.

    Raises InvalidInputError for a file that holds something else.
    """
    try:
        saved = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path}: cannot be read as positions: {error}") from error
    if not _are_positions(saved):
        raise InvalidInputError(f'{path}: holds no positions of the form {{"topic": {{"epoch": offset}}}}')
    return {topic: dict(position) for topic, position in saved.items()}


def save_positions(path: Path, positions: Mapping[str, Mapping[str, int]]) -> None:
    """Writes positions so that the file holds the old ones or the new ones whole, whatever happens meanwhile."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(json.dumps(positions, sort_keys=True) + "\n", "utf-8")
    beside.replace(path)


def _are_positions(saved: Any) -> bool:
    return isinstance(saved, dict) and all(
        isinstance(position, dict) and all(type(offset) is int and offset >= 0 for offset in position.values())
        for position in saved.values()
    )
