"""`ws/alerts`: the last alerts and each new one, of all accounts or of those that the client has chosen."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleetpulse.live.client import Client
from fleetpulse.live.encoders import AlertEncoder
from fleetpulse.live.filters import Filter
from fleetpulse.live.hub import Hub
from fleetpulse.live.sessions import Session, broken, type_of
from fleetpulse.signals import Label

TOPIC = "alerts"
MAX_ACCOUNTS = 1_000


class _Configure(BaseModel):
    """Chooses accounts anew; an empty list, or none, means all alerts."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    type: Literal["configure"]
    accounts: Annotated[frozenset[Label], Field(max_length=MAX_ACCOUNTS)] = frozenset()


class AlertSession(Session):
    """The alerts feed, as its document has it. Without chosen `accounts`, it tells of every alert."""

    def __init__(self, hub: Hub, client: Client, encoder: AlertEncoder, accounts: Collection[str] = ()) -> None:
        super().__init__(hub, client)
        self._encoder = encoder
        self._accounts = frozenset(accounts)

    def opened(self) -> None:
        """Sends the last alerts; new ones follow."""
        where = Filter.of({"account_id": self._accounts}) if self._accounts else None
        self._guarded(lambda: self._subscribe_to(TOPIC, self._encoder, where=where), None)

    def received(self, text: str) -> None:
        """A message came in; what is not of this feed is the base's to answer."""
        if '"configure"' not in text or type_of(text) != "configure":
            super().received(text)
            return
        try:
            wanted = _Configure.model_validate_json(text)
        except ValidationError as error:
            self.refused(broken(error))
            return
        self._accounts = wanted.accounts
        self._send({"type": "configured", "accounts": sorted(self._accounts)})
        if TOPIC in self._client.subscriptions:
            self._hub.unsubscribe(self._client, TOPIC)
        self.opened()

    def _pong(self) -> dict[str, Any]:
        return {"type": "pong", "timestamp": self._encoder.timestamp()}
