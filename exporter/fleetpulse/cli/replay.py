"""`fleetpulse replay`: a file of request logs through the API."""

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fleetpulse.cli import options
from fleetpulse.replay.checkpoint import CheckpointFile
from fleetpulse.replay.pace import Pace, parse_speed
from fleetpulse.replay.player import Job, Player
from fleetpulse.replay.shape import Shape, pairs, shape_of
from fleetpulse.replay.source import Source, look
from fleetpulse.replay.tally import Tally
from fleetpulse.sender import Sender

Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="CSV (with a header) or JSONL files.")]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map", metavar="FIELD=COLUMN", help="Which column is which field; not needed where the names agree."
    ),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A constant; wins over the file.")
]
Speed = Annotated[str, typer.Option(help="A multiple of real time by the rows' timestamps (1, 60, …), or max.")]
Now = Annotated[bool, typer.Option("--now", help="Stamp each row with the moment it is sent.")]
Resume = Annotated[bool, typer.Option(help="Go on where an unfinished replay of the same file stopped.")]
BatchRows = Annotated[int, typer.Option("--batch", min=1, max=10_000, help="Most rows in one request.")]
IdPrefix = Annotated[
    str, typer.Option(help="Begins every made-up request_id; another one makes the same file count again.")
]
Patience = Annotated[
    float, typer.Option(min=0, help="Seconds to keep trying while the exporter is away or overloaded.")
]


def replay(  # noqa: PLR0913 - one parameter per option
    files: Files,
    *,
    mapping: Map = None,
    constants: Set = None,
    speed: Speed = "max",
    now: Now = False,
    resume: Resume = True,
    batch: BatchRows = 1_000,
    id_prefix: IdPrefix = "replay",
    patience: Patience = 120.0,
    data_dir: options.DataDir = None,
    url: options.Url = None,
    app_key: options.AppKey = None,
    app_secret: options.AppSecret = None,
    token: options.Token = None,
) -> None:
    """Send a CSV or JSONL file of request logs through the API.

    Rows without a request_id get one made from the file's content, so sending a file again changes no total: it
    counts as duplicates. A replay that was interrupted, or met a restart of the exporter, ends with exact totals.
    Times without a zone are UTC. The Azure LLM inference trace is recognised by its columns.

    **Examples**

    - `fleetpulse replay AzureLLMInferenceTrace_conv.csv --set source=web --set model=gpt-4o`
    - `fleetpulse replay calls.jsonl --speed 60`
    - `fleetpulse replay calls.csv --map execution_time=SECONDS --set source=ide --set status=success`
    """
    settings = options.load(data_dir=data_dir)
    address = options.target(url)
    pace = Pace(parse_speed(speed), now, batch)
    fields, given = pairs("--map", mapping or [], "FIELD=COLUMN"), pairs("--set", constants or [], "FIELD=VALUE")
    sources = [look(file) for file in files]
    shapes = [shape_of(source, fields, given, id_prefix=id_prefix) for source in sources]
    console = Console(stderr=True, highlight=False)
    sender = Sender(
        address, options.credentials(app_key, app_secret, token), patience=patience, on_trouble=_Trouble(console)
    )
    folder = settings.data_dir / "replay"
    jobs = [
        Job(source, shape, pace, CheckpointFile.of(folder, address, shape) if resume else None)
        for source, shape in zip(sources, shapes, strict=True)
    ]
    tallies = asyncio.run(_play(jobs, sender, console))
    if any(tally.rejected for tally in tallies):
        raise typer.Exit(1)


async def _play(jobs: list[Job], sender: Sender, console: Console) -> list[Tally]:
    """Plays the files one after the other, each with its progress bar and its sums."""
    async with sender:
        return [await _play_one(job, sender, console) for job in jobs]


async def _play_one(job: Job, sender: Sender, console: Console) -> Tally:
    began = time.monotonic()
    finished = False
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task(job.source.path.name, total=job.source.rows)
        player = Player(sender, job, lambda tally: bar.update(task, completed=player.resumed_at + tally.rows))
        _introduce(job.source, job.shape, console)
        try:
            await player.play()
            finished = True
        finally:
            bar.update(task, completed=player.resumed_at + player.tally.rows)
            bar.stop()
            _sum_up(player, sender, time.monotonic() - began, finished=finished)
    return player.tally


def _introduce(source: Source, shape: Shape, console: Console) -> None:
    if shape.preset:
        console.print(f"{source.path.name}: recognised as {shape.preset}", markup=False)


def _sum_up(player: Player, sender: Sender, seconds: float, *, finished: bool) -> None:
    """The sums of one file, on stdout; also of one that was broken off."""
    tally = player.tally
    earlier = f" ({player.resumed_at} more in an earlier run)" if player.resumed_at else ""
    typer.echo(
        f"sent {tally.rows}{earlier}: accepted {tally.accepted}, duplicates {tally.duplicates}, "
        f"rejected {tally.rejected}; {seconds:.1f} s"
    )
    if sender.retries:
        typer.echo(f"tried again {sender.retries} times; a row whose first answer got lost shows as a duplicate")
    for error in tally.errors:
        typer.echo(f"  {error}", err=True)
    if tally.rejected > len(tally.errors):
        typer.echo(f"  … and {tally.rejected - len(tally.errors)} more", err=True)
    if not finished:
        typer.echo("Not finished: the same command again goes on from here.", err=True)


class _Trouble:
    """Tells of each new kind of trouble once, so that a long absence does not fill the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = ""

    def __call__(self, what: str) -> None:
        if what != self._told:
            self._told = what
            self._console.print(f"{what}; trying again", style="yellow", markup=False)
