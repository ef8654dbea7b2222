"""The tap's quick start does what it says: each of its steps is run as written, but for the ports."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.harness import Program, clean_environment, free_port, get, get_json, wait_for
from tests.tools import ROOT, need_tool

PAGE, CHINESE = ROOT / "docs/tap-quickstart.md", ROOT / "docs/tap-quickstart.zh-CN.md"
COMMAND = re.compile(r"^(?:curl|\.venv/bin/).*$", re.MULTILINE)
STEP = re.compile(r"^```(?P<language>sh|python)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Page:
    """The page's steps, in a folder of its own, on free ports."""

    def __init__(self, document: Path, folder: Path) -> None:
        self.folder = folder
        self.chat, self.web, *stack = (free_port() for _ in range(5))
        self.url = f"http://127.0.0.1:{self.web}"
        names = ("PROMETHEUS", "ALERTMANAGER", "GRAFANA")
        ports = {f"FLEETPULSE_STACK__{name}_PORT": str(port) for name, port in zip(names, stack, strict=True)}
        self.environment = clean_environment(COLUMNS="200", **ports)
        steps = STEP.finditer(document.read_text("utf-8"))
        self._steps = [(found["language"], self._here(found["text"])) for found in steps]
        self._running: list[Program] = []

    def step(self, beginning: str) -> str:
        """The next step of the page, which begins so; none is passed over."""
        language, text = self._steps.pop(0)
        shown = text if language == "sh" else f"{language}: {text}"
        assert shown.startswith(beginning), f"the next step is {shown}"
        return text

    def run(self, beginning: str) -> str:
        """Runs the next step; what it printed."""
        script = self.step(beginning)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, beginning: str) -> Program:
        """Starts the next step, in a terminal of its own."""
        log = self.folder / f"terminal-{len(self._running)}.log"
        command = ["bash", "-c", f"cd {self.folder} && exec {self.step(beginning)}"]
        program = Program(beginning, command, "", log, self.environment)
        self._running.append(program)
        program.start(wait=False)
        return program

    def say(self, user: str, text: str) -> None:
        """As the page's step does, once more."""
        subprocess.run([sys.executable, "chat.py", user, text], cwd=self.folder, env=self.environment, check=True)

    def get(self, path: str) -> Any:
        return get_json(self.url + path)

    @property
    def done(self) -> bool:
        return not self._steps

    def stop(self) -> None:
        for program in reversed(self._running):
            program.stop()

    def _here(self, text: str) -> str:
        real = {".venv/bin/python": sys.executable, ".venv/bin/fleetpulse": f"{sys.executable} -m fleetpulse"}
        real |= {"8000": str(self.chat), "8001": str(self.web)}
        return re.sub("|".join(map(re.escape, real)), lambda found: real[found[0]], text)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    need_tool("prometheus")
    need_tool("alertmanager")
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    opened = Page(PAGE, tmp_path)
    try:
        yield opened
    finally:
        opened.stop()


def said(page: Page) -> list[str]:
    return [each["text"] for each in page.get("/api/messages?stream=main")["messages"]]


def connected(page: Page) -> bool:
    return 'fleetpulse_tap_connected{stream="main"} 1.0' in get(f"{page.url}/metrics")


def documents(text: str) -> list[Any]:
    """JSON documents, one after the other."""
    found, decoder = [], json.JSONDecoder()
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def test_the_quick_start(page: Page) -> None:
    python, fleetpulse = sys.executable, f"{sys.executable} -m fleetpulse"
    page.run("python3 --version")
    (page.folder / "chat.py").write_text(page.step("python: "))
    page.start(f"{python} chat.py")
    checked = page.run("cat > config.json")
    assert "0 errors" in checked
    assert "database_path: its folder is used" in checked
    page.run(f"{fleetpulse} tap convert config.json")
    assert (page.folder / "fleetpulse.yaml").read_text().count("重要") == 1

    up = page.start(f"{fleetpulse} up --config config.json")
    wait_for(lambda: "Try next" in up.output() or up.process.poll() is not None, what="the table")
    wait_for(lambda: connected(page), what=up.output())
    page.run(f"{python} chat.py ann")
    wait_for(lambda: len(said(page)) == 2)
    look(page)
    live = page.start(f"{fleetpulse} live messages/main")
    wait_for(lambda: "subscribed" in live.output())
    page.say("ben", "紧急")
    wait_for(lambda: "紧急" in live.output())
    live.stop()
    page.run(f"{fleetpulse} backup --config config.json")
    assert list((page.folder / "data" / "backups").iterdir())
    assert up.end(signal.SIGINT) == 0, up.output()

    record_alone(page, fleetpulse)
    web = page.start(f"{fleetpulse} serve --config config.json --no-tap")
    wait_for(lambda: said(page), what=web.output())
    assert said(page) == ["紧急", "收到", "重要: the deployment is at 10"]
    assert not connected(page)
    assert web.terminate() == 0
    assert page.done


def look(page: Page) -> None:
    stats, listed, found = documents(page.run("curl "))
    assert (stats["total_messages"], stats["messages_today"], stats["active_users"]) == (2, 2, 2)
    assert [(each["user_id"], each["text"]) for each in listed["messages"]] == [
        ("ben", "收到"),
        ("ann", "重要: the deployment is at 10"),
    ]
    assert [each["rules"] for each in found["messages"]] == [["keywords"]]
    assert "<mark>重要</mark>" in found["messages"][0]["snippet"]
    with (page.folder / "messages.csv").open(newline="", encoding="utf-8-sig") as file:
        assert sorted(row["text"] for row in csv.DictReader(file)) == sorted(said(page))


def record_alone(page: Page, fleetpulse: str) -> None:
    """The recorder without a server, to a file; and how it reads a message."""
    tap = page.start(f"{fleetpulse} tap --config config.json --output messages.jsonl")
    wait_for(lambda: "connected to ws://" in tap.output())
    page.say("ann", "重要!")
    file = page.folder / "messages.jsonl"
    wait_for(lambda: file.read_text().count('"type":"message"') == 1)
    assert tap.end(signal.SIGINT) == 0, tap.output()
    assert '"rules":["keywords"]' in file.read_text()
    explain = page.start(f"{fleetpulse} tap --config config.json --explain --count 1")
    wait_for(lambda: "connected to ws://" in explain.output())
    page.say("ann", "how?")
    wait_for(lambda: explain.process.poll() is not None)
    assert "text    how?   <- chat $.content" in explain.output()


def test_the_chinese_page_has_the_same_commands() -> None:
    english, chinese = (COMMAND.findall(page.read_text("utf-8")) for page in (PAGE, CHINESE))
    assert len(chinese) > 6
    assert set(chinese) <= set(english)
