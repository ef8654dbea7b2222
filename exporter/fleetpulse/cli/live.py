"""`fleetpulse live`: the live feed in a terminal, or as JSON Lines for other programs."""

import asyncio
import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.text import Text

from fleetpulse.cli import options
from fleetpulse.errors import InvalidInputError
from fleetpulse.feed import (
    Gap,
    Left,
    LiveFeed,
    Position,
    Snapshot,
    StateChange,
    Subscribed,
    TopicMessage,
    load_positions,
    save_positions,
)

SAVE_SECONDS = 1.0
SCALARS = {"true": True, "false": False, "null": None}
STYLES = {"snapshot": "magenta", "gap": "bold red", "left": "dim", "subscribed": "green", "position": "dim"}

Topics = Annotated[list[str], typer.Argument(help="Topics: agents, agents/POOL, requests, alerts and so on.")]
Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", "-f", help="Only where a field has a value: `status=error`, `source=web,discord`."),
]
PositionFile = Annotated[
    Path | None,
    typer.Option("--since-position", help="Go on where the file says the last run stopped; it is kept up to date."),
]
AsJson = Annotated[
    bool | None,
    typer.Option("--json/--no-json", help="One JSON object a line. Default: where the output is no terminal"),
]
Count = Annotated[int | None, typer.Option("--count", "-n", min=1, help="Stop after so many messages.")]


def live(  # noqa: PLR0913 - one parameter per option
    topics: Topics,
    *,
    where: Filters = None,
    since_position: PositionFile = None,
    as_json: AsJson = None,
    count: Count = None,
    url: options.Url = None,
    app_key: options.AppKey = None,
    app_secret: options.AppSecret = None,
    token: options.Token = None,
) -> None:
    """Follow the live feed: requests, alerts, agents as they come.

    Reconnects and resumes by itself, so nothing is missed that the exporter still holds; what it does not is named
    by a `gap`. Ctrl-C stops. What becomes of the connection is told on stderr.

    **Examples**

    - `fleetpulse live requests alerts`
    - `fleetpulse live requests --filter status=error --filter source=web,discord`
    - `fleetpulse live requests --json --since-position seen.json | jq .data.cost`
    - `fleetpulse live agents/default --count 10`
    """
    target, credentials = options.target(url), options.credentials(app_key, app_secret, token)
    feed = LiveFeed(
        target,
        token=credentials.token,
        headers=credentials.headers() if credentials.app_key else None,
        positions=load_positions(since_position) if since_position else None,
    )
    wanted = filter_of(where or [])
    for topic in topics:
        feed.subscribe(topic, filter=wanted)
    lines = JsonLines() if (not sys.stdout.isatty() if as_json is None else as_json) else Readable()
    with suppress(BrokenPipeError):
        asyncio.run(_follow(feed, lines, since_position, count))
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at exit


def filter_of(pairs: list[str]) -> dict[str, list[Any]]:
    """`["status=error,timeout", "n=5"]` as a filter. What reads as a number or word of JSON matches as such, too.

    Raises InvalidInputError.
    """
    wanted: dict[str, list[Any]] = {}
    for pair in pairs:
        name, equals, values = pair.partition("=")
        if not equals or not name:
            raise InvalidInputError(f"--filter {pair}: write FIELD=VALUE, or FIELD=VALUE,VALUE")
        for value in values.split(","):
            wanted.setdefault(name, []).extend(_readings(value))
    return wanted


class Lines(Protocol):
    """How messages are written."""

    def show(self, message: TopicMessage) -> None:
        """Writes one."""


class JsonLines:
    """One JSON object a line, as the protocol has them, each with its epoch."""

    def show(self, message: TopicMessage) -> None:
        """Writes one, at once."""
        named = {"type": kind_of(message)} | _given(dataclasses.asdict(message))
        if isinstance(message, Gap):
            named["from"], named["to"] = named.pop("first"), named.pop("last")
        sys.stdout.write(json.dumps(named, ensure_ascii=False) + "\n")
        sys.stdout.flush()


class Readable:
    """One line for people: when, which topic, what."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)

    def show(self, message: TopicMessage) -> None:
        """Writes one."""
        kind = kind_of(message)
        line = Text(time.strftime("%H:%M:%S "), style="dim")
        line.append(f"{message.topic} ", style="cyan")
        line.append(f"{getattr(message, 'kind', kind)} ", style=STYLES.get(kind, "blue"))
        line.append(words(message), style="")
        self._console.print(line, soft_wrap=True)


def kind_of(message: TopicMessage) -> str:
    """The message's type, as the protocol names it."""
    return type(message).__name__.lower()


def words(message: TopicMessage) -> str:
    """What a message says, for people."""
    match message:
        case Snapshot():
            return f"{len(message.data)} at offset {message.offset}"
        case Gap():
            return f"{message.first} to {message.last} are lost: the exporter holds them no longer"
        case Subscribed():
            return "resumed, nothing missed" if message.recovered else f"at offset {message.offset}"
        case Left():
            return f"{message.key} matches no longer"
        case Position():
            return f"at offset {message.offset}"
    data = message.data if isinstance(message.data, dict) else {}
    fields = [f"{name}={_short(value)}" for name, value in data.items()]
    return " ".join([message.key, *fields] if message.key else fields)


def state_words(change: StateChange) -> str:
    """What becomes of the connection, for people."""
    again = "" if change.retry_in is None else f"; again in {change.retry_in:.1f} s"
    return f"{change.state}{f': {change.detail}' if change.detail else ''}{again}"


async def _follow(feed: LiveFeed, lines: Lines, file: Path | None, count: int | None) -> None:
    """Shows messages until there are enough or a signal comes; keeps the file of positions."""
    stop = options.stop_event()
    async with feed:
        reading = asyncio.create_task(_read(feed, lines, file, count))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not reading.done():
                reading.cancel()
            await asyncio.wait((reading,))
            _save(file, feed)
    if not reading.cancelled():
        reading.result()


async def _read(feed: LiveFeed, lines: Lines, file: Path | None, count: int | None) -> None:
    console, saved, shown = Console(stderr=True, highlight=False), time.monotonic(), 0
    async for message in feed:
        if isinstance(message, StateChange):
            console.print(Text(state_words(message), style="dim"), soft_wrap=True)
            continue
        lines.show(message)
        shown += not isinstance(message, Subscribed | Position)
        if shown == count:
            return
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(file, feed)
            saved = time.monotonic()


def _save(file: Path | None, feed: LiveFeed) -> None:
    if file is not None:
        save_positions(file, feed.positions)


def _readings(value: str) -> list[Any]:
    """The text, and what it reads as in JSON where that is a scalar: fields hold one or the other."""
    if value in SCALARS:
        return [value, SCALARS[value]]
    for read in (int, float):
        with suppress(ValueError):
            return [value, read(value)]
    return [value]


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without the optional ones that say nothing."""
    return {name: value for name, value in fields.items() if value or name not in ("key", "origin", "positions")}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"  # noqa: PLR2004 - characters of one field
