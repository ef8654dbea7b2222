"""Documents say what is so: links lead somewhere, and every variable, command and endpoint they name exists."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
import typer
from aiohttp import web
from pydantic import BaseModel

from fleetpulse import config
from fleetpulse.app import build, shut_down, start
from fleetpulse.cli import NAMES, command_line
from fleetpulse.config import Settings

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"\bFLEETPULSE_[A-Z0-9_]+\b")
COMMAND = re.compile(r"(?:^|[`(| /])fleetpulse ([a-z]+)(?: ([a-z]+))?")
ENDPOINT = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`\s]*)`")
GOAL = re.compile(r"`make ([a-z]+)`|^ *make ([a-z]+)", re.MULTILINE)
# In pieces, so that this file does not hold what it forbids.
FORBIDDEN = re.compile(
    "|".join(
        (
            r"py" + r"pi\.(org|python)",
            r"python" + r"hosted",
            r"registry\.npm" + r"js",
            r"proxy\.golang" + r"\.org",
            r"sum\.golang" + r"\.org",
            r"static\.crates" + r"\.io",
            r"index\.crates" + r"\.io",
            r"deb\.debian" + r"\.org",
            r"(?<![\w.])/(work|root)/" + r"[a-z.]",
            r"(?<![\w.])/home/" + r"[a-z]",
            r"\.py" + r"env/",
        )
    ),
    re.IGNORECASE,
)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of the project's files")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def name_of(path: object) -> str:
    return str(path.relative_to(ROOT)) if isinstance(path, Path) else str(path)


each_document = pytest.mark.parametrize("document", documents(), ids=name_of)


@cache
def anchors(document: Path) -> frozenset[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    text = FENCE.sub("", document.read_text("utf-8"))
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in HEADING.findall(text))
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain)


@each_document
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    wrong = []
    for link in LINK.findall(FENCE.sub("", document.read_text("utf-8"))):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_the_index_lists_every_document() -> None:
    index = (ROOT / "docs/README.md").read_text("utf-8")
    listed = {(ROOT / "docs" / link).resolve() for link in LINK.findall(index)}
    assert {path for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"} - listed == set()


def setting_variables(model: type[BaseModel] = Settings, prefix: str = "FLEETPULSE_") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        yield prefix + name.upper()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from setting_variables(kind, f"{prefix}{name.upper()}__")


def known_variables() -> set[str]:
    provisioning = chain((ROOT / "grafana/provisioning").rglob("*.yml"))
    grafana = (name for path in provisioning for name in VARIABLE.findall(path.read_text()))
    return {*setting_variables(), *config.CLIENT_VARIABLES, *grafana}


@each_document
def test_every_variable_exists(document: Path) -> None:
    assert set(VARIABLE.findall(document.read_text("utf-8"))) - known_variables() == set()


@pytest.mark.parametrize("path", [ROOT / "docker-compose.yml", ROOT / "exporter/Dockerfile"], ids=name_of)
def test_every_variable_of_docker_exists(path: Path) -> None:
    assert set(VARIABLE.findall(path.read_text())) - known_variables() == set()


def commands() -> dict[str, set[str]]:
    """Every command, and the sub-commands of those that have some."""
    group = typer.main.get_group(command_line(*NAMES))
    return {name: set(getattr(command, "commands", ())) for name, command in group.commands.items()}


@each_document
def test_every_command_exists(document: Path) -> None:
    known = commands()
    named = code(document.read_text("utf-8"))
    wrong = [
        f"fleetpulse {command} {rest}"
        for command, rest in COMMAND.findall(named)
        if command not in known or (known[command] and rest not in known[command] | {""})
    ]
    assert wrong == []


@each_document
def test_every_goal_of_make_exists(document: Path) -> None:
    goals = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {"".join(pair) for pair in GOAL.findall(code(document.read_text("utf-8"), ticks=True))}
    assert named - goals == set()


def code(text: str, *, ticks: bool = False) -> str:
    """What stands in fences and between backticks, a line each."""
    inline = re.findall(r"`[^`]+`" if ticks else r"`([^`]+)`", FENCE.sub("", text))
    return "\n".join([*FENCE.findall(text), *(piece.replace("\n", " ") for piece in inline)])


@pytest.fixture
async def routes(tmp_path: Path) -> AsyncIterator[set[tuple[str, str]]]:
    """The routes of the real application, without the answer for unknown addresses and aiohttp's HEAD."""
    parts = build(config.load(data_dir=tmp_path))
    runner = web.AppRunner(parts.door.web)
    background = await start(parts, runner)
    try:
        every = {
            (route.method, route.resource.canonical) for route in parts.door.web.router.routes() if route.resource
        }
        yield {route for route in every if route[0] not in {"*", "HEAD"}}
    finally:
        await shut_down(parts, runner, background)


async def test_the_api_page_has_every_endpoint_and_no_other(routes: set[tuple[str, str]]) -> None:
    documented = ENDPOINT.findall((ROOT / "docs/api.md").read_text("utf-8"))
    assert set(documented) == routes


async def test_no_document_names_an_endpoint_that_is_none(routes: set[tuple[str, str]]) -> None:
    named = {(place, *pair) for place in documents() for pair in ENDPOINT.findall(place.read_text("utf-8"))}
    own = {(place, method, path) for place, method, path in named if not path.startswith("/api/v2/")}
    assert {(name_of(place), method, path) for place, method, path in own if (method, path) not in routes} == set()


def test_no_file_names_a_package_registry_or_a_place_on_some_machine() -> None:
    found = []
    for path in tracked():
        text = path.read_text("utf-8", errors="ignore")
        found += [f"{name_of(path)}: {match.group()}" for match in FORBIDDEN.finditer(text)]
    assert found == []


def test_the_metrics_page_is_what_the_catalogue_says() -> None:
    made = subprocess.run([sys.executable, ROOT / "tools/metrics_page.py"], check=True, capture_output=True)
    written = (ROOT / "docs/metrics.md").read_bytes()
    assert written == made.stdout, "run: python tools/metrics_page.py > docs/metrics.md"
