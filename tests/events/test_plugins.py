"""Plug-ins as packages with real entry points, loaded by a real exporter."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.system.harness import Exporter, started, wait_for
from tests.web.server import Server
from websockets.sync.client import connect

GREETER = '''
"""A plug-in that greets: it hears events, tells of its own, publishes, and cleans up."""
import asyncio
from pathlib import Path


def setup(plugin):
    notes = Path(plugin.settings["notes"])

    def write(event):
        with notes.open("a") as file:
            file.write(f"{event.category} {event.kind} {event.actor} {event.subject} {event.detail}\\n")
        plugin.tell("noted", subject=event.kind)  # from a thread

    async def tick():
        number = 0
        while True:
            plugin.publish({"tick": number, "word": plugin.settings["word"]}, key="tick")
            number += 1
            await asyncio.sleep(0.05)

    async def close():
        with notes.open("a") as file:
            file.write("closed\\n")

    plugin.on("greeted", write)
    plugin.run(tick())
    plugin.tell("greeted", subject="world", detail={"word": plugin.settings["word"]})
    return close
'''


def package(site: Path, name: str, code: str, version: str = "1.2") -> Path:
    """A package as an installer leaves it: the module, and beside it what it says of itself."""
    module = f"fleetpulse_{name}"
    info = site / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (site / f"{module}.py").write_text(textwrap.dedent(code))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fleetpulse-{name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[fleetpulse.plugins]\n{name} = {module}:setup\n")
    return site


def settings(site: Path, enabled: list[str], **own: dict[str, str]) -> dict[str, str]:
    return {
        "PYTHONPATH": str(site),
        "FLEETPULSE_PLUGINS__ENABLED": json.dumps(enabled),
        "FLEETPULSE_PLUGINS__SETTINGS": json.dumps(own),
    }


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes.txt"


@pytest.fixture
def greeted(tmp_path: Path, notes: Path) -> Iterator[Server]:
    site = package(tmp_path / "site", "greeter", GREETER)
    own = {"notes": str(notes), "word": "hello"}
    yield from started(Server(tmp_path / "exporter", **settings(site, ["greeter"], greeter=own)))


def test_a_plug_in_hears_tells_publishes_and_is_closed(greeted: Server, notes: Path) -> None:
    wait_for(notes.exists)
    with connect(f"ws://127.0.0.1:{greeted.port}/ws/live?topics=plugins/greeter") as feed:
        heard = [json.loads(feed.recv(30)) for _ in range(3)]
    assert heard[0]["type"] == "subscribed"
    assert heard[1]["data"]["word"] == "hello"
    assert heard[2]["data"]["tick"] == heard[1]["data"]["tick"] + 1
    wait_for(lambda: len(greeted.journal("SELECT 1 FROM events WHERE actor = 'plugin:greeter'")) == 2)
    found = greeted.journal("SELECT category, kind, subject, detail FROM events ORDER BY id")
    assert ("custom", "greeted", "world", '{"word":"hello"}') in found
    assert ("custom", "noted", "greeted", "{}") in found
    samples = greeted.metrics()
    name = "fleetpulse_event_handler_calls_total"
    assert samples[f'{name}{{handler="greeter.write",outcome="done"}}'] == 1
    greeted.stop()
    assert notes.read_text() == "custom greeted plugin:greeter world {'word': 'hello'}\nclosed\n"


def test_what_is_installed_is_not_loaded_unless_enabled(tmp_path: Path) -> None:
    site = package(tmp_path / "site", "greeter", "raise RuntimeError('imported')")
    program = Exporter(tmp_path / "exporter", **settings(site, []))
    for running in started(program):
        assert running.get("/health")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('broken inside')", "cannot be imported: RuntimeError: broken inside"),
        ("setup = 3", "fleetpulse_greeter:setup cannot be called"),
        ("def setup(plugin):\n    plugin.settings['absent']", "cannot be set up: KeyError: 'absent'"),
        ("async def setup(plugin):\n    plugin.publish({1, 2})", "a plug-in's message is no JSON"),
    ],
)
def test_a_plug_in_that_fails_stops_the_start(run: Run, tmp_path: Path, code: str, said: str) -> None:
    site = package(tmp_path / "site", "greeter", code)
    own = {"FLEETPULSE_PORT": "0", "FLEETPULSE_DATA_DIR": str(tmp_path / "data"), **settings(site, ["greeter"])}
    stopped = run("serve", **own)
    assert stopped.returncode != 0
    output = " ".join((stopped.stdout + stopped.stderr).split())
    assert "the plug-in 'greeter'" in output
    assert said in output
    assert "Traceback" not in output


def test_a_plug_in_that_fails_may_be_left_out(tmp_path: Path) -> None:
    site = package(tmp_path / "site", "greeter", "raise RuntimeError('broken inside')")
    own = settings(site, ["greeter", "absent"]) | {"FLEETPULSE_PLUGINS__ON_ERROR": "skip"}
    exporter = Server(tmp_path / "exporter", **own)
    for _ in started(exporter):
        wait_for(lambda: len(exporter.journal("SELECT 1 FROM events WHERE kind = 'plugin_failed'")) == 2)
        assert "broken inside; it is left out" in exporter.log.read_text()


def test_check_lists_plug_ins(run: Run, tmp_path: Path) -> None:
    site = package(tmp_path / "site", "greeter", "def setup(plugin):\n    pass")
    package(site, "broken", "raise RuntimeError('broken inside')")
    package(site, "idle", "raise RuntimeError('imported')")
    own = settings(site, ["greeter", "broken", "absent"], idle={"x": "1"})
    said = run("check", FLEETPULSE_PORT="0", FLEETPULSE_DATA_DIR=str(tmp_path / "data"), **own)
    output = " ".join(said.stdout.replace("│", " ").split())
    assert said.returncode == 1
    assert "greeter (fleetpulse-greeter 1.2) can be loaded" in output
    assert "broken inside" in output
    assert "no plug-in 'absent' is installed here; there are: broken, greeter, idle" in output
    assert "idle (fleetpulse-idle 1.2) is installed and not enabled" in output
    assert "plugins.settings.idle" in output


def test_one_name_in_two_packages_is_refused(run: Run, tmp_path: Path) -> None:
    first = package(tmp_path / "a", "greeter", "def setup(plugin):\n    pass")
    info = first / "other-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[fleetpulse.plugins]\ngreeter = other:setup\n")
    said = run(
        "check", FLEETPULSE_PORT="0", FLEETPULSE_DATA_DIR=str(tmp_path / "data"), **settings(first, ["greeter"])
    )
    assert "is in more than one package: fleetpulse-greeter, other" in " ".join(
        said.stdout.replace("│", " ").split()
    )
