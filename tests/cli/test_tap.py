"""`fleetpulse tap` against a real chat server, as people and programs use it."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.cli.chat_server import ChatServer, chat_server
from tests.cli.conftest import Run
from tests.system.harness import DEADLINE, Program, clean_environment, free_port, wait_for
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosed

from fleetpulse.cli import command_line
from fleetpulse.errors import ConfigError, InvalidInputError

FIRST = (
    '{"type": "message", "user": "ann", "content": "重要: hello", "room": "r1"}',
    '{"type": "system", "message": "ben has joined"}',
    b"\x00\x01",
    "plain \x1b[31mtext",
)
Start = Callable[..., Program]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A server that greets with the four messages of FIRST."""
    with chat_server(first=FIRST) as running:
        yield running


@pytest.fixture
def tapping(tmp_path: Path) -> Iterator[Start]:
    """Starts `fleetpulse tap` with arguments; its output is in the program's log."""
    running: list[Program] = []

    def start(*arguments: str | Path) -> Program:
        command = [sys.executable, "-m", "fleetpulse", "tap", *map(str, arguments), "--allow-private"]
        log = tmp_path / f"tap-{len(running)}.log"
        running.append(Program("tap", command, "", log, clean_environment(COLUMNS="200")))
        running[-1].start(wait=False)
        return running[-1]

    yield start
    for program in running:
        program.stop()


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def messages(text: str) -> list[dict[str, Any]]:
    return [each for each in objects(text) if each["type"] == "message"]


def test_programs_get_every_message_and_every_gap_as_json(server: ChatServer, tapping: Start) -> None:
    tap = tapping("--url", server.url, "--keyword", "重要", "--keyword", "紧急")
    wait_for(lambda: len(messages(tap.output())) == 4)
    server.drop(1012, "restart")
    wait_for(lambda: len(messages(tap.output())) == 8)
    server.say({"type": "message", "user": "ben", "content": "紧急!"})
    wait_for(lambda: len(messages(tap.output())) == 9)
    assert tap.end(signal.SIGINT) == 0, tap.output()
    said = objects(tap.output())
    kinds = [each["type"] for each in said]
    assert kinds == [
        *("stream_connected", *["message"] * 4, "stream_disconnected"),
        *("stream_connected", *["message"] * 5, "stream_disconnected"),
    ]
    assert (said[5]["close_code"], said[5]["close_reason"], said[5]["messages"]) == (1012, "restart", 4)
    assert [each["text"] for each in messages(tap.output())][:4] == ["重要: hello", "ben has joined", "", FIRST[3]]
    assert [each.get("rules") for each in (said[1], said[2], said[11])] == [["keywords"], None, ["keywords"]]
    assert len({each["message_id"] for each in messages(tap.output())}) == 9
    assert "main: 9 messages" in tap.output()
    assert "2 connections" in tap.output()
    assert "rules: keywords 3" in tap.output()


def test_people_get_lines_that_a_terminal_does_not_obey(run: Run, server: ChatServer) -> None:
    said = run("tap", "--url", server.url, "--allow-private", "--format", "text", "--count", 4)
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert "main message ann@r1: 重要: hello" in lines[1]
    assert lines[3].endswith("binary -: (2 bytes)")
    assert lines[4].endswith("raw -: plain \\x1b[31mtext")
    assert "\x1b" not in said.stdout


def test_a_terminal_has_colours_and_every_line_once(server: ChatServer) -> None:
    command = f"{sys.executable} -m fleetpulse tap --url {server.url} --allow-private --count 4 --keyword 重要"
    said = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        env=clean_environment(COLUMNS="200", TERM="xterm-256color"),
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE,
    ).stdout
    assert said.count("ben has joined") == 1
    assert said.count("connected to ws://") == 1
    assert "\x1b[1;31m [keywords]" in said
    assert "plain \\x1b[31mtext" in said
    assert "\x1b[31mtext" not in said.replace("\\x1b[31mtext", "")


def test_explain_shows_how_messages_are_read_and_keeps_none(run: Run, server: ChatServer, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    path = ("--path", "text=$.message", "--explain", "--count", "2", "--output", out)
    said = run("tap", "--url", server.url, "--allow-private", *path)
    assert said.returncode == 0, said.stderr
    assert "main message 1" in said.stdout
    assert "configured $.message" in said.stdout
    assert "main message 3" not in said.stdout
    assert not out.exists()


def test_only_what_is_asked_for_is_written(run: Run, server: ChatServer) -> None:
    common = ("tap", "--url", server.url, "--allow-private", "--pattern", "^plain", "--user", "ann")
    for filters, texts in (
        (("--only-kind", "system", "--only-kind", "raw"), ["ben has joined", FIRST[3]]),
        (("--only-rule", "users", "--only-user", "ann"), ["重要: hello"]),
    ):
        said = run(*common, *filters, "--count", len(texts))
        assert said.returncode == 0, said.stderr
        assert [each["text"] for each in messages(said.stdout)] == texts


def test_it_ends_when_its_time_is_up(run: Run, server: ChatServer) -> None:
    said = run("tap", "--url", server.url, "--allow-private", "--seconds", "0.1", "--only-kind", "nonsense")
    assert (said.returncode, messages(said.stdout)) == (0, [])
    assert "main: " in said.stderr


def test_it_logs_in_with_secrets_of_files_and_shows_none(run: Run, server: ChatServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hush-hush\n")
    said = run(
        *("tap", "--url", f"{server.url}?key=hush-query", "--allow-private", "--count", "1"),
        *("--header-file", f"Authorization={token}", "--header", "X-Room: 7", "--subprotocol", "chat.v1"),
        *("--secret", f"TOKEN={token}", "--send", "login ${TOKEN}", "--send", "join r1"),
    )
    assert said.returncode == 0, said.stderr
    (headers,) = server.headers
    assert (headers["Authorization"], headers["X-Room"]) == ("hush-hush", "7")
    assert headers["Sec-WebSocket-Protocol"] == "chat.v1"
    assert "hush" not in said.stdout + said.stderr


def test_what_is_sent_on_connecting_arrives_in_order(server: ChatServer, tapping: Start, tmp_path: Path) -> None:
    (tmp_path / "third").write_text("three")
    tap = tapping("--url", server.url, "--send", "one", "--send", "two", "--send-file", tmp_path / "third")
    wait_for(lambda: len(server.heard) == 3)
    assert server.heard == ["one", "two", "three"]
    assert tap.terminate() == 0


def test_giving_up_is_an_exit_code_with_a_reason(run: Run, server: ChatServer) -> None:
    gone = f"ws://127.0.0.1:{free_port()}/"
    for arguments, words in (
        (("--url", server.url), "--allow-private allows it"),
        (("--url", gone, "--allow-private", "--max-seconds", "0.2"), "given up: no connection"),
    ):
        said = run("tap", *arguments)
        assert said.returncode == 1, said.stderr
        assert words in said.stderr
        assert objects(said.stdout)[-1]["type"] == "stream_failed"
        assert "Traceback" not in said.stderr


def test_one_stream_that_fails_does_not_end_the_others(server: ChatServer, tapping: Start, tmp_path: Path) -> None:
    config = tmp_path / "streams.yaml"
    stream = f"{{name: room, url: '{server.url}', allow_private: true, reconnect: {{first_seconds: 0}}}}"
    config.write_text(f"tap:\n  streams:\n  - {stream}\n  rules: [{{name: urgent, keywords: [重要]}}]\n")
    failing = f"ws://127.0.0.1:{free_port()}/"
    tap = tapping("--config", config, "--url", failing, "--name", "other", "--max-attempts", "1")
    wait_for(lambda: "other given up" in tap.output() and len(messages(tap.output())) == 4)
    assert tap.process.poll() is None
    assert tap.end(signal.SIGINT) == 1
    assert messages(tap.output())[0]["rules"] == ["urgent"]
    assert {each["stream"] for each in messages(tap.output())} == {"room"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "there is nothing to listen to"),
        (("--url", "http://x"), "--url: is not an address such as wss://"),
        (("--url", "ws://u:hush@x"), "holds credentials"),
        (("--url", "ws://x", "--name", "chat"), "--name: is the stream of the exporter's own chat"),
        (("--url", "ws://x", "--header", "hush"), "write NAME: VALUE"),
        (("--url", "ws://x", "--header-file", "Authorization"), "--header-file Authorization: write NAME=PATH"),
        (("--url", "ws://x", "--path", "text"), "write FIELD=PATH"),
        (("--url", "ws://x", "--path", "colour=$.a"), "--path colour: there is no such field"),
        (("--url", "ws://x", "--path", "text=$["), "--path: "),
        (("--url", "ws://x", "--pattern", "("), "--pattern: "),
        (("--url", "ws://x", "--preset", "nonsense"), "--preset: "),
        (("--url", "ws://x", "--only-rule", "keywords"), "--only-rule keywords: there is none"),
        (("--url", "ws://x", "--format", "har"), "an archive needs a file"),
        (("--url", "ws://x", "--output", "/"), "--output /: Is a directory"),
        (("--url", "ws://x", "--output", "a.har", "--rotate-bytes", "10"), "an archive is one file"),
        (("--stream", "nonsense"), "--stream nonsense: there is no such stream"),
        (("--send", "x", "--config", "streams.yaml"), "--send: it belongs to a server"),
        (("--config", "missing.yaml"), "is not a file"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLEETPULSE_CONFIG", "")
    (tmp_path / "streams.yaml").write_text("tap: {streams: [{name: room, url: 'ws://x'}]}")
    error = CliRunner().invoke(command_line("tap"), ["tap", *arguments]).exception
    assert isinstance(error, InvalidInputError | ConfigError), repr(error)
    assert words in error.detail
    assert "hush" not in error.detail
    assert sorted(each.name for each in tmp_path.iterdir()) == ["streams.yaml"]


def test_what_is_wrong_ends_with_2_and_no_trace(run: Run) -> None:
    said = run("tap", "--url", "ws://user:hush@example.org")
    assert (said.returncode, said.stdout) == (2, "")
    assert "Traceback" not in said.stderr
    assert "hush" not in said.stderr


def test_a_documents_file_is_converted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"websocket_url": "ws://localhost/ws", "web_refresh_interval": 5} // x')
    said = run("tap", "convert", tmp_path / "config.json")
    assert said.returncode == 0, said.stderr
    assert "url: ws://localhost/ws" in said.stdout
    assert "web_refresh_interval needs no counterpart" in said.stderr
    assert "is not a file" in run("tap", "--config", tmp_path / "missing.json").stderr


def test_a_pipe_that_closes_ends_it_quietly(server: ChatServer) -> None:
    command = f"{sys.executable} -m fleetpulse tap --url {server.url} --allow-private | head -n 1"
    with subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "stream_connected"

        def nudged() -> bool:
            for client in list(server.clients):
                with suppress(ConnectionClosed):
                    client.send("are you there?")
            return process.poll() is not None

        wait_for(nudged)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        assert process.returncode == 0
