"""`fleetpulse alertmanager`: Alertmanager's configuration from the settings: made, checked, tried."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleetpulse.cli import options
from fleetpulse.config import Settings
from fleetpulse.errors import ConfigError, InvalidInputError
from fleetpulse.stack.alerting import routes, running, versions
from fleetpulse.stack.alerting.amtool import Amtool
from fleetpulse.stack.alerting.document import Document, Place, build, routing
from fleetpulse.stack.alerting.files import write
from fleetpulse.stack.alerting.receivers import describe
from fleetpulse.stack.files import StackFiles, tools_folder

app = typer.Typer(
    name="alertmanager",
    help="Make Alertmanager's configuration of the settings under `alerting`, check it, and try who would be told.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
Target = Annotated[
    str | None,
    typer.Option(help="Alertmanager's version: 0.25, 0.28, latest. Default: what is installed, else 0.25"),
]


@app.command("render")
def render(  # noqa: PLR0913 - each is an option
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write, with its templates beside it; readable to its owner alone. Default: show"
        ),
    ] = None,
    target: Target = None,
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="Show secrets on the screen.")] = False,
    inline_secrets: Annotated[
        bool,
        typer.Option(help="Write in what the secrets' files hold: for an Alertmanager that cannot read them."),
    ] = False,
    exporter_url: Annotated[
        str | None, typer.Option(help="Where Alertmanager reaches the exporter. Setting: alerting.exporter_url")
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Have a running Alertmanager read it anew.")] = False,
    config: options.ConfigFile = None,
) -> None:
    """Make the configuration: show it without its secrets, or write it.

    A file is replaced only by one that amtool finds valid, where that is installed. What the version cannot do, and
    what will reach nobody, is said on stderr.

    **Examples**

    - `fleetpulse alertmanager render`
    - `fleetpulse alertmanager render --output /etc/prometheus/alertmanager.yml --reload`
    - `fleetpulse alertmanager render --target 0.28 --inline-secrets --exporter-url http://exporter:8001
      --output secrets/alertmanager/alertmanager.compose.yml`
    """
    settings = options.load(config)
    document = _build(settings, target, Place(exporter_url, None, inline_secrets))
    if output is None:
        typer.echo(document.text if show_secrets else document.masked, nl=False)
        return
    amtool = _amtool(settings)
    write(document, output, _templates(), amtool if _fits(amtool, document) else None)
    typer.echo(f"{output}: written for Alertmanager {document.version}")
    if reload:
        typer.echo(running.reload(settings))


@app.command("check")
def check(target: Target = None, config: options.ConfigFile = None) -> None:
    """Check that the settings make a valid configuration, and list who can be told.

    **Examples**

    - `fleetpulse alertmanager check`
    - `fleetpulse alertmanager check --target latest`
    """
    settings = options.load(config)
    document = _build(settings, target, Place())
    amtool = _amtool(settings)
    fits = _fits(amtool, document)
    with tempfile.TemporaryDirectory() as folder:
        write(document, Path(folder) / "alertmanager.yml", _templates(), amtool if fits else None)
    for name in settings.alerting.names:
        typer.echo(f"{name}: {', '.join(describe(settings, name))}")
    if not settings.alerting.names:
        typer.echo("Nobody is told: no receivers are set (docs/alerting.md)")
    lacking = f"amtool is of {amtool.version}" if amtool else "amtool is not installed (`make tools` fetches it)"
    judged = "valid" if fits else f"made, but not checked: {lacking}"
    typer.echo(f"The configuration for Alertmanager {document.version} is {judged}")


@app.command("test")
def try_out(  # noqa: PLR0913 - each is an option
    *,
    alertname: Annotated[str, typer.Option(help="The alert's name.")] = "FleetpulseTest",
    severity: Annotated[str, typer.Option(help="critical, warning, info …")] = "warning",
    source: Annotated[str | None, typer.Option(help="Label `source`.")] = None,
    pool: Annotated[str | None, typer.Option(help="Label `pool_id`.")] = None,
    team: Annotated[str | None, typer.Option(help="Label `team`.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Any label, as name=value; may be repeated.")] = None,
    send: Annotated[bool, typer.Option("--send", help="Post the alert to Alertmanager, for five minutes.")] = False,
    config: options.ConfigFile = None,
) -> None:
    """Show whom an alert would reach; with --send, send it.

    What is shown follows the settings as they are now; what is sent follows the configuration that Alertmanager
    runs with. Quiet hours and muted times are not looked at.

    **Examples**

    - `fleetpulse alertmanager test --severity critical`
    - `fleetpulse alertmanager test --alertname AgentPoolSilent --pool coding --send`
    - `fleetpulse alertmanager test --alertname Notification --label channel=email`
    """
    settings = options.load(config)
    named = {"alertname": alertname, "severity": severity, "source": source, "pool_id": pool, "team": team}
    labels = {name: value for name, value in named.items() if value} | _labels(label or [])
    for name in _reached(settings, labels):
        typer.echo(f"{name}: {', '.join(describe(settings, name)) or _own(name)}")
    if send:
        typer.echo(running.send(settings, labels))


def _own(name: str) -> str:
    """What the receivers are for that are always there."""
    return {
        routes.EXPORTER: "Fleetpulse's own list and feed of alerts",
        routes.WATCHDOG: "the dead man's switch, where one is set",
    }.get(name, "no message")


def _reached(settings: Settings, labels: dict[str, str]) -> tuple[str, ...]:
    amtool = _amtool(settings)
    if amtool is None:
        raise ConfigError("amtool, which knows Alertmanager's routing, is not installed; `make tools` fetches it")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "routes.yml"
        path.write_text(routing(settings), "utf-8")
        return amtool.receivers(path, labels)


def _labels(given: list[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    if wrong := [name for name, equals, _ in pairs if not equals or not name]:
        raise InvalidInputError(f"--label {wrong[0]}: write name=value")
    return {name: value for name, _, value in pairs}


def _build(settings: Settings, target: str | None, place: Place) -> Document:
    version = versions.parse(target) if target else versions.detect(tools_folder(settings.data_dir))
    document = build(settings, version, place)
    console = Console(stderr=True)
    for note in document.notes:
        console.print(f"Note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    return document


def _amtool(settings: Settings) -> Amtool | None:
    return Amtool.find(tools_folder(settings.data_dir))


def _fits(amtool: Amtool | None, document: Document) -> bool:
    """Whether amtool can judge it: an older one would take newer settings for mistakes."""
    return amtool is not None and amtool.version >= min(document.version, versions.LAST_CHANGE)


def _templates() -> Path:
    return StackFiles.find().alertmanager / "templates"
