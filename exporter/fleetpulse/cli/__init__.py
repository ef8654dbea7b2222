"""The command line: one file a command, `main` joins them.

Promises: results on stdout, problems on stderr; exit code 0 for success, 1 for a failure on the way, 2 for a wrong
argument or configuration, each with words that say what to do. A stack trace is a bug.
"""

import sys

from fleetpulse import __version__

try:
    import typer
    from rich.console import Console

    from fleetpulse.cli import (
        agent,
        alerting,
        backup,
        check,
        demo,
        live,
        notify,
        price,
        replay,
        report,
        serve,
        tap,
        token,
        up,
    )
    from fleetpulse.errors import ConfigError, FleetpulseError, InvalidInputError
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] == "fleetpulse":
        raise
    sys.stderr.write(
        f"fleetpulse: only the client library is installed ({missing.name} is missing); "
        "the exporter and the commands need: pip install 'fleetpulse[server]'\n"
    )
    raise SystemExit(2) from None

EPILOG = "Start with: fleetpulse up    then, in another terminal: fleetpulse demo"

app = typer.Typer(
    name="fleetpulse",
    help="Observability for fleets of bots and AI agents: heartbeats and request logs become Prometheus series, "
    "alerts, dashboards and a live feed.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"fleetpulse {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: bool = typer.Option(
        False, "--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Show the version."
    ),
) -> None:
    pass


app.command()(up.up)
app.command()(serve.serve)
app.command()(demo.demo)
app.command()(replay.replay)
app.command()(agent.agent)
app.command()(live.live)
app.command()(report.report)
app.command()(price.price)
app.command()(notify.notify)
app.command()(check.check)
app.add_typer(tap.app)
app.command()(backup.restore)
app.add_typer(backup.app)
app.add_typer(token.app)
app.add_typer(alerting.app)


def main() -> None:
    """Runs the command line and exits."""
    try:
        app()
    except ConfigError as error:
        sys.exit(_complain(f"{error}\nEverything that is wrong: fleetpulse check", 2))
    except InvalidInputError as error:
        sys.exit(_complain("; ".join([str(error), *_reasons(error)]), 2))
    except FleetpulseError as error:
        sys.exit(_complain(str(error), 1))
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(text: str, code: int) -> int:
    Console(stderr=True).print(f"fleetpulse: {text}", style="red", markup=False, highlight=False, soft_wrap=True)
    return code


def _reasons(error: InvalidInputError) -> list[str]:
    return [f"{'.'.join(map(str, one.get('loc', ())))}: {one.get('msg', '')}" for one in error.errors]
