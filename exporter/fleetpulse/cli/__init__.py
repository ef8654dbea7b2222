"""The command line: one file a command, `main` joins them.

Promises: results on stdout, problems on stderr; exit code 0 for success, 1 for a failure on the way, 2 for a wrong
argument or configuration, each with words that say what to do. A stack trace is a bug.
"""

import sys
from importlib import import_module

from fleetpulse import __version__

try:
    import typer
    from rich.console import Console

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

COMMANDS = ("up", "serve", "demo", "replay", "agent", "live", "report", "price", "notify", "check", "restore")
GROUPS = ("tap", "backup", "token", "alertmanager")  # they have commands of their own
FILES = {"restore": "backup", "alertmanager": "alerting"}  # where it is not the name
NAMES = (*COMMANDS, *GROUPS)


def command_line(*names: str) -> typer.Typer:
    """The commands of these names. Only their files are imported: all together take longer than most commands."""
    app = typer.Typer(
        name="fleetpulse",
        help="Observability for fleets of bots and AI agents: heartbeats and request logs become Prometheus "
        "series, alerts, dashboards and a live feed.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        file = import_module(f"fleetpulse.cli.{FILES.get(name, name)}")
        if name in GROUPS:
            app.add_typer(file.app)
        else:
            app.command()(getattr(file, name))
    return app


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"fleetpulse {__version__}")
        raise typer.Exit


def _root(
    *,
    version: bool = typer.Option(
        False, "--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Show the version."
    ),
) -> None:
    pass


def main() -> None:
    """Runs the command line and exits."""
    wanted = sys.argv[1:2]
    try:
        command_line(*(wanted if wanted and wanted[0] in NAMES else NAMES))()
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
