"""Whether the files that a stream's settings name have changed: a new token or certificate is a new chance."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from fleetpulse.config.tap import Source

LOOK_SECONDS = 10.0
Version = tuple[tuple[int, int, int] | None, ...]


def files_of(source: Source) -> tuple[Path, ...]:
    """Every file that opening a connection reads."""
    return tuple(_files(source))


def version(files: tuple[Path, ...]) -> Version:
    """What tells one version of some files from the next; blocks."""
    return tuple(_stamp(path) for path in files)


async def renewed(files: tuple[Path, ...], known: Version) -> None:
    """Returns when one of the files is no longer what it was; never where there are none."""
    while await asyncio.to_thread(version, files) == known:  # noqa: ASYNC110 - no event comes from a file system
        await asyncio.sleep(LOOK_SECONDS)


def _files(source: Source) -> Iterator[Path]:
    yield from source.header_files.values()
    yield from source.secrets.values()
    yield from (path for path in (source.tls.ca_file, source.tls.cert_file, source.tls.key_file) if path)
    yield from (message.file for message in source.on_connect if message.file)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
