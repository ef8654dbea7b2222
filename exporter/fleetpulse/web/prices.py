"""Prices of one's own: those of the configuration, and those given at run time."""

import json
from datetime import datetime
from typing import Literal

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from fleetpulse.auth import Role
from fleetpulse.config import Limits, LocalPrice, ModelPrice
from fleetpulse.journal import Journal
from fleetpulse.journal.prices import GivenPrice
from fleetpulse.repricing import Order, Repricing
from fleetpulse.signals import Label
from fleetpulse.web.answers import Paged, json_answer, page
from fleetpulse.web.body import Decoder, read_body
from fleetpulse.web.guard import principal_of, requires
from fleetpulse.web.operations import Query, operation, read_query
from fleetpulse.web.pricing import Priced, Rates, moment, outcome, preview, rates


class NewPrice(ModelPrice):
    """A price to put in force. With `dry_run`, nothing is changed, and the answer says what would be."""

    dry_run: bool = False


class WhichPrice(Query):
    """A price that was given."""

    model: Label = Field(description="Of this model.")
    provider: Label | None = Field(None, description="And of this provider; default: of any.")


class PriceShown(Rates):
    """A price besides the bundled ones; one that was given is not in force where the configuration decides."""

    origin: Literal["configured", "given"]
    in_force: bool
    set_at: datetime | None
    set_by: str | None


class Prices(TypedDict):
    """Prices by model."""

    prices: list[PriceShown]
    next_cursor: str | None


class PriceSet(Priced):
    """The price, and the stored requests that got a cost by it, or would."""

    price: Rates


EXAMPLE = {"model": "our-llama", "input_usd_per_million": 0.2, "output_usd_per_million": 0.6}


class PriceEndpoints:
    """What models cost, and what could not be priced."""

    def __init__(self, repricing: Repricing, journal: Journal, limits: Limits) -> None:
        self._repricing = repricing
        self._journal = journal
        self._limits = limits
        self._new = Decoder(NewPrice, 1)

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get("/api/prices", self.prices),
            web.post("/api/prices", self.set_price),
            web.delete("/api/prices", self.delete_price),
        ]

    @requires(Role.VIEWER)
    @operation("Money", answer=Prices, query=Paged)
    async def prices(self, request: web.Request) -> web.Response:
        """The prices besides the bundled ones: those of the configuration, and those given at run time.

        A cost that is reported wins over all of them.
        """
        every = [_configured(each) for each in self._repricing.pricer.configured]
        every += [self._given(each) for each in self._repricing.given]
        shown, cursor = page(request, sorted(every, key=_name), _name)
        return json_answer({"prices": shown, "next_cursor": cursor})

    @requires(Role.OPERATOR)
    @operation("Money", answer=PriceSet, body=NewPrice, examples={"A price": EXAMPLE})
    async def set_price(self, request: web.Request) -> web.Response:
        """Puts a price in force, and prices the stored requests that have no cost by it.

        It replaces the price that was given for the same model and provider. The answer comes when the stored
        requests are priced, or after 5 seconds; the rest goes on then. What has a cost keeps it. 422 where the
        configuration sets the price.
        """
        body = self._new.one(await read_body(request, self._limits))
        price = ModelPrice.model_validate(body.model_dump(exclude={"dry_run"}))
        made_by = principal_of(request).subject
        if body.dry_run:
            order = Order(made_by=made_by, model=price.model, provider=price.provider)
            pricing = await preview(self._repricing.would(order, price))
        else:
            pricing = await outcome(self._journal, await self._repricing.set_price(price, made_by))
        return json_answer({"price": rates(price), "dry_run": body.dry_run, "pricing": pricing})

    @requires(Role.OPERATOR)
    @operation("Money", query=WhichPrice, status=204, media=(), problems=(404,))
    async def delete_price(self, request: web.Request) -> web.Response:
        """Takes back a price that was given at run time.

        What was priced by it keeps its cost.
        """
        query = read_query(request, WhichPrice)
        await self._repricing.delete_price(query.model, query.provider)
        return web.Response(status=204)

    def _given(self, kept: GivenPrice) -> PriceShown:
        price = ModelPrice.model_validate_json(kept.price)
        in_force = self._repricing.pricer.configured_for(price) is None
        return {
            **rates(price),
            "origin": "given",
            "in_force": in_force,
            "set_at": moment(kept.set_at),
            "set_by": kept.set_by,
        }


def _configured(price: LocalPrice) -> PriceShown:
    return {**rates(price), "origin": "configured", "in_force": True, "set_at": None, "set_by": None}


def _name(price: PriceShown) -> str:
    """What prices are sorted and paged by: no two have the same."""
    since = price["valid_from"].isoformat() if "valid_from" in price else ""
    return json.dumps([price.get("model", ""), price.get("provider", ""), price["origin"], since])
