"""What `fleetpulse serve` makes of `--url` and `--no-tap`."""

import sys
from pathlib import Path

import pytest
from tests.cli.chat_server import chat_server
from tests.cli.conftest import Run
from tests.system.harness import Program, clean_environment, free_port, get_json, wait_for

HELLO = '{"type": "message", "user": "ann", "content": "hello"}'


@pytest.mark.parametrize("listening", [True, False])
def test_a_url_is_recorded_unless_nobody_is_to_be_listened_to(tmp_path: Path, *, listening: bool) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    with chat_server(first=(HELLO,)) as server:
        options = ["--url", server.url, "--allow-private", *([] if listening else ["--no-tap"])]
        command = [sys.executable, "-m", "fleetpulse", "serve", "--port", str(port), "--data-dir", str(tmp_path)]
        serve = Program("serve", command + options, f"{url}/-/ready", tmp_path / "log", clean_environment())
        try:
            serve.start()
            if listening:
                messages = wait_for(lambda: get_json(f"{url}/api/messages?stream=main")["messages"])
                assert [(each["user_id"], each["text"]) for each in messages] == [("ann", "hello")]
            assert bool(server.headers) is listening
            assert serve.terminate() == 0
        finally:
            serve.stop()


def test_what_cannot_be_is_said(run: Run) -> None:
    for arguments, words in (
        (("--url", "http://x"), "tap.url: Value error, is not an address"),
        (("--allow-private",), "--allow-private belongs to --url"),
    ):
        said = run("serve", *arguments)
        assert said.returncode == 2
        assert words in " ".join(said.stderr.split())
