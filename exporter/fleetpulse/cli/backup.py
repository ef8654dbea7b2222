"""`fleetpulse backup`, `fleetpulse restore`: copies of the journal, made while it is in use, and brought back."""

import concurrent.futures
import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from fleetpulse.cli import options
from fleetpulse.config import Settings
from fleetpulse.journal import backup as journal_backup
from fleetpulse.journal.backup import Backup, BackupError, Contents, Loss, Made, Restored, Stage, Watch
from fleetpulse.query import index

app = typer.Typer(
    name="backup",
    invoke_without_command=True,
    rich_markup_mode="markdown",
)
T = TypeVar("T")
POLL_SECONDS = 0.1
NAME_CHARACTERS = 44
To = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER|FILE", help="Where to put it; there nothing is deleted. Default: the folder of backups"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of text.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.callback()
def backup(
    context: typer.Context,
    *,
    to: To = None,
    as_json: AsJson = False,
    data_dir: options.DataDir = None,
    config: options.ConfigFile = None,
) -> None:
    """Back the journal up, also while the exporter runs, which goes on.

    The copy is of one moment. It is looked over, and counts only once it is whole; beside it lies a manifest. In
    the folder of backups (settings `backup.folder`, `backup.keep`) the oldest are deleted. The exporter makes
    backups by itself, too: setting `backup.hours`.

    **Examples**

    - `fleetpulse backup`
    - `fleetpulse backup --to /mnt/usb/`
    - `fleetpulse backup --to before-upgrade.db`
    - `fleetpulse backup list`
    - `fleetpulse backup verify data/backups/journal-20250107T103500.000Z-5f0c2a9d41be.db`
    """
    if context.invoked_subcommand is not None:
        return
    settings = options.load(config, data_dir=data_dir)
    made = _watched("Backing up", lambda watch: _make(settings, to, watch))
    if as_json:
        _print_json({"file": str(made.path), "deleted": list(map(str, made.deleted)), **asdict(made.manifest)})
        return
    manifest = made.manifest
    typer.echo(made.path)
    typer.echo(f"{manifest.bytes:,} bytes, {_rows(manifest.rows)}, of {manifest.made_at}; {manifest.seconds:.1f} s")
    for path in made.deleted:
        typer.echo(f"deleted {path.name}: more than backup.keep ({settings.backup.keep})")
    _complain_of(manifest.findings)


@app.command("list")
def list_backups(
    *, as_json: AsJson = False, data_dir: options.DataDir = None, config: options.ConfigFile = None
) -> None:
    """List the backups in the folder of backups, the newest first.

    **Examples**

    - `fleetpulse backup list`
    - `fleetpulse backup list --json`
    """
    settings = options.load(config, data_dir=data_dir)
    found = [_described(each) for each in _backups(settings.backup_folder)]
    if as_json:
        _print_json(found)
        return
    file = Column("File", no_wrap=True, min_width=NAME_CHARACTERS)  # it must be whole to be of use
    table = Table(file, Column("Bytes", justify="right"), "Rows", "Totals", title=str(settings.backup_folder))
    for each in found:
        findings = each["findings"]
        books = "?" if findings is None else "wrong" if findings else "right"
        table.add_row(Path(each["file"]).name, f"{each['bytes']:,}", _rows(each["rows"] or {}), books)
    Console(highlight=False).print(table if found else f"There are no backups in {settings.backup_folder}.")


@app.command("verify")
def verify(file: File, *, as_json: AsJson = False) -> None:
    """Look a backup over: is it whole, is it sound, are its totals the sums of its rows.

    Exits with 1 where it is not.

    **Example**

    - `fleetpulse backup verify data/backups/journal-20250107T103500.000Z-5f0c2a9d41be.db`
    """
    contents = _watched("Verifying", lambda watch: journal_backup.verify(file, watch))
    if as_json:
        _print_json({"file": str(file), **asdict(contents)})
    else:
        typer.echo(f"{file} is sound: schema {contents.schema}, {_rows(contents.rows)}")
    _complain_of(contents.findings)
    if contents.findings:
        raise typer.Exit(1)


def restore(
    file: File,
    *,
    yes: Yes = False,
    as_json: AsJson = False,
    data_dir: options.DataDir = None,
    config: options.ConfigFile = None,
) -> None:
    """Put a backup in the place of the journal; the exporter must be stopped.

    The backup is verified first, and the journal it replaces is kept under another name. What came after the
    backup is lost to the restored journal: this says how much. The search index is made anew at the next start.
    Live clients and other replicas take the restored journal for a new stream.

    **Examples**

    - `fleetpulse restore data/backups/journal-20250107T103500.000Z-5f0c2a9d41be.db`
    - `fleetpulse restore /mnt/usb/before-upgrade.db --data-dir /srv/fleetpulse --yes`
    """
    settings = options.load(config, data_dir=data_dir)
    journal_backup.ensure_unused(settings.journal_path)
    contents = _watched("Verifying", lambda watch: journal_backup.verify(file, watch))
    loss = journal_backup.loss(contents, settings.journal_path)
    _announce(file, contents, loss, settings)
    if not yes:
        typer.confirm("Restore it?", abort=True, err=True)
    restored = _watched("Restoring", lambda watch: journal_backup.restore(file, settings.journal_path, watch))
    removed = _remove_derived(settings)
    if as_json:
        _print_json(_outcome(file, restored, contents, loss, removed))
        return
    typer.echo(f"restored {settings.journal_path} from {file}: {_rows(contents.rows)}")
    if restored.set_aside is not None:
        typer.echo(f"the journal that was there is kept as {restored.set_aside}; delete it when it is not needed")
    for path in removed:
        typer.echo(f"removed {path.name}: it is made anew at the next start")
    typer.echo(f"the stream has a new epoch, {restored.epoch}: live clients are told of a gap")


def _make(settings: Settings, to: Path | None, watch: Watch) -> Made:
    journal = settings.journal_path
    if to is None:
        return journal_backup.make_in(settings.backup_folder, journal, settings.backup.keep, watch)
    if to.is_dir() or to.suffix == "":
        return journal_backup.make_in(to, journal, None, watch)
    return journal_backup.make_at(to, journal, watch)


def _backups(folder: Path) -> list[Backup]:
    try:
        return journal_backup.backups(folder)
    except OSError as error:
        raise BackupError(f"{folder} cannot be read: {error.strerror}") from error


def _described(found: Backup) -> dict[str, Any]:
    manifest = journal_backup.read_manifest(found.path) or {}
    return {
        "file": str(found.path),
        "made_at": datetime.fromtimestamp(found.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "bytes": found.bytes,
        "lineage": found.lineage,
        "rows": manifest.get("rows"),
        "findings": manifest.get("findings"),
        "sha256": manifest.get("sha256"),
    }


def _announce(file: Path, contents: Contents, loss: Loss, settings: Settings) -> None:
    """Says what restoring would mean."""
    newest = max((each.newest_at for each in contents.tables.values() if each.newest_at is not None), default=None)
    of = "nothing" if newest is None else f"{datetime.fromtimestamp(newest, UTC):%Y-%m-%d %H:%M:%S} UTC"
    typer.echo(f"{file} is sound: {_rows(contents.rows)}, the newest of {of}", err=True)
    _complain_of(contents.findings)
    if not settings.journal_path.exists():
        typer.echo(f"there is no journal in {settings.data_dir} yet", err=True)
    elif loss.rows is None:
        typer.echo(f"the journal {settings.journal_path} cannot be read: what is lost of it is not known", err=True)
    else:
        why = "another journal, all of it" if loss.other else "came after the backup"
        typer.echo(f"not in the backup: {_rows(loss.rows)} ({why})", err=True)


def _outcome(file: Path, restored: Restored, contents: Contents, loss: Loss, removed: list[Path]) -> dict[str, Any]:
    return {
        "file": str(file),
        "epoch": restored.epoch,
        "rows": contents.rows,
        "lost": loss.rows,
        "set_aside": None if restored.set_aside is None else str(restored.set_aside),
        "removed": [str(path) for path in removed],
    }


def _remove_derived(settings: Settings) -> list[Path]:
    """Deletes what is made of the journal, and would be that of another one now."""
    derived = (settings.search_path, settings.message_search_path)
    there = [file for path in derived for file in index.files(path) if file.exists()]
    for file in there:
        file.unlink()
    return there


# Words and bars ------------------------------------------------------------------------------------------------
def _watched(what: str, work: Callable[[Watch], T]) -> T:
    """Does something long on a thread, with a bar; Ctrl-C stops it, whatever it is at."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=None)

        def tell(stage: Stage, done: int, whole: int) -> None:
            bar.update(task, description=f"{what}: {stage}", completed=done, total=whole or None)

        return _stoppable(work, Watch(tell))


def _stoppable(work: Callable[[Watch], T], watch: Watch) -> T:
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            outcome.set_result(work(watch))
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            outcome.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_SECONDS)
    except KeyboardInterrupt:
        watch.stop()
        thread.join()
        raise
    return outcome.result()


def _rows(rows: "dict[str, int] | Any") -> str:
    """Rows by table in words."""
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in rows.items() if count) or "no rows"


def _complain_of(findings: tuple[str, ...]) -> None:
    for finding in findings:
        typer.echo(f"warning: totals are not the sums of the rows: {finding}", err=True)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2))
