"""`fleetpulse serve`: the exporter alone."""

from fleetpulse.cli import options


def serve(
    host: options.Host = None,
    port: options.Port = None,
    data_dir: options.DataDir = None,
    config: options.ConfigFile = None,
) -> None:
    """Start the exporter alone, until Ctrl-C or SIGTERM.

    It takes heartbeats and request logs, serves /metrics for Prometheus, and the live feed. Options win over
    FLEETPULSE_* variables, which win over fleetpulse.yaml.

    **Examples**

    - `fleetpulse serve`
    - `fleetpulse serve --port 8101 --data-dir /srv/fleetpulse`
    - `FLEETPULSE_LOG_FORMAT=json fleetpulse serve --config fleetpulse.yaml`
    """
    # The server's imports take longer than most client commands run.
    from fleetpulse import app  # noqa: PLC0415

    app.run(options.load(config, host=host, port=port, data_dir=data_dir))
