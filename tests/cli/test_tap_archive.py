import json
import resource
from pathlib import Path
from typing import Any

import pytest
from tests.tap.items import happened, heard

from fleetpulse.cli.tap_archive import HarFile
from fleetpulse.config import Source
from fleetpulse.errors import InvalidInputError
from fleetpulse.tap.output import Heard

SOURCE = Source(name="main", url="wss://chat.example.org/ws?token=hush")


def entries(path: Path) -> list[dict[str, Any]]:
    archive = json.loads(path.read_bytes())["log"]
    assert archive["version"] == "1.2"
    found: list[dict[str, Any]] = archive["entries"]
    return found


def messages(path: Path) -> list[list[Any]]:
    return [[each["data"] for each in entry["_webSocketMessages"]] for entry in entries(path)]


def test_each_connection_is_an_entry_with_its_messages(tmp_path: Path) -> None:
    path = tmp_path / "out.har"
    har = HarFile(path, SOURCE)
    har.write([happened("stream_connected"), heard("重要", 1), heard(b"\x00", 2)])
    har.write([happened("stream_disconnected", close_code=1012), heard("again", 1, connection="run-2")])
    har.close()
    first, second = entries(path)
    assert first["_webSocketMessages"] == [
        {"type": "receive", "time": 1_700_000_001.25, "opcode": 1, "data": "重要"},
        {"type": "receive", "time": 1_700_000_002.25, "opcode": 2, "data": "AA=="},
    ]
    assert (first["time"], first["startedDateTime"]) == (1_500.0, "2023-11-14T22:13:20.750Z")
    assert (second["request"]["url"], second["response"]["status"]) == ("wss://chat.example.org/ws", 101)
    assert "hush" not in path.read_text()


def test_it_is_whole_after_every_write(tmp_path: Path) -> None:
    path = tmp_path / "out.har"
    har = HarFile(path, SOURCE)
    assert messages(path) == []
    expected: list[list[str]] = []
    for number in range(1, 8):
        connection = f"run-{number // 3}"
        if number % 3 == 0 or not expected:
            expected.append([])
        expected[-1].append(str(number))
        har.write([heard(str(number), number, connection=connection)])
        assert messages(path) == expected
    har.close()


def test_a_write_that_fails_leaves_the_archive_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out.har"
    har = HarFile(path, SOURCE)
    har.write([heard("one", 1)])
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, former[1]))
    large: list[Heard] = [heard("x" * 200, 2), heard("y", 1, connection="run-2")]
    try:
        with pytest.raises(OSError, match="File too large"):
            har.write(large)
        assert messages(path) == [["one"]]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    har.write(large)
    har.close()
    assert messages(path) == [["one", "x" * 200], ["y"]]


def test_an_archive_is_not_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "out.har"
    path.write_text("{}")
    with pytest.raises(InvalidInputError, match="name a new file"):
        HarFile(path, SOURCE)
    assert path.read_text() == "{}"
