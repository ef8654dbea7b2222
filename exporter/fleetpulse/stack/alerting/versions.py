"""Which version of Alertmanager the configuration is for, and what each version brought (its CHANGELOG)."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from fleetpulse.errors import InvalidInputError
from fleetpulse.stack import tools

_PROGRAM_VERSION = re.compile(rb"version v?(\d+)\.(\d+)")
ANSWER_SECONDS = 30


class Version(NamedTuple):
    """Major and minor; a patch brings no settings."""

    major: int
    minor: int

    def __str__(self) -> str:
        return "newest" if self == NEWEST else f"{self.major}.{self.minor}"


OLDEST = Version(0, 25)
NEWEST = Version(999, 0)
NEVER = Version(1_000, 0)

# Files that hold secrets. 0.25 knows others, but sends the line break at the end of an e-mail password's file along
# (until 0.27), and 0.26 and 0.27 have url_file and webhook_url_file, but fail when they use them.
EMAIL_PASSWORD_FILE = Version(0, 27)
TELEGRAM_TOKEN_FILE = Version(0, 26)
DISCORD_URL_FILE = Version(0, 28)
WEBHOOK_URL_FILE = Version(0, 28)
WECHAT_SECRET_FILE = Version(0, 31)
SLACK_URL_FILE = PAGERDUTY_KEY_FILE = HTTP_FILES = OLDEST

DISCORD_USERNAME = Version(0, 28)
TELEGRAM_THREAD = Version(0, 28)
TELEGRAM_HTML = Version(0, 28)  # before, `parse_mode: HTML` escapes the text and does not say that it is HTML
EMAIL_TLS_ANY_PORT = Version(0, 31)
LAST_CHANGE = Version(0, 31)  # what is rendered for later versions is the same


def parse(text: str) -> Version:
    """A version as people write it: `0.25`, `v0.28.1`, `latest`. Raises InvalidInputError."""
    if text in ("latest", "newest"):
        return NEWEST
    found = re.fullmatch(r"v?(\d{1,3})\.(\d{1,3})(\.\d+)?", text)
    if found is None:
        raise InvalidInputError(f"{text} is not a version of Alertmanager such as 0.25 or latest")
    version = Version(int(found[1]), int(found[2]))
    if version < OLDEST:
        raise InvalidInputError(f"Alertmanager {text} is older than {OLDEST}, the oldest that Fleetpulse knows")
    return version


def detect(folder: Path) -> Version:
    """The version of the alertmanager (else the amtool) on PATH or in the tools folder; without one the oldest.

    A configuration for the oldest is valid for every later one.
    """
    for name in ("alertmanager", "amtool"):
        program = tools.find(name, folder)
        if program is not None and (version := version_of(program)):
            return version
    return OLDEST


def version_of(program: Path) -> Version | None:
    """What a program says of itself; None where it says nothing of the kind."""
    try:
        told = subprocess.run(  # noqa: S603 - the stack's own program
            [str(program), "--version"], capture_output=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _PROGRAM_VERSION.search(told.stdout + told.stderr)
    return max(OLDEST, Version(int(found[1]), int(found[2]))) if found else None
