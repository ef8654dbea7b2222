"""Group accounts: what they report, and how they are."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from fleetpulse.accounts.ledger import Ledger, Reported
from fleetpulse.accounts.whole import Figures
from fleetpulse.auth import Role
from fleetpulse.config import Limits
from fleetpulse.errors import InvalidInputError, OverloadedError
from fleetpulse.signals import AccountActivity, Activity, Label
from fleetpulse.web.answers import Acknowledgement, Kept, Paged, json_answer
from fleetpulse.web.body import Decoder, Items, Rejection, read_body
from fleetpulse.web.guard import requires
from fleetpulse.web.operations import JSON, NDJSON, operation, read_query
from fleetpulse.web.problems import validation_errors

PREFIX = "/api/v1/group-ai/monitor"
MANY = (JSON, NDJSON)
TAG = "Accounts"
ACCOUNT_ID: TypeAdapter[str] = TypeAdapter(Label)
REPLY = {"kind": "reply", "reply_time": 1.4, "online": True, "activity_id": "m-17"}
MAX_CHOSEN = 400  # accounts that fit in an address; a message to ws/metrics takes more
NO_ROOM = "limits.known_accounts is reached; this account is not known"


def split(value: Any) -> Any:
    """Values with commas between, one parameter or several."""
    parts = [value] if isinstance(value, str) else value
    return [each for part in parts for each in str(part).split(",") if each.strip()]


AccountIds = Annotated[frozenset[Label], BeforeValidator(split), Field(max_length=MAX_CHOSEN)]


class System(TypedDict):
    """Sums over all accounts, of all replicas (`scope`); `average_reply_time` in seconds, 0 before the first."""

    total_accounts: int
    online_accounts: int
    total_messages: int
    total_replies: int
    total_redpackets: int
    total_errors: int
    average_reply_time: float
    scope: Literal["replica", "cluster"]


class AccountMetrics(TypedDict):
    """One account since it is known. `error_rate` is the share of errors in all it did."""

    account_id: str
    account_name: str
    online: bool
    message_count: int
    reply_count: int
    redpacket_count: int
    error_count: int
    average_reply_time: float | None
    error_rate: float | None
    last_activity: datetime


class AccountList(TypedDict):
    """Accounts by id. `scope`: as reported to all replicas; without any other one, `replica`."""

    account_metrics: list[AccountMetrics]
    next_cursor: str | None
    scope: Literal["replica", "cluster"]


class AccountsQuery(Paged):
    """Which accounts."""

    account_id: AccountIds = Field(frozenset(), description="Only these: several times, or with commas between.")


class AccountEndpoints:
    """CONTRACT C: activity in, metrics out."""

    def __init__(self, ledger: Ledger, limits: Limits, whole: Figures | None = None) -> None:
        """`whole` are the figures of all replicas, where there are others."""
        self._ledger = ledger
        self._figures: Figures = whole or ledger.book
        self._scope = "replica" if whole is None else "cluster"
        self._limits = limits
        self._activities = Decoder(Activity, limits.batch_items)
        self._of_accounts = Decoder(AccountActivity, limits.batch_items)

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.post(f"{PREFIX}/accounts/activity", self.report_many),
            web.post(f"{PREFIX}/accounts/{{account_id}}/activity", self.report),
            web.get(f"{PREFIX}/accounts/metrics", self.accounts),
            web.get(f"{PREFIX}/system", self.system),
        ]

    @requires(Role.REPORTER)
    @operation(
        TAG,
        answer=Kept,
        status=202,
        path={"account_id": Label},
        body=Activity | list[Activity],
        body_media=MANY,
        examples={"A reply": REPLY, "Many": [REPLY, {"kind": "error", "text": "flood wait"}]},
    )
    async def report(self, request: web.Request) -> web.Response:
        """Stores what one account did: one object, an array, or NDJSON.

        The answer comes once every accepted activity is on disk and counted. An item that breaks the contract never
        rejects its batch: it is listed under `rejected`. An `activity_id` that is stored already is a duplicate and
        changes nothing.
        """
        try:
            account_id = _account_id(request.match_info["account_id"])
        except InvalidInputError:
            self._ledger.count("rejected", 1)
            raise
        items = await self._read(request, self._activities)
        return await self._store(items, [(account_id, each) for each in items.good])

    @requires(Role.REPORTER)
    @operation(
        TAG,
        answer=Kept,
        status=202,
        body=AccountActivity | list[AccountActivity],
        body_media=MANY,
        examples={"Two accounts": [{"account_id": name, "kind": "message", "count": 3} for name in ("a-1", "a-2")]},
    )
    async def report_many(self, request: web.Request) -> web.Response:
        """Stores what several accounts did; each activity names its account."""
        items = await self._read(request, self._of_accounts)
        return await self._store(items, [(each.account_id, each) for each in items.good])

    @requires(Role.VIEWER)
    @operation(TAG, answer=AccountList, query=AccountsQuery)
    async def accounts(self, request: web.Request) -> web.Response:
        """Every known account by id, or those that are asked for.

        Of several replicas each answers for all, as far as it was told: what one said last counts while it is away.
        """
        query = read_query(request, AccountsQuery)
        figures = self._figures
        found = figures.chosen(query.account_id) if query.account_id else figures.everyone()
        rest = [account for account in found if account.account_id > query.cursor] if query.cursor else found
        shown = rest[: query.limit]
        cursor = shown[-1].account_id if len(rest) > query.limit else None
        metrics = [account.as_json() for account in shown]
        return json_answer({"account_metrics": metrics, "next_cursor": cursor, "scope": self._scope})

    @requires(Role.VIEWER)
    @operation(TAG, answer=System)
    async def system(self, _request: web.Request) -> web.Response:
        """Sums over all accounts: what they ever did, and how many are known and online now."""
        return json_answer(self._figures.system() | {"scope": self._scope})

    async def _read(self, request: web.Request, decoder: Decoder[Any]) -> Items[Any]:
        try:
            return decoder.decode(await read_body(request, self._limits), request.content_type)
        except InvalidInputError:
            self._ledger.count("rejected", 1)
            raise

    async def _store(self, items: Items[Any], reported: Sequence[Reported]) -> web.Response:
        """Stores those whose account is known or may become so."""
        self._ledger.count("rejected", len(items.rejected))
        fits = self._ledger.room([account_id for account_id, _ in reported])
        self._ledger.count("refused", fits.count(False))
        if reported and not any(fits):
            raise OverloadedError(f"nothing of this call was kept: {NO_ROOM}", retry_after=60)
        kept = [each for each, fit in zip(reported, fits, strict=True) if fit]
        receipt = await self._ledger.store(kept) if kept else None
        return Acknowledgement(
            {
                "accepted": receipt.stored if receipt else 0,
                "duplicates": receipt.duplicates if receipt else 0,
                "rejected": [dataclasses.asdict(each) for each in (*items.rejected, *_refused(items, fits))],
            }
        )


def _account_id(text: str) -> str:
    try:
        return ACCOUNT_ID.validate_python(text)
    except ValidationError as error:
        raise InvalidInputError("the account_id breaks the contract", validation_errors(error)) from error


def _refused(items: Items[Any], fits: Sequence[bool]) -> list[Rejection]:
    """Activities without room by their place in the request, which the rejected ones have shifted."""
    if all(fits):
        return []
    bad = {rejection.index for rejection in items.rejected}
    places = (index for index in range(len(fits) + len(bad)) if index not in bad)
    errors = [{"loc": ["account_id"], "msg": NO_ROOM}]
    return [Rejection(place, errors) for place, fit in zip(places, fits, strict=False) if not fit]
