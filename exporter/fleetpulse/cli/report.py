"""`fleetpulse report`: a running exporter's report, written to a file or sent by e-mail."""

import asyncio
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleetpulse.cli import options
from fleetpulse.errors import InvalidInputError
from fleetpulse.sender import Sender

PATIENCE_SECONDS = 10.0  # for an exporter that is restarting
SEND_SECONDS = 180.0  # a mail server may take its time


class Kind(StrEnum):
    """Which report."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


class Form(StrEnum):
    """How it is written."""

    MD = "md"
    HTML = "html"
    CSV = "csv"
    JSON = "json"


class Which(StrEnum):
    """Which day, week or month, seen from now."""

    CURRENT = "current"
    PREVIOUS = "previous"


class Language(StrEnum):
    """In which words."""

    EN = "en"
    ZH = "zh"


KindOf = Annotated[Kind, typer.Argument(help="Which report.")]
FormOption = Annotated[
    Form | None, typer.Option("--format", help="How it is written. Default: by the ending of --output, else md")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The file to write. Default: standard output")]
Day = Annotated[
    datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="A day within the day, week or month.")
]
Period = Annotated[
    Which | None, typer.Option(help="The one under way (current, the default), or the last whole one (previous).")
]
Source = Annotated[str | None, typer.Option(help="Only requests of this source.")]
Lang = Annotated[Language | None, typer.Option(help="Language. Default: setting reports.lang of the exporter")]
Send = Annotated[bool, typer.Option("--send", help="Send it by e-mail to the recipients that the exporter knows.")]


def report(  # noqa: PLR0913 - one parameter per option
    kind: KindOf,
    *,
    form: FormOption = None,
    output: Output = None,
    date: Day = None,
    period: Period = None,
    source: Source = None,
    lang: Lang = None,
    send: Send = False,
    url: options.Url = None,
    app_key: options.AppKey = None,
    app_secret: options.AppSecret = None,
    token: options.Token = None,
) -> None:
    """Write a daily, weekly or monthly report, or send it by e-mail now.

    The exporter makes it, so it must be running, and Prometheus too. `--send` needs the settings `reports.*` there
    and, where credentials are asked for, the role operator.

    **Examples**

    - `fleetpulse report daily`
    - `fleetpulse report weekly --period previous --output week.html`
    - `fleetpulse report monthly --date 2025-01-31 --source telegram --format csv > january.csv`
    - `fleetpulse report daily --period previous --send`
    """
    query = {"date": date and f"{date:%Y-%m-%d}", "period": period, "source": source}
    chosen = {name: str(value) for name, value in query.items() if value is not None}
    target, credentials = options.target(url), options.credentials(app_key, app_secret, token)
    if send:
        if form or output or lang:
            raise InvalidInputError(
                "--send goes without --format, --output and --lang: e-mails have their own form"
            )
        # One attempt: an answer that was lost must not become a second e-mail.
        asyncio.run(_send(Sender(target, credentials, patience=0, attempt_seconds=SEND_SECONDS), kind, chosen))
        return
    written = chosen | {"format": form or _form_of(output)} | ({"lang": lang} if lang else {})
    _write(asyncio.run(_fetch(Sender(target, credentials, patience=PATIENCE_SECONDS), kind, written)), output)


def _form_of(output: Path | None) -> Form:
    """The form that a file's ending names, else Markdown, which reads well in a terminal."""
    ending = output.suffix.lstrip(".").lower() if output else ""
    named = {**{form.value: form for form in Form}, "htm": Form.HTML, "markdown": Form.MD}
    return named.get(ending, Form.MD)


async def _fetch(sender: Sender, kind: Kind, query: dict[str, str]) -> bytes:
    async with sender:
        return await sender.get(f"/api/report/{kind}", query)


async def _send(sender: Sender, kind: Kind, query: dict[str, str]) -> None:
    async with sender:
        sent = await sender.post(f"/api/report/{kind}/send", None, query)
    Console().print(
        f"The {kind} report of {sent['first_day']} is sent to {sent['recipients']} recipients.", highlight=False
    )
    for address in sent["refused"]:
        Console(stderr=True).print(f"The mail server refused {address}.", markup=False, highlight=False)
    if sent["refused"]:
        raise typer.Exit(1)


def _write(text: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(text)
    except OSError as error:
        raise InvalidInputError(f"--output {output}: {error.strerror}") from error
    Console(stderr=True).print(f"{output} is written.", markup=False, highlight=False)
