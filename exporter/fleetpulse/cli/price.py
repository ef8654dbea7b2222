"""`fleetpulse price`: give a price to a model, and a cost to the stored requests that have none."""

import asyncio
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from fleetpulse.cli import options
from fleetpulse.sender import Sender

POLL_SECONDS = 0.5


def price(  # noqa: PLR0913 - one argument per option
    model: Annotated[
        str | None, typer.Argument(help="The model as it is reported; `*` stands for any text. Default: any.")
    ] = None,
    *,
    input_usd: Annotated[float | None, typer.Option("--input", min=0, help="USD per million input tokens.")] = None,
    output_usd: Annotated[
        float | None, typer.Option("--output", min=0, help="USD per million output tokens.")
    ] = None,
    cached_usd: Annotated[
        float | None,
        typer.Option("--cached", min=0, help="USD per million cached input tokens. Default: what input costs"),
    ] = None,
    request_usd: Annotated[float | None, typer.Option("--request", min=0, help="USD per request.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only where this provider is reported.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be, and change nothing.")] = False,
    url: options.Url = None,
    app_key: options.AppKey = None,
    app_secret: options.AppSecret = None,
    token: options.Token = None,
) -> None:
    """Give a price to a model, and a cost to the stored requests that have none.

    With a price, it is in force at once, and stored requests to the model are priced by it. Without one, stored
    requests are priced by the prices in force: after a price has joined the configuration, say. Needs the role
    operator. What has a cost keeps it.

    **Examples**

    - `fleetpulse price our-llama --input 0.2 --output 0.6 --dry-run`
    - `fleetpulse price our-llama --input 0.2 --output 0.6`
    - `fleetpulse price 'dall-e-*' --request 0.04`
    - `fleetpulse price`
    """
    rates = {
        "input_usd_per_million": input_usd,
        "output_usd_per_million": output_usd,
        "cached_usd_per_million": cached_usd,
        "request_usd": request_usd,
    }
    given = {name: usd for name, usd in rates.items() if usd is not None}
    if given and model is None:
        raise typer.BadParameter("a price needs the model that it is of", param_hint="MODEL")
    payload = {"model": model, "provider": provider, "dry_run": dry_run} | given
    sender = Sender(options.target(url), options.credentials(app_key, app_secret, token), patience=30.0)
    path = "/api/prices" if given else "/api/unpriced/price"
    _show(asyncio.run(_price(sender, path, payload)), dry_run=dry_run)


async def _price(sender: Sender, path: str, payload: dict[str, Any]) -> dict[str, Any]:
    """What was priced, once all of it is."""
    async with sender:
        answer = await sender.post(path, payload)
        pricing: dict[str, Any] = answer["pricing"]
        if not pricing["finished"]:
            pricing = await _rest(sender, pricing["run_id"])
    return pricing


async def _rest(sender: Sender, run_id: str) -> dict[str, Any]:
    while orjson.loads(await sender.get("/api/corrections", {"limit": "1"}))["pending"]:  # noqa: ASYNC110 - elsewhere
        await asyncio.sleep(POLL_SECONDS)
    groups: list[dict[str, Any]] = []
    query: dict[str, str] = {"run_id": run_id, "limit": "1000"}
    while query.get("cursor") != "":
        page = orjson.loads(await sender.get("/api/corrections", query))
        groups += page["corrections"]
        query["cursor"] = page["next_cursor"] or ""
    requests, cost = sum(each["requests"] for each in groups), sum(each["cost_usd"] for each in groups)
    return {"requests": requests, "cost_usd": cost, "groups": groups}


def _show(pricing: dict[str, Any], *, dry_run: bool) -> None:
    console = Console(highlight=False)
    if pricing["groups"]:
        table = Table("Source", "Model", "Provider", "Requests", "USD")
        for each in pricing["groups"]:
            words = (each["source"], each["model"], each["provider"] or "")
            cells = (word.replace("[", r"\[") for word in words)
            table.add_row(*cells, f"{each['requests']:,}", f"{each['cost_usd']:.6f}")
        console.print(table)
    would = "would get" if dry_run else "got"
    console.print(f"{pricing['requests']:,} requests {would} a cost, {pricing['cost_usd']:.6f} USD in all")
