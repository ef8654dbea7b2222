"""Tells senders what became of their messages: at once where they are there, else by their mailbox.

What waits for them takes a part of the mailbox only, so that it never keeps messages of people out: of several
messages in one place the newest is told, which stands for those before it. What is not told is not lost: a
session's stored messages say what became of each.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleetpulse import config
from fleetpulse.chat.mailbox import Mailbox
from fleetpulse.chat.messages import status_update
from fleetpulse.chat.routing import Router
from fleetpulse.chat.writing import WRITTEN
from fleetpulse.errors import LimitedError, OverloadedError
from fleetpulse.journal.receipts import Receipt
from fleetpulse.live.presence import Presence

STATUS = "status"
SHARE = 10  # of the mailbox, one part may be of these
log = logging.getLogger(__name__)


class Senders:
    """Those of this replica's messages, wherever they are."""

    def __init__(self, settings: config.Chat, router: Router, presence: Presence, mailbox: Mailbox) -> None:
        self._most = max(settings.mailbox_messages // SHARE, 1)
        self._router = router
        self._presence = presence
        self._mailbox = mailbox

    async def tell(self, receipts: Sequence[Receipt]) -> None:
        """Tells of receipts that are new, and on disk."""
        away = []
        for receipt in receipts:
            message = receipt.message
            if not self._presence.of_user(message.sender):
                away.append(receipt)
            elif receipt.fate == "delivered" or not self._is_in(receipt):  # who is there hears who has read
                self._router.push(message.sender, _update(receipt))
        await asyncio.gather(*(self._keep(receipt) for receipt in newest(away)))

    def _is_in(self, receipt: Receipt) -> bool:
        message = receipt.message
        return message.session_id is not None and self._presence.is_in(message.sender, message.session_id)

    async def _keep(self, receipt: Receipt) -> None:
        """Posts it to a sender who can return; programs that wrote by the API are no users."""
        message = receipt.message
        if not message.message_id.startswith(WRITTEN) or self._mailbox.waiting(message.sender) >= self._most:
            return
        delivery_id = f"{receipt.fate}:{message.message_id}"
        try:
            await self._mailbox.post(message.sender, STATUS, _update(receipt), delivery_id)
        except (LimitedError, OverloadedError) as error:
            log.warning("a sender who is away is not told what became of a message: %s", error.detail)


def newest(receipts: Iterable[Receipt]) -> list[Receipt]:
    """Of each sender, place, reader and fate the newest message's."""
    found = {(each.message[2:], each.user_id, each.fate): each for each in receipts}
    return list(found.values())


def _update(receipt: Receipt) -> Mapping[str, Any]:
    message = receipt.message
    place = {"session_id": message.session_id, "recipient": message.recipient}
    known = {name: value for name, value in place.items() if value is not None}
    return status_update(message.message_id, receipt.fate, receipt.at, user_id=receipt.user_id, **known)
