"""`fleetpulse up`: the whole stack on this machine."""

import typer
from rich.console import Console

from fleetpulse.cli import options
from fleetpulse.stack import up as stack


def up(  # noqa: PLR0913 - one parameter per option
    host: options.Host = None,
    port: options.Port = None,
    data_dir: options.DataDir = None,
    config: options.ConfigFile = None,
    *,
    url: options.TapUrl = None,
    allow_private: options.AllowPrivate = False,
    tap: options.Listen = True,
) -> None:
    """Start everything on this machine: exporter, Prometheus, Alertmanager, and Grafana where it is installed.

    Needs no root and no Docker: programs that are not on PATH are fetched as Debian or Ubuntu packages and
    unpacked into a local folder. Waits until each part is healthy, prints the addresses, and stops all of them on
    Ctrl-C. Logs are in the data folder under logs/.

    **Examples**

    - `fleetpulse up`
    - `fleetpulse up --port 8101 --data-dir /srv/fleetpulse`
    - `fleetpulse up --url wss://chat.example.org/ws`
    - `FLEETPULSE_STACK__PROMETHEUS_PORT=9190 fleetpulse up`
    """
    options.choose_tap(url, allow_private=allow_private, listen=tap)
    settings = options.load(config, host=host, port=port, data_dir=data_dir)
    raise typer.Exit(stack.up(settings, Console()))
