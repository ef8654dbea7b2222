"""The options of `fleetpulse tap`, and what they are called in its help."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, get_args

import typer

from fleetpulse.config.tap import Preset

EXPLAINED = 10
SERVER, READING, WATCHING = "Which server, and how", "How messages are read", "What to look for"
OUTPUT, ENDING = "Where it goes", "What is written, and when it ends"


class Format(StrEnum):
    """How a recording is written."""

    JSONL = "jsonl"
    TEXT = "text"
    HAR = "har"


Texts = list[str] | None
Url = Annotated[str | None, typer.Option(help="ws:// or wss:// address.", rich_help_panel=SERVER)]
Name = Annotated[str | None, typer.Option(help="What the stream is called; default main.", rich_help_panel=SERVER)]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Take streams and rules from this file: fleetpulse.yaml, or the config.json of the older monitor.",
        rich_help_panel=SERVER,
    ),
]
StreamNames = Annotated[
    Texts, typer.Option("--stream", help="Only this configured stream; may be given again.", rich_help_panel=SERVER)
]
Headers = Annotated[
    Texts,
    typer.Option("--header", metavar="'NAME: VALUE'", help="Header of the handshake.", rich_help_panel=SERVER),
]
HeaderFiles = Annotated[
    Texts,
    typer.Option(
        "--header-file",
        metavar="NAME=PATH",
        help="Header whose value a file holds: other users see the command line, not the file.",
        rich_help_panel=SERVER,
    ),
]
Secrets = Annotated[
    Texts,
    typer.Option(
        "--secret",
        metavar="NAME=PATH",
        help="What ${NAME} means in --send: a file's content.",
        rich_help_panel=SERVER,
    ),
]
Subprotocols = Annotated[
    Texts, typer.Option("--subprotocol", help="Sub-protocol to offer, the best first.", rich_help_panel=SERVER)
]
Send = Annotated[
    Texts, typer.Option(metavar="TEXT", help="Send this on connecting: log in, subscribe.", rich_help_panel=SERVER)
]
SendFile = Annotated[
    list[Path] | None, typer.Option(help="The same from a file, after the texts.", rich_help_panel=SERVER)
]
AllowPrivate = Annotated[
    bool,
    typer.Option(
        "--allow-private", help="The address may be this machine's or a private network's.", rich_help_panel=SERVER
    ),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Believe whoever answers on wss. For tests only.", rich_help_panel=SERVER)
]
CaFile = Annotated[
    Path | None, typer.Option(help="Certificates to trust instead of the system's.", rich_help_panel=SERVER)
]
Proxy = Annotated[str | None, typer.Option(help="HTTP proxy: http://host:port.", rich_help_panel=SERVER)]
Compression = Annotated[
    bool, typer.Option("--compression/--no-compression", help="Offer permessage-deflate.", rich_help_panel=SERVER)
]
MaxAttempts = Annotated[
    int | None,
    typer.Option(min=0, help="Give up after so many failures in a row; 0: never.", rich_help_panel=SERVER),
]
MaxSeconds = Annotated[
    float | None,
    typer.Option(min=0, help="Give up after so long without a connection; 0: never.", rich_help_panel=SERVER),
]
PresetName = Annotated[
    str | None,
    typer.Option(help="Shape of its messages: " + ", ".join(get_args(Preset)) + ".", rich_help_panel=READING),
]
PathPairs = Annotated[
    Texts,
    typer.Option(
        "--path",
        metavar="FIELD=PATH",
        help="Where kind, user, room, text or time is in a message (JSONPath): text=$.data.body",
        rich_help_panel=READING,
    ),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help=f"Show how the first messages are read (--count, default {EXPLAINED}); nothing is kept.",
        rich_help_panel=READING,
    ),
]
Keywords = Annotated[
    Texts, typer.Option("--keyword", help="Mark messages with this text: 重要.", rich_help_panel=WATCHING)
]
Patterns = Annotated[
    Texts, typer.Option("--pattern", help="Mark messages that match this expression.", rich_help_panel=WATCHING)
]
Users = Annotated[Texts, typer.Option("--user", help="Mark what this user says.", rich_help_panel=WATCHING)]
OutputFile = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="File to write; default: the screen.", rich_help_panel=OUTPUT),
]
FormatName = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="Default: by the file's ending; without a file, lines for people on a terminal, else jsonl.",
        rich_help_panel=OUTPUT,
    ),
]
RotateBytes = Annotated[
    int,
    typer.Option(min=0, help="A file that would pass this size becomes FILE.1; 0: never.", rich_help_panel=OUTPUT),
]
Keep = Annotated[int, typer.Option(min=0, max=9_999, help="How many of those are kept.", rich_help_panel=OUTPUT)]
OnlyKinds = Annotated[
    Texts, typer.Option("--only-kind", help="Only messages of this kind.", rich_help_panel=ENDING)
]
OnlyUsers = Annotated[Texts, typer.Option("--only-user", help="Only this user's.", rich_help_panel=ENDING)]
OnlyRules = Annotated[
    Texts,
    typer.Option(
        "--only-rule", help="Only what this rule matches: keywords, pattern, users.", rich_help_panel=ENDING
    ),
]
Count = Annotated[
    int | None, typer.Option("--count", "-n", min=1, help="End after so many messages.", rich_help_panel=ENDING)
]
Duration = Annotated[
    float | None, typer.Option("--seconds", min=0.001, help="End after so long.", rich_help_panel=ENDING)
]
