"""Stored requests without a cost, and what was priced afterwards."""

import asyncio
import base64
import binascii
import json
from contextlib import closing
from datetime import datetime
from itertools import islice
from typing import NotRequired

from aiohttp import web
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from fleetpulse.auth import Role
from fleetpulse.config import Limits, Section
from fleetpulse.errors import InvalidInputError
from fleetpulse.journal import Journal
from fleetpulse.journal.corrections import Entry, Reason, Unpriced, corrections_before, unpriced_from
from fleetpulse.pricing import Origin
from fleetpulse.repricing import Order, Repricing
from fleetpulse.signals import Identifier, Label
from fleetpulse.web.answers import Paged, json_answer
from fleetpulse.web.body import Decoder, read_body
from fleetpulse.web.guard import principal_of, requires
from fleetpulse.web.operations import operation, read_query
from fleetpulse.web.pricing import Priced, Rates, moment, outcome, preview

LAST_ID = 2**63 - 1


class Which(Section):
    """Which stored requests to price by the prices in force; what is left out is any."""

    model: Label | None = Field(None, description="The model as it is reported; `*` stands for any text.")
    provider: Label | None = None
    source: Label | None = None
    dry_run: bool = False


class WhichCorrections(Paged):
    """Which corrections to list."""

    run_id: Identifier | None = Field(None, description="Only those of this run.")


class UnpricedGroup(TypedDict):
    """Stored requests without a cost, and why: no model, no price for it, or tokens not split into in and out.

    `priced_now` says that there is a price for the model by now.
    """

    source: str
    model: str | None
    provider: str | None
    reason: Reason
    requests: int
    tokens: int
    first: datetime
    last: datetime
    priced_now: bool


class UnpricedList(TypedDict):
    """Groups by model, then by source."""

    unpriced: list[UnpricedGroup]
    next_cursor: str | None


class UsedPrice(Rates):
    """The price that was used; `version` is that of the bundled list."""

    origin: Origin
    version: NotRequired[str]


class CorrectionShown(TypedDict):
    """What one run priced of one source and model."""

    id: int
    run_id: str
    made_at: datetime
    made_by: str
    source: str
    model: str
    provider: str | None
    requests: int
    cost_usd: float
    price: UsedPrice


class Corrections(TypedDict):
    """The newest first. `pending` runs are not finished."""

    corrections: list[CorrectionShown]
    pending: int
    next_cursor: str | None


class UnpricedEndpoints:
    """What could not be priced, and what became of it."""

    def __init__(self, repricing: Repricing, journal: Journal, limits: Limits) -> None:
        self._repricing = repricing
        self._journal = journal
        self._limits = limits
        self._which = Decoder(Which, 1)

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get("/api/unpriced", self.unpriced),
            web.post("/api/unpriced/price", self.price_stored),
            web.get("/api/corrections", self.corrections),
        ]

    @requires(Role.VIEWER)
    @operation("Money", answer=UnpricedList, query=Paged)
    async def unpriced(self, request: web.Request) -> web.Response:
        """Stored requests without a cost, by model, source, provider and reason."""
        query = read_query(request, Paged)
        after = _read_cursor(query.cursor)
        found = await asyncio.to_thread(self._unpriced_page, after, query.limit + 1)
        shown = found[: query.limit]
        cursor = _write_cursor(shown[-1]) if len(found) > query.limit else None
        return json_answer({"unpriced": [self._group(each) for each in shown], "next_cursor": cursor})

    @requires(Role.OPERATOR)
    @operation("Money", answer=Priced, body=Which, examples={"Everything": {}, "A model": {"model": "our-llama"}})
    async def price_stored(self, request: web.Request) -> web.Response:
        """Prices the stored requests that have no cost by the prices in force.

        For after a price has joined the configuration, or with a newer bundled list. The answer comes as for a new
        price.
        """
        which = self._which.one(await read_body(request, self._limits))
        made_by = principal_of(request).subject
        order = Order(made_by=made_by, model=which.model, provider=which.provider, source=which.source)
        if which.dry_run:
            pricing = await preview(self._repricing.would(order))
        else:
            pricing = await outcome(self._journal, await self._repricing.price_stored(order))
        return json_answer({"dry_run": which.dry_run, "pricing": pricing})

    @requires(Role.VIEWER)
    @operation("Money", answer=Corrections, query=WhichCorrections)
    async def corrections(self, request: web.Request) -> web.Response:
        """What was priced afterwards: when, by whom, how many requests, what they cost, and by which price."""
        query = read_query(request, WhichCorrections)
        found = await asyncio.to_thread(self._corrections_page, query)
        shown = found[: query.limit]
        return json_answer(
            {
                "corrections": [_shown(entry) for entry in shown],
                "pending": self._repricing.pending,
                "next_cursor": str(shown[-1].id) if len(found) > query.limit else None,
            }
        )

    def _unpriced_page(self, after: "_Key | None", limit: int) -> list[Unpriced]:
        with closing(self._journal.reader()) as reader:
            groups = unpriced_from(reader, after[0] if after else None)
            rest = (group for group in groups if after is None or _order(_key(group)) > _order(after))
            return list(islice(rest, limit))

    def _corrections_page(self, query: WhichCorrections) -> list[Entry]:
        before = _before(query.cursor)
        with closing(self._journal.reader()) as reader:
            return corrections_before(reader, before, query.limit + 1, query.run_id)

    def _group(self, group: Unpriced) -> UnpricedGroup:
        known = group.model is not None and self._repricing.pricer.knows(group.model, group.provider)
        return {
            "source": group.source,
            "model": group.model,
            "provider": group.provider,
            "reason": group.reason,
            "requests": group.requests,
            "tokens": group.tokens,
            "first": moment(group.first),
            "last": moment(group.last),
            "priced_now": known,
        }


_Key = tuple[str | None, str, str, str]
_KEY: TypeAdapter[_Key] = TypeAdapter(_Key)


def _shown(entry: Entry) -> CorrectionShown:
    return {
        "id": entry.id,
        "run_id": entry.run_id,
        "made_at": moment(entry.made_at),
        "made_by": entry.made_by,
        "source": entry.source,
        "model": entry.model,
        "provider": entry.provider or None,
        "requests": entry.requests,
        "cost_usd": entry.cost,
        "price": json.loads(entry.price),
    }


def _key(group: Unpriced) -> _Key:
    return group.model, group.source, group.provider or "", group.reason


def _order(key: _Key) -> tuple[bool, str, str, str, str]:
    model, source, provider, reason = key
    return model is not None, model or "", source, provider, reason


def _write_cursor(group: Unpriced) -> str:
    return base64.urlsafe_b64encode(json.dumps(_key(group)).encode()).decode()


def _read_cursor(cursor: str) -> _Key | None:
    if not cursor:
        return None
    try:
        return _KEY.validate_json(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (binascii.Error, ValidationError, ValueError) as error:
        raise _no_cursor() from error


def _before(cursor: str) -> int:
    if not cursor:
        return LAST_ID
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < len(str(LAST_ID))):
        raise _no_cursor()
    return int(cursor)


def _no_cursor() -> InvalidInputError:
    return InvalidInputError(
        "the query does not validate", [{"loc": ["query", "cursor"], "msg": "is no cursor of this list"}]
    )
