"""The layers of docs/architecture.md hold: every import, and what has one room stays in it.

The page's table is the rule: a module that is missing there, or a row whose module is gone, fails too.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.tools import ROOT

SOURCE = ROOT / "exporter" / "fleetpulse"
PAGE = ROOT / "docs" / "architecture.md"
BESIDE = 99
ROW = re.compile(r"^\| (\d+|beside) \| (.+?) \|", re.MULTILINE)
NAME = re.compile(r"`([a-z_]+)/?`")
SQL = re.compile(
    r"^\s*(SELECT|INSERT|UPDATE|DELETE\s+FROM|PRAGMA|CREATE|DROP|ALTER|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|VACUUM|ATTACH)\b"
)
METRIC = re.compile(r"(?<![_a-zA-Z])fleetpulse_")
FILES = sorted(SOURCE.rglob("*.py"))


def layers() -> dict[str, int]:
    """The table: each top-level module or package with its layer."""
    rows = [(layer, NAME.findall(modules)) for layer, modules in ROW.findall(PAGE.read_text("utf-8"))]
    pairs = [(name, BESIDE if layer == "beside" else int(layer)) for layer, names in rows for name in names]
    assert len({name for name, _ in pairs}) == len(pairs), "a module is there twice"
    return dict(pairs)


def component(path: Path) -> str:
    """The module or package directly below `fleetpulse` that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


# What a file says, from its syntax tree -----------------------------------------------------------------------
def imported(tree: ast.AST) -> Iterator[str]:
    """Every imported thing by its full dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def own_imports(tree: ast.AST) -> set[str]:
    """The components of Fleetpulse that are imported; the package itself (its version) is everyone's."""
    parts = (name.split(".") for name in imported(tree))
    return {
        name[1] for name in parts if name[0] in ("fleetpulse", "") and len(name) > 1 and name[1] != "__version__"
    }


def attributes(tree: ast.AST) -> Iterator[str]:
    """Every `module.attribute` that is used."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def texts(tree: ast.AST) -> Iterator[str]:
    """Every string that is not documentation."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def uses_aiohttp_web(tree: ast.AST) -> bool:
    names = {*imported(tree), *attributes(tree)}
    return any(name == "aiohttp.web" or name.startswith("aiohttp.web.") for name in names)


def uses_sql(tree: ast.AST) -> bool:
    return any(SQL.match(text) for text in texts(tree))


def uses_sqlite(tree: ast.AST) -> bool:
    return any(name.split(".")[0] == "sqlite3" for name in imported(tree))


def uses_environment(tree: ast.AST) -> bool:
    names = {*imported(tree), *attributes(tree)}
    return not names.isdisjoint({"os.environ", "os.getenv", "os.environb", "os.putenv"})


def picks_from_environment(tree: ast.AST) -> bool:
    """Whether single variables are read or set, rather than the whole handed to a child process."""
    if any(name in ("os.environ", "os.getenv") for name in imported(tree)) or "os.getenv" in attributes(tree):
        return True
    owners = [node.value for node in ast.walk(tree) if isinstance(node, (ast.Subscript, ast.Attribute))]
    return "os.environ" in {ast.unparse(owner) for owner in owners}


def names_metrics(tree: ast.AST) -> bool:
    return any(METRIC.search(text) for text in texts(tree))


ROOMS: list[tuple[str, Callable[[ast.AST], bool], tuple[str, ...]]] = [
    ("aiohttp.web", uses_aiohttp_web, ("web", "app")),
    ("SQL", uses_sql, ("journal", "query")),
    ("sqlite3", uses_sqlite, ("journal", "query", "cli")),  # `fleetpulse check` says what SQLite says
    # The client reads its own few variables: config needs the server's libraries, which it must do without.
    ("the environment", uses_environment, ("config", "stack", "cli", "client")),
    ("single variables of the environment", picks_from_environment, ("config", "client")),
    ("metric names", names_metrics, ("catalogue",)),
]


# The rules ----------------------------------------------------------------------------------------------------
def may_import(importer: str, found: str, table: dict[str, int]) -> bool:
    """Lower layers and its own package; what stands beside may import anything."""
    return found == importer or table[importer] == BESIDE or table.get(found, BESIDE) < table[importer]


def test_the_table_has_every_module_and_no_other() -> None:
    assert set(layers()) == {component(path) for path in FILES} - {"__init__", "__main__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path: Path) -> None:
    table, importer = layers() | {"__init__": 0, "__main__": BESIDE}, component(path)
    tree = ast.parse(path.read_text("utf-8"))
    assert [name for name in imported(tree) if name.startswith(".")] == [], "imports are absolute"
    assert [found for found in own_imports(tree) if not may_import(importer, found, table)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_what_has_one_room_stays_in_it(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert [what for what, uses, rooms in ROOMS if uses(tree) and component(path) not in rooms] == []


@pytest.mark.parametrize(("what", "uses", "rooms"), ROOMS)
def test_the_rooms_are_not_empty(what: str, uses: Callable[[ast.AST], bool], rooms: tuple[str, ...]) -> None:
    inside = [path for path in FILES if component(path) in rooms]
    assert any(uses(ast.parse(path.read_text("utf-8"))) for path in inside), f"nothing in {rooms} uses {what}"


# These rules see what they should -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("importer", "found", "allowed"),
    [
        ("web", "pipeline", True),
        ("web", "web", True),
        ("web", "app", False),
        ("pipeline", "live", False),
        ("live", "pipeline", False),
        ("signals", "config", False),
        ("pipeline", "cli", False),
        ("web", "something new", False),
        ("cli", "app", True),
        ("stack", "sender", True),
    ],
)
def test_who_may_import_whom(importer: str, found: str, *, allowed: bool) -> None:
    assert may_import(importer, found, layers()) is allowed


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import fleetpulse", set()),
        ("from fleetpulse import __version__", set()),
        ("from fleetpulse import catalogue, config", {"catalogue", "config"}),
        ("import fleetpulse.web.body", {"web"}),
        ("def f():\n    from fleetpulse.app import run", {"app"}),
        ("if TYPE_CHECKING:\n    from fleetpulse.live.hub import Hub", {"live"}),
        ("from fleetpulsex import nothing", set()),
    ],
)
def test_imports_are_found_wherever_they_are(source: str, found: set[str]) -> None:
    assert own_imports(ast.parse(source)) == found


@pytest.mark.parametrize(
    ("uses", "source", "found"),
    [
        (uses_aiohttp_web, "from aiohttp import web", True),
        (uses_aiohttp_web, "from aiohttp.web import Request", True),
        (uses_aiohttp_web, "import aiohttp\naiohttp.web.run_app", True),
        (uses_aiohttp_web, "from aiohttp import ClientSession", False),
        (uses_sql, "x = 'SELECT 1'", True),
        (uses_sql, "x = f'''\n  DELETE FROM {t}'''", True),
        (uses_sql, "'''SELECT is a word of this page.'''", False),
        (uses_sql, "x = 'Select one'", False),
        (uses_environment, "import os\nos.environ", True),
        (uses_environment, "from os import environ", True),
        (uses_environment, "import os\nos.getenv('x')", True),
        (uses_environment, "import os\nos.path", False),
        (picks_from_environment, "import os\nos.environ['x']", True),
        (picks_from_environment, "import os\nos.environ.get('x')", True),
        (picks_from_environment, "import os\nrun(env=os.environ | {'a': 'b'})", False),
        (names_metrics, "x = 'fleetpulse_requests_total'", True),
        (names_metrics, "x = f'sum(fleetpulse_{name})'", True),
        (names_metrics, "'''Exported as `fleetpulse_threshold`.'''", False),
        (names_metrics, "x = 'FLEETPULSE_PORT and __fleetpulse_private'", False),
    ],
)
def test_uses_are_found(uses: Callable[[ast.AST], bool], source: str, *, found: bool) -> None:
    assert uses(ast.parse(source)) is found
