"""The options that commands share, and what is made of them."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetpulse import config
from fleetpulse.config import Settings
from fleetpulse.errors import InvalidInputError
from fleetpulse.sender import Credentials, connect_url

Host = Annotated[str | None, typer.Option(help="Address to listen on. Setting: host, default 127.0.0.1")]
Port = Annotated[int | None, typer.Option(min=0, max=65_535, help="Port to listen on. Setting: port, default 8001")]
TapUrl = Annotated[
    str | None, typer.Option("--url", help="WebSocket server to record, as stream `main`. Setting: tap.url")
]
AllowPrivate = Annotated[
    bool, typer.Option("--allow-private", help="That server may be this machine's or a private network's.")
]
Listen = Annotated[
    bool, typer.Option("--tap/--no-tap", help="Whether to listen to servers at all. Setting: tap.enabled")
]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder for everything that is kept. Setting: data_dir, default data")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Configuration file. Default: fleetpulse.yaml, where there is one")
]
Url = Annotated[
    str | None,
    typer.Option(envvar="FLEETPULSE_URL", help="The exporter's address. Default: where this configuration puts it"),
]
AppKey = Annotated[
    str | None, typer.Option(envvar="FLEETPULSE_APP_KEY", help="App key, where the exporter asks for credentials.")
]
AppSecret = Annotated[
    str | None,
    typer.Option(envvar="FLEETPULSE_APP_SECRET", help="Its secret; better in the environment than here."),
]
Token = Annotated[
    str | None,
    typer.Option(envvar="FLEETPULSE_TOKEN", help="Bearer token (JWT or app key) in place of them."),
]


def load(config_file: Path | None = None, **overrides: Any) -> Settings:
    """The settings, with what was given on the command line on top. Raises ConfigError."""
    if config_file is not None:
        config.use_file(config_file)
    return config.load(**{name: value for name, value in overrides.items() if value is not None})


def choose_tap(url: str | None, *, allow_private: bool, listen: bool) -> None:
    """Makes what was said of the tap settings of this process and those it starts. Raises InvalidInputError."""
    if allow_private and url is None:
        raise InvalidInputError(
            "--allow-private belongs to --url; configured streams have allow_private of their own"
        )
    config.use_tap(url=url, allow_private=allow_private, enabled=listen)


def target(url: str | None) -> str:
    """The exporter's address: as given, else where this machine's configuration puts it."""
    if url is None:
        settings = config.load()
        return connect_url(settings.host, settings.port)
    if not url.startswith(("http://", "https://")):
        raise InvalidInputError(f"--url {url}: write the whole address, such as http://{url}")
    return url.rstrip("/")


def credentials(app_key: str | None, app_secret: str | None, token: str | None) -> Credentials:
    """The credentials given, if any; raises InvalidInputError on half a pair."""
    if (app_key is None) != (app_secret is None):
        missing = "--app-secret (FLEETPULSE_APP_SECRET)" if app_secret is None else "--app-key (FLEETPULSE_APP_KEY)"
        raise InvalidInputError(f"an app key and its secret go together: {missing} is missing")
    return Credentials(app_key, app_secret, token)


def stop_event(stop: asyncio.Event | None = None) -> asyncio.Event:
    """An event (a new one, where none is given) that Ctrl-C and SIGTERM set, in place of ending at once."""
    stop = stop or asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
