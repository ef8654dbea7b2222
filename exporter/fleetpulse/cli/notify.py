"""`fleetpulse notify`: send a notification to people."""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fleetpulse.cli import options
from fleetpulse.sender import Sender

PATIENCE = 30.0


class LevelOption(StrEnum):
    """Levels as they are written on the command line."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"
    URGENT = "urgent"


class ChannelOption(StrEnum):
    """Channels as they are written on the command line."""

    WEBSOCKET = "websocket"
    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"


class RoleOption(StrEnum):
    """Roles."""

    VIEWER = "viewer"
    REPORTER = "reporter"
    OPERATOR = "operator"
    ADMIN = "admin"


def notify(  # noqa: PLR0913 - one argument per option
    message: Annotated[str, typer.Argument(help="What it says.")],
    *,
    title: Annotated[str, typer.Option(help="Its one-line title.")],
    user: Annotated[list[str] | None, typer.Option(help="A user who gets it; may be given again.")] = None,
    role: Annotated[list[RoleOption] | None, typer.Option(help="Users with a role; may be given again.")] = None,
    session: Annotated[list[str] | None, typer.Option(help="Who is in a chat session; may be given again.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="All users, in place of these.")] = False,
    level: Annotated[LevelOption, typer.Option(help="How much it matters.")] = LevelOption.INFO,
    channel: Annotated[
        list[ChannelOption] | None, typer.Option(help="Over which channel; may be given again. Default: by level")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="What it is about, such as maintenance.")] = None,
    action_url: Annotated[str | None, typer.Option(help="Where to go: a path, or a web address.")] = None,
    key: Annotated[str | None, typer.Option(help="What is the same: told once within its window.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would become of it, and send nothing.")
    ] = False,
    url: options.Url = None,
    app_key: options.AppKey = None,
    app_secret: options.AppSecret = None,
    token: options.Token = None,
) -> None:
    """Send a notification to people: over the live connections, by e-mail, SMS or push.

    It is kept for users who are away, and for Alertmanager while that is down. Needs the role operator. The exit
    code is 1 where it reached nobody and waits for nobody.

    **Examples**

    - `fleetpulse notify --user ann --title "Build done" "All tests pass."`
    - `fleetpulse notify --all --level warning --kind maintenance --title "Maintenance at 22:00" "Back at 22:10."`
    - `fleetpulse notify --role operator --level urgent --title "Disk full" "Make room on db-1." --dry-run`
    """
    recipients = {"users": user or [], "roles": role or [], "sessions": session or [], "all": everyone}
    if not any(recipients.values()):
        raise typer.BadParameter("name at least one --user, --role or --session, or give --all")
    given = {"channels": channel or None, "kind": kind, "action_url": action_url, "dedup_key": key}
    payload = {"title": title, "message": message, "level": level, "recipients": recipients, "dry_run": dry_run}
    payload |= {name: value for name, value in given.items() if value is not None}
    credentials = options.credentials(app_key, app_secret, token)
    sender = Sender(options.target(url), credentials, patience=PATIENCE, on_trouble=_trouble())
    answer = asyncio.run(_send(sender, payload))
    _show(answer)
    if set(answer["summary"]) <= {"offline", "over_limit", "expired"}:
        raise typer.Exit(1)


def _trouble() -> Callable[[str], None]:
    """Tells on stderr why it takes so long, once."""
    console, told = Console(stderr=True, highlight=False), set[str]()

    def tell(what: str) -> None:
        if what not in told:
            told.add(what)
            console.print(f"{what}; trying again for {PATIENCE:.0f} s", style="yellow", markup=False)

    return tell


async def _send(sender: Sender, payload: dict[str, Any]) -> dict[str, Any]:
    async with sender:
        return await sender.post("/api/v1/notifications", payload)


def _show(answer: dict[str, Any]) -> None:
    console = Console(highlight=False)
    table = Table("Recipient", "Channel", "Outcome", "Why")
    for each in answer["outcomes"]:
        name = (
            each["recipient"] if each["audience"] == "user" else f"{each['audience']} {each['recipient']}".strip()
        )
        table.add_row(*map(escape, (name, each["channel"].lower(), each["outcome"], each["detail"])))
    if answer["outcomes"]:
        console.print(table)
    sums = ", ".join(f"{number} {outcome}" for outcome, number in sorted(answer["summary"].items()))
    would = "would be: " if answer["dry_run"] else ""
    console.print(f"{answer['id']}: {would}{sums or 'nobody has this role'}", markup=False)
