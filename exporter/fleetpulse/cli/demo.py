"""`fleetpulse demo`: made-up traffic, once or as a steady stream."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from fleetpulse import catalogue, config
from fleetpulse.cli import options
from fleetpulse.demo import ACCOUNTS, Accounts, Fleet, Traffic
from fleetpulse.errors import UpstreamError
from fleetpulse.replay.pace import Batch
from fleetpulse.replay.tally import Tally
from fleetpulse.sender import Sender

DEFAULT_REQUESTS = 50
ONCE_BATCH = 10
SPREAD_SECONDS = 13.0  # for the default requests: more than two scrapes of 5 s
STREAM_BATCH = 1_000
TICK_SECONDS = 0.25
HEARTBEAT_SECONDS = 10.0
ACTIVITY = "/api/v1/group-ai/monitor/accounts/activity"
PATIENCE_ONCE = 10.0
PATIENCE_STREAM = 300.0

Requests = Annotated[int | None, typer.Option(min=1, help="How many requests. Default: 50, or endless with --rate")]
Rate = Annotated[
    float | None, typer.Option(min=0.01, max=100_000, help="Requests per second, steadily, until Ctrl-C.")
]
Seed = Annotated[int | None, typer.Option(help="Make the same content again (the ids are new all the same).")]


def demo(  # noqa: PLR0913 - one parameter per option
    *,
    requests: Requests = None,
    rate: Rate = None,
    seed: Seed = None,
    url: options.Url = None,
    app_key: options.AppKey = None,
    app_secret: options.AppSecret = None,
    token: options.Token = None,
) -> None:
    """Send made-up request logs, heartbeats of a small made-up fleet, and what group accounts do.

    Requests come from Telegram, Discord, WeChat and the web, with AI and system commands, tokens, cost and some
    failures; seven agents in the pools "coding" and "support" report their load, four group accounts
    what they did.

    **Examples**

    - `fleetpulse demo`
    - `fleetpulse demo --rate 5`
    - `fleetpulse demo --requests 5000 --seed 7`
    """
    address = options.target(url)
    sender = Sender(
        address,
        options.credentials(app_key, app_secret, token),
        patience=PATIENCE_STREAM if rate else PATIENCE_ONCE,
    )
    rng = random.Random(seed)  # noqa: S311 - made-up traffic
    total = requests if requests is not None or rate else DEFAULT_REQUESTS
    accounts = Accounts(random.Random(seed))  # noqa: S311 - chance of its own: requests stay the same
    show = Demo(sender, Traffic(rng), Fleet(rng), accounts)
    asyncio.run(show.stream(rate, total) if rate else show.once(total or DEFAULT_REQUESTS))
    _summarise(show.tally, address, lasting=rate is not None)


class Demo:
    """Sends the made-up traffic through one sender and keeps count."""

    def __init__(self, sender: Sender, traffic: Traffic, fleet: Fleet, accounts: Accounts) -> None:
        self.tally = Tally()
        self._sender = sender
        self._traffic = traffic
        self._fleet = fleet
        self._accounts = accounts

    async def once(self, total: int) -> None:
        """One heartbeat of every agent, `total` requests, and the goodbye of one agent and all accounts.

        A few requests are spread over some scrapes of Prometheus, so that rates have something to show; many are
        sent as fast as they are taken.
        """
        few = total <= DEFAULT_REQUESTS
        async with self._sender:
            await self._beat()
            with _progress(total) as advance:
                while (left := total - self.tally.rows) > 0:
                    await self._send(min(left, ONCE_BATCH if few else STREAM_BATCH))
                    advance(self.tally.rows)
                    await asyncio.sleep(SPREAD_SECONDS * ONCE_BATCH / DEFAULT_REQUESTS if few else 0)
            await self._sender.post("/api/v1/agents/ping", self._fleet.goodbyes()[-1:])
            await self._sender.post(ACTIVITY, self._accounts.goodbyes())

    async def stream(self, rate: float, total: int | None) -> None:
        """`rate` requests a second and a heartbeat every ten, until `total` or Ctrl-C; agents then say goodbye."""
        stop = options.stop_event()
        async with self._sender:
            beats = asyncio.create_task(self._beat_on())
            stream = asyncio.create_task(self._stream(rate, total))
            stopped = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait({beats, stream, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for waiting in (beats, stream, stopped):
                waiting.cancel()
            await asyncio.gather(beats, stream, stopped, return_exceptions=True)
            for ended in done & {beats, stream}:
                ended.result()
            await self._sender.post("/api/v1/agents/ping", self._fleet.goodbyes())
            await self._sender.post(ACTIVITY, self._accounts.goodbyes())

    async def _stream(self, rate: float, total: int | None) -> None:
        began, asked = time.monotonic(), 0
        with _progress(total) as advance:
            while total is None or asked < total:
                due = int((time.monotonic() - began) * rate) + 1 - asked
                count = min(due, STREAM_BATCH, total - asked if total is not None else due)
                if count > 0:
                    await self._send(count)
                    asked += count
                    advance(asked)
                await asyncio.sleep(max(TICK_SECONDS, 1 / rate) if due <= STREAM_BATCH else 0)

    async def _beat_on(self) -> None:
        while True:
            await self._beat()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _beat(self) -> None:
        await self._sender.post("/api/v1/agents/ping", self._fleet.heartbeats())
        await self._sender.post(ACTIVITY, self._accounts.activities())

    async def _send(self, count: int) -> None:
        batch = Batch(list(range(self.tally.rows, self.tally.rows + count)), self._traffic.requests(count))
        try:
            self.tally.answered(batch, await self._sender.post("/api/log-request", batch.items))
        except (KeyError, IndexError, TypeError) as error:
            raise UpstreamError("exporter", f"{self._sender.url} gave no {error}: is it Fleetpulse?") from error


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; gives the function that sets how far it is."""
    columns = (SpinnerColumn(), TextColumn("requests"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("requests", total=total)
        yield lambda done: bar.update(task, completed=done)


def _summarise(tally: Tally, address: str, *, lasting: bool) -> None:
    settings = config.load()
    requests = catalogue.REQUESTS.name
    agents = len(Fleet(random.Random()).heartbeats())  # noqa: S311 - made-up agents
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"[green]{tally.accepted} requests accepted[/], {tally.duplicates} duplicates, {tally.rejected} rejected; "
        f"{agents} agents in 2 pools and {len(ACCOUNTS)} group accounts reported."
    )
    for error in tally.errors:
        console.print(error, style="red", markup=False)
    console.print("Look at:")
    console.print(f"  {address}/metrics                     the series", markup=False)
    console.print(f"  {address}/api/v1/agent-pools          the fleet", markup=False)
    console.print(f"  {settings.prometheus_url}/graph?g0.expr=sum%20by%20(source)%20({requests})", markup=False)
    console.print(f"  {settings.grafana_url}  dashboards, where Grafana runs", markup=False)
    if not lasting:
        console.print(
            "In 5 minutes the agents count as silent, which raises an alert; `fleetpulse demo --rate 2` keeps "
            "them alive until Ctrl-C.",
            markup=False,
        )
    if tally.rejected:
        raise typer.Exit(1)
