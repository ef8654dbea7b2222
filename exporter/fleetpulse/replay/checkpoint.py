"""Remembers how far an unfinished replay came, so that the next run need not send the beginning again.

A checkpoint is a hint and never the truth: before it is believed, the last row it calls settled is sent once more,
and unless the exporter answers "duplicate" (so it does hold what was sent) the replay starts over. A finished
replay leaves none. Losing or deleting one costs time only.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Checkpoint:
    """All rows below `position` are settled; `probe` is one of them that the exporter holds."""

    position: int
    probe: int


class CheckpointFile:
    """The checkpoint of one replay, in one small JSON file; failing to write it never stops the replay."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, folder: Path, *identity: object) -> Self:
        """The file for a replay that is identified by where it goes and all that shapes its rows."""
        key = hashlib.blake2b(json.dumps(identity, default=str).encode(), digest_size=10).hexdigest()
        return cls(folder / f"{key}.json")

    def load(self) -> Checkpoint | None:
        """The checkpoint, or None where there is none that can be read."""
        try:
            found: dict[str, Any] = json.loads(self._path.read_text())
            return Checkpoint(int(found["position"]), int(found["probe"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, checkpoint: Checkpoint) -> None:
        """Replaces the file in one step, so that a crash leaves the old one or the new one."""
        fresh = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps(asdict(checkpoint)))
            fresh.replace(self._path)
        except OSError:
            return

    def clear(self) -> None:
        """Removes the file: the replay is finished, or starts over."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return
