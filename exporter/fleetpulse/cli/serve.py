"""`fleetpulse serve`: the exporter alone."""

from fleetpulse.cli import options


def serve(  # noqa: PLR0913 - one parameter per option
    host: options.Host = None,
    port: options.Port = None,
    data_dir: options.DataDir = None,
    config: options.ConfigFile = None,
    *,
    url: options.TapUrl = None,
    allow_private: options.AllowPrivate = False,
    tap: options.Listen = True,
) -> None:
    """Start the exporter alone, until Ctrl-C or SIGTERM.

    It takes heartbeats and request logs, serves /metrics for Prometheus, and the live feed. Options win over
    FLEETPULSE_* variables, which win over fleetpulse.yaml. It records WebSocket servers that are configured, or
    named by --url; `fleetpulse tap` does so without an exporter.

    **Examples**

    - `fleetpulse serve`
    - `fleetpulse serve --port 8101 --data-dir /srv/fleetpulse`
    - `fleetpulse serve --url wss://chat.example.org/ws`
    - `fleetpulse serve --config config.json --no-tap`
    - `FLEETPULSE_LOG_FORMAT=json fleetpulse serve --config fleetpulse.yaml`
    """
    options.choose_tap(url, allow_private=allow_private, listen=tap)
    # The server's imports take longer than most client commands run.
    from fleetpulse import app  # noqa: PLC0415

    app.run(options.load(config, host=host, port=port, data_dir=data_dir))
