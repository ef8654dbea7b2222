"""Recordings in files: whole lines, rotation, archives, and what becomes of them on a full disk."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.cli.chat_server import ChatServer, chat_server
from tests.cli.conftest import Run
from tests.system.harness import Program, clean_environment, wait_for

KIBIBYTE = 1_024
DISK = 256 * KIBIBYTE
MOUNT = 'mount -t tmpfs -o "size=$1" fleetpulse "$2" && shift 2 && exec "$@"'
SPACES = (["unshare", "-rm"], ["unshare", "-m"])  # without root where the kernel allows it; with root


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A server with nothing to say by itself."""
    with chat_server() as running:
        yield running


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def texts(*paths: Path) -> list[str]:
    return [each["text"] for path in paths for each in lines(path) if each["type"] == "message"]


def written(path: Path, count: int) -> bool:
    return len(texts(path)) == count


def started(arguments: list[str], folder: Path, before: tuple[str, ...] = ()) -> Program:
    command = [*before, sys.executable, "-m", "fleetpulse", "tap", "--allow-private", *arguments]
    tap = Program("tap", command, "", folder / "tap.log", clean_environment(COLUMNS="200"))
    tap.start(wait=False)
    return tap


def test_a_killed_recording_goes_on_in_the_same_file(server: ChatServer, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for run in range(2):
        tap = started(["--url", server.url, "--output", str(out)], tmp_path)
        try:
            server.say(f"{run}-a", f"{run}-b")
            wait_for(partial(written, out, 2 * run + 2))
            tap.kill()
            server.drop()
        finally:
            tap.stop()
        wait_for(lambda: not server.clients)
    assert texts(out) == ["0-a", "0-b", "1-a", "1-b"]
    assert len({each["message_id"] for each in lines(out) if each["type"] == "message"}) == 4


def test_files_are_rotated_and_the_oldest_go(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    said = tuple(f"message {number}" for number in range(40))
    with chat_server(first=said) as server:
        rotation = ("--rotate-bytes", "2000", "--keep", "2", "--output", out, "--count", "40")
        done = run("tap", "--url", server.url, "--allow-private", *rotation)
    assert done.returncode == 0, done.stderr
    files = [out.with_name("out.jsonl.2"), out.with_name("out.jsonl.1"), out]
    kept = texts(*files)
    assert tuple(kept) == said[-len(kept) :]
    assert 10 < len(kept) < 40
    assert all(path.stat().st_size <= 2_000 for path in files)
    assert sorted(tmp_path.glob("out*")) == sorted(files)


def test_an_archive_is_whole_and_has_each_connection(server: ChatServer, tmp_path: Path) -> None:
    out = tmp_path / "out.har"

    def archived() -> list[list[str]]:
        entries = json.loads(out.read_bytes())["log"]["entries"]
        return [[each["data"] for each in entry["_webSocketMessages"]] for entry in entries]

    tap = started(["--url", server.url, "--output", str(out)], tmp_path)
    try:
        server.say("one", "two")
        wait_for(lambda: archived() == [["one", "two"]])
        server.drop()
        wait_for(lambda: not server.clients)
        server.say("three")
        wait_for(lambda: archived() == [["one", "two"], ["three"]])
        assert tap.end(signal.SIGTERM) == 0, tap.output()
    finally:
        tap.stop()
    assert archived() == [["one", "two"], ["three"]]


def test_a_file_that_another_writes_is_left_alone(server: ChatServer, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    tap = started(["--url", server.url, "--output", str(out)], tmp_path)
    try:
        wait_for(lambda: lines(out))
        said = run("tap", "--url", server.url, "--allow-private", "--output", out)
        assert (said.returncode, "another program writes to it" in said.stderr) == (2, True)
    finally:
        tap.stop()


def test_what_can_never_be_written_is_an_error_with_a_number(server: ChatServer, tmp_path: Path) -> None:
    limited = ("bash", "-c", 'ulimit -f 1; exec "$@"', "bash")
    out = tmp_path / "out.jsonl"
    tap = started(["--url", server.url, "--output", str(out)], tmp_path, limited)
    try:
        server.say("fits", "x" * 4_000)
        wait_for(lambda: tap.process.poll() is not None)
        assert tap.process.returncode == 1, tap.output()
        assert "the output cannot be written: File too large" in tap.output()
        assert "1 messages were received and could not be written" in tap.output()
        assert "Traceback" not in tap.output()
        assert texts(out) == ["fits"]
    finally:
        tap.stop()


def test_a_reader_that_takes_nothing_does_not_hold_the_end() -> None:
    said = tuple(f"{number} {'x' * 500}" for number in range(400))
    with chat_server(first=said) as server:
        command = [sys.executable, "-m", "fleetpulse", "tap", "--allow-private", "--url", server.url]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()
        ) as tap:
            assert tap.stdout is not None
            assert tap.stderr is not None
            wait_for(lambda: server.clients)
            tap.send_signal(signal.SIGINT)
            told = tap.stderr.read()
            assert tap.wait() == 1
            written = [line for line in tap.stdout.read().splitlines() if line.startswith('{"type":"message"')]
    assert "could not be written" in told
    assert "Traceback" not in told
    assert 0 < len(written) < 400


@pytest.fixture
def space(tmp_path: Path) -> list[str]:
    """How to get a mount namespace of one's own here; skips where there is no way."""
    for command in SPACES:
        trial = [*command, "sh", "-c", MOUNT, "sh", str(DISK), str(tmp_path), "true"]
        if subprocess.run(trial, capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("no mount namespace can be made here")


def test_a_full_disk_is_said_and_waited_for(server: ChatServer, tmp_path: Path, space: list[str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (*space, "sh", "-c", MOUNT, "sh", str(DISK), str(disk))
    tap = started(["--url", server.url, "--output", str(disk / "out.jsonl")], tmp_path, mounted)
    try:
        wait_for(lambda: server.clients)
        seen = Path(f"/proc/{tap.pid}/root{disk}")
        fill(seen / "ballast")
        said = [f"{number} {'x' * 2_000}" for number in range(20)]
        server.say(*said)
        wait_for(lambda: "it waits for room" in tap.output())
        os.truncate(seen / "ballast", 0)
        wait_for(lambda: texts(seen / "out.jsonl") == said)
        wait_for(lambda: "there is room again" in tap.output())
        fill(seen / "ballast")
        server.say(*said)
        wait_for(lambda: tap.output().count("it waits for room") == 2)
        written = len(texts(seen / "out.jsonl"))
        assert tap.end(signal.SIGINT) == 1
        assert f"{40 - written} messages were received and could not be written" in tap.output()
    finally:
        tap.stop()


def fill(path: Path) -> None:
    """Leaves no room on a disk."""
    with path.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(4 * KIBIBYTE)):
                pass
        except OSError:
            return
