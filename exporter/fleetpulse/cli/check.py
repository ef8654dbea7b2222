"""`fleetpulse check`: is the configuration right, and if not, what is wrong and where."""

import typer
from rich.console import Console
from rich.table import Table

from fleetpulse import config
from fleetpulse.cli import options
from fleetpulse.cli.findings import Finding, Level, examine_settings, read_settings

COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "bold red"}


def check(config_file: options.ConfigFile = None) -> None:
    """Check the configuration, and say what is wrong, where, and what to do about it.

    Looks at every setting, the data folder, the journal, credentials, the port, and whether Prometheus,
    Alertmanager and Grafana answer. Changes nothing. Exit code 1 when there are errors; warnings are fine.

    **Examples**

    - `fleetpulse check`
    - `FLEETPULSE_HOST=0.0.0.0 fleetpulse check`
    """
    if config_file is not None:
        config.use_file(config_file)
    settings, findings = read_settings()
    if settings is not None:
        findings.extend(examine_settings(settings))
    _show(findings)
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    table = Table(show_lines=False)
    table.add_column("")
    table.add_column("Where", no_wrap=True)
    table.add_column("Finding", overflow="fold")
    for finding in findings:
        table.add_row(f"[{COLOURS[finding.level]}]{finding.level}[/]", finding.setting, _plain(finding.message))
    console = Console()
    console.print(table)
    errors = sum(finding.level is Level.ERROR for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    console.print(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}", highlight=False)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
