"""`fleetpulse tap`: records WebSocket servers to the screen or a file, with no server of its own."""

from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from fleetpulse import config
from fleetpulse.cli import options
from fleetpulse.cli import tap_options as given
from fleetpulse.cli.tap_sources import Server, rules, streams
from fleetpulse.config import Settings
from fleetpulse.errors import InvalidInputError

app = typer.Typer(name="tap", invoke_without_command=True, rich_markup_mode="markdown")


@app.callback()
def tap(  # noqa: PLR0913 - one parameter per option
    context: typer.Context,
    *,
    url: given.Url = None,
    name: given.Name = None,
    config_file: given.ConfigFile = None,
    stream: given.StreamNames = None,
    header: given.Headers = None,
    header_file: given.HeaderFiles = None,
    secret: given.Secrets = None,
    subprotocol: given.Subprotocols = None,
    send: given.Send = None,
    send_file: given.SendFile = None,
    allow_private: given.AllowPrivate = False,
    insecure: given.Insecure = False,
    ca_file: given.CaFile = None,
    proxy: given.Proxy = None,
    compression: given.Compression = True,
    max_attempts: given.MaxAttempts = None,
    max_seconds: given.MaxSeconds = None,
    preset: given.PresetName = None,
    path: given.PathPairs = None,
    explain: given.Explain = False,
    keyword: given.Keywords = None,
    pattern: given.Patterns = None,
    user: given.Users = None,
    output: given.OutputFile = None,
    form: given.FormatName = None,
    rotate_bytes: given.RotateBytes = 0,
    keep: given.Keep = 5,
    only_kind: given.OnlyKinds = None,
    only_user: given.OnlyUsers = None,
    only_rule: given.OnlyRules = None,
    count: given.Count = None,
    seconds: given.Duration = None,
) -> None:
    """Listen to a WebSocket server as a client, and write down every message.

    It needs no exporter: lines go to the screen or a file. What happens to the connection is a line, too, so that
    gaps can be seen. It reconnects by itself; Ctrl-C ends it, with everything received written. `fleetpulse serve`
    records the same streams into the journal, with series, search and alerts.

    Exit code 0: it ended as asked (Ctrl-C, --count, --seconds). 1: a server was given up, or something could not be
    written. 2: a wrong option.

    **Examples**

    - `fleetpulse tap --url wss://chat.example.org/ws`
    - `fleetpulse tap --url ws://localhost:8000/ws/chat --allow-private --keyword 重要 --keyword 紧急`
    - `fleetpulse tap --url wss://chat.example.org/ws --explain`
    - `fleetpulse tap --url wss://chat.example.org/ws --header-file Authorization=token.txt --output chat.jsonl`
    - `fleetpulse tap --config fleetpulse.yaml --stream support | jq -r '.text // empty'`
    - `fleetpulse tap convert config.json > fleetpulse.yaml`
    """
    if context.invoked_subcommand is not None:
        return
    server = Server(
        url=url,
        name=name,
        headers=header or (),
        header_files=header_file or (),
        secrets=secret or (),
        subprotocols=subprotocol or (),
        send=send or (),
        send_files=send_file or (),
        preset=preset,
        paths=path or (),
        allow_private=allow_private,
        insecure=insecure,
        ca_file=ca_file,
        proxy=proxy,
        compression=compression,
        max_attempts=max_attempts,
        max_seconds=max_seconds,
    )
    settings = _settings(config_file, wanted=url is None or bool(stream))
    chosen = streams(settings, stream or (), server)
    watched = rules(settings, keyword or (), pattern or (), user or ())
    # The recorder's imports take longer than most other commands run.
    from fleetpulse.cli import tap_run  # noqa: PLC0415

    filters = frozenset(only_kind or ()), frozenset(only_user or ()), frozenset(only_rule or ())
    limits = tap_run.Limits(*filters, count or (given.EXPLAINED if explain else None), seconds)
    if missing := limits.rules - {each.name for each in watched}:
        raise InvalidInputError(f"--only-rule {min(missing)}: there is none; give --keyword, --pattern or --user")
    place = tap_run.Place(output, form, rotate_bytes, keep)
    raise typer.Exit(tap_run.record(chosen, watched, limits, None if explain else place))


@app.command("convert")
def convert(
    file: Annotated[Path, typer.Argument(help="The config.json of the older monitor.")],
) -> None:
    """Print a `config.json` as the fleetpulse.yaml that means the same; what is to be known is said on stderr.

    **Example**

    - `fleetpulse tap convert config.json > fleetpulse.yaml`
    """
    found = config.convert(file)
    typer.echo(yaml.safe_dump(found.settings, allow_unicode=True, sort_keys=False).rstrip())
    for note in found.notes:
        Console(stderr=True).print(f"{file}: {note}", markup=False, highlight=False, soft_wrap=True)


def _settings(file: Path | None, *, wanted: bool) -> Settings | None:
    """The configuration where it was named or streams can only come from there. Raises ConfigError."""
    if file is None and not (wanted and config.config_path()):
        return None
    return options.load(file)
