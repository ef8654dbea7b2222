"""A recording from its beginning to its exit code: where it goes, who is told, and what came of it."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fleetpulse.cli import options
from fleetpulse.cli.tap_archive import HarFile
from fleetpulse.cli.tap_options import Format
from fleetpulse.cli.tap_screen import Explanations, Notices, Screen, interactive
from fleetpulse.cli.tap_session import Limits, Session
from fleetpulse.config import Rule, Source
from fleetpulse.errors import InvalidInputError
from fleetpulse.tap.files import LineFile, Output, Stream
from fleetpulse.tap.output import json_line, text_line

__all__ = ["Limits", "Place", "record"]
ENDINGS = {".har": Format.HAR, ".txt": Format.TEXT, ".log": Format.TEXT}


class Place(NamedTuple):
    """Where a recording goes: a file, or the screen; a file of `limit` bytes is rotated, `keep` older ones stay."""

    file: Path | None
    form: Format | None
    limit: int
    keep: int


def record(streams: Sequence[Source], rules: Sequence[Rule], limits: Limits, place: Place | None) -> int:
    """Records until it is over; returns the exit code. Without a place it shows how messages are read.

    Raises InvalidInputError for a place that cannot be.
    """
    output = opened(place, streams) if place else Explanations(streams)
    logging.getLogger("fleetpulse.tap").setLevel(logging.CRITICAL)  # notices and the summary say the same
    notices = Notices(connections=not isinstance(output, Screen))
    begun = time.monotonic()
    session = asyncio.run(_run(output, limits, notices, streams, rules))
    notices.summary(session, time.monotonic() - begun)
    if session.writer.unread:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at exit
    return 1 if session.failed else 0


def opened(place: Place, streams: Sequence[Source]) -> Output:
    """The output. Raises InvalidInputError."""
    if place.file is None:
        return _screen(place.form)
    form = place.form or ENDINGS.get(place.file.suffix, Format.JSONL)
    if form is not Format.HAR:
        return LineFile(
            place.file, text_line if form is Format.TEXT else json_line, limit=place.limit, keep=place.keep
        )
    if len(streams) > 1:
        raise InvalidInputError("--format har: an archive holds one stream: choose it with --stream NAME")
    if place.limit:
        raise InvalidInputError("--rotate-bytes: an archive is one file; jsonl and text can be rotated")
    return HarFile(place.file, streams[0])


def _screen(form: Format | None) -> Output:
    if form is Format.HAR:
        raise InvalidInputError("--format har: an archive needs a file: give --output FILE.har")
    if form is None and interactive():
        return Screen()
    return Stream(sys.stdout.fileno(), text_line if form is Format.TEXT else json_line)


async def _run(
    output: Output, limits: Limits, notices: Notices, streams: Sequence[Source], rules: Sequence[Rule]
) -> Session:
    session = Session(output, limits, notices.say, notices.happened)
    options.stop_event(session.over)
    await session.run(streams, rules)
    return session
