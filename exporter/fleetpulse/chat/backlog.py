"""What waited for a user while they were away, sent to a connection that opens, a piece at a time.

The next piece goes out when the client has proved that it has the last one: so a cut costs no more than one piece,
which comes again, and a client that is cut often gets ahead all the same. After the last piece the live inbox
begins, in order, without a hole.
"""

import asyncio
import logging
from collections.abc import Sequence

from fleetpulse.chat.encoders import InboxEncoder, proof
from fleetpulse.errors import OverloadedError
from fleetpulse.journal import MAILBOX, Journal
from fleetpulse.journal.history import INBOX_STREAM, JournalHistory, Stored
from fleetpulse.live import Cause, Hub
from fleetpulse.live.client import Client
from fleetpulse.live.messages import Message, dumps

PIECE = 50
log = logging.getLogger(__name__)


class Backlog:
    """One connection's. `sent` is the id up to which it has been written; `run` ends with the live subscription."""

    def __init__(  # noqa: PLR0913 - from where, to whom
        self, hub: Hub, journal: Journal, client: Client, topic: str, encoder: InboxEncoder, begin: int
    ) -> None:
        self.sent = begin
        self._hub = hub
        self._journal = journal
        self._history = JournalHistory(journal, INBOX_STREAM)
        self._client = client
        self._topic = topic
        self._encoder = encoder
        self._proved = begin
        self._news = asyncio.Event()

    def proved(self, upto: int) -> None:
        """The client has everything up to there."""
        self._proved = max(self._proved, upto)
        self._news.set()

    async def run(self) -> None:
        """Sends everything, then subscribes; cancelled when the connection is over."""
        try:
            while not self._client.closed and (newest := self._journal.newest_id(MAILBOX)) > self.sent:
                page = await asyncio.to_thread(self._history.after, self._topic, self.sent, newest, PIECE)
                self._write(page.rows, page.upto)
                await self._until_proved(page.rows[-1].offset if page.rows else 0)
            if not self._client.closed:
                place = {self._journal.epoch: self.sent}
                self._hub.subscribe(self._client, self._topic, self._encoder, resume=place)
        except OverloadedError as error:  # as many topics have listeners as may: what waits stays where it is
            log.warning("an inbox cannot be listened to: %s", error.detail)
            self._hub.close(self._client, Cause.BUSY)
        except Exception:
            log.exception("what waited for a user could not be sent")
            self._hub.close(self._client, Cause.FAILED)

    def _write(self, rows: Sequence[Stored], upto: int) -> None:
        """A piece, and the ping that asks for its receipt."""
        wire = self._client.wire
        frames = [wire.frame(dumps(self._encoder.shown(_message(row)))) for row in rows]
        if frames:
            frames.append(wire.ping(proof(self._topic, self._journal.epoch, rows[-1].offset)))
            self._client.write_opening(b"".join(frames))
            self._count(len(rows))
        self.sent = upto

    def _count(self, messages: int) -> None:
        if self._encoder.sends is not None:
            self._encoder.sends.sent += messages

    async def _until_proved(self, offset: int) -> None:
        while self._proved < offset and not self._client.closed:
            self._news.clear()
            await self._news.wait()


def _message(row: Stored) -> Message:
    return Message(row.offset, row.at or 0.0, "event", row.key, row.data, None)
