"""`/api/alerts`: pages of what changed, from the journal, and what fires, from a real Alertmanager."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.system.harness import Program, clean_environment, free_port, post, started, wait_for
from tests.tools import need_tool, run
from tests.web.server import WEBHOOK, Server

CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A real one, with nobody to tell."""
    folder, port = tmp_path_factory.mktemp("alertmanager"), free_port()
    (folder / "alertmanager.yml").write_text(CONFIG)
    command = [
        str(need_tool("alertmanager")),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    url = f"http://127.0.0.1:{port}/-/ready"
    yield from started(Program("Alertmanager", command, url, folder / "log", clean_environment()))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, alertmanager: Program) -> Iterator[Server]:
    """An exporter that has heard of ten changes: A fired, B fired, A was resolved, and so on."""
    url = {"FLEETPULSE_STACK__ALERTMANAGER_INTERNAL_URL": base(alertmanager)}
    for server in started(Server(tmp_path_factory.mktemp("server"), **url)):
        for number in range(10):
            assert server.give(WEBHOOK, {"alerts": [change(number)]}).status == 202
        yield server


def base(alertmanager: Program) -> str:
    return alertmanager._ready_url.removesuffix("/-/ready")  # noqa: SLF001 - the harness has no other name for it


def change(number: int) -> dict[str, Any]:
    return {
        "status": "resolved" if number % 4 >= 2 else "firing",
        "labels": {"alertname": "AB"[number % 2], "severity": "warning"},
        "annotations": {"summary": f"change {number}"},
        "startsAt": f"2025-01-07T10:{number // 4:02}:00Z",
        "endsAt": "2025-01-07T11:00:00Z" if number % 4 >= 2 else "0001-01-01T00:00:00Z",
        "fingerprint": "AB"[number % 2],
    }


def alerts(server: Server, query: str) -> dict[str, Any]:
    answer = server.ask(f"/api/alerts?{query}")
    assert answer.status == 200, answer
    document: dict[str, Any] = answer.json
    return document


def summaries(server: Server, query: str) -> list[int]:
    """The changes of all pages, by number."""
    found: list[int] = []
    cursor = ""
    while True:
        page = alerts(server, f"firing=false&{query}&cursor={cursor}")
        assert page["firing"] is None
        found += [int(each["summary"].removeprefix("change ")) for each in page["recent"]]
        if page["next_cursor"] is None:
            return found
        cursor = page["next_cursor"]


@pytest.mark.parametrize("limit", [1, 3, 10, 1_000])
def test_pages_are_the_whole_newest_first(server: Server, limit: int) -> None:
    assert summaries(server, f"limit={limit}") == list(range(9, -1, -1))


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("status=firing", [9, 8, 5, 4, 1, 0]),
        ("status=resolved", [7, 6, 3, 2]),
        ("alertname=A", [8, 6, 4, 2, 0]),
        ("alertname=A&status=resolved", [6, 2]),
        ("alertname=C", []),
    ],
)
def test_filters_hold_over_pages(server: Server, query: str, numbers: list[int]) -> None:
    assert summaries(server, f"{query}&limit=2") == numbers


def test_a_page_goes_on_where_the_last_one_ended_whatever_comes_meanwhile(server: Server) -> None:
    first = alerts(server, "firing=false&alertname=A&limit=2")
    late = change(0) | {"startsAt": "2025-01-08T10:00:00Z", "annotations": {"summary": "change 10"}}
    late["labels"] = {"alertname": "late"}
    assert server.give(WEBHOOK, {"alerts": [late]}).status == 202
    second = alerts(server, f"firing=false&alertname=A&limit=2&cursor={first['next_cursor']}")
    assert [each["summary"] for each in second["recent"]] == ["change 4", "change 2"]


def test_what_fires_now_with_silences(server: Server, alertmanager: Program) -> None:
    now = datetime.now(UTC)
    arguments = ["alert", "add", "severity=critical", f"--alertmanager.url={base(alertmanager)}"]
    for name in "XY":
        run("amtool", *arguments, f"alertname={name}", f"--annotation=summary={name}")
    silence = {
        "matchers": [{"name": "alertname", "value": "Y", "isRegex": False}],
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "tests",
        "comment": "a trial",
    }
    silence_id = post(f"{base(alertmanager)}/api/v2/silences", silence)[1]["silenceID"]

    def settled() -> dict[str, Any] | None:
        found = {each["alertname"]: each for each in alerts(server, "limit=1")["firing"]}
        return found if found.get("Y", {}).get("state") == "suppressed" else None

    found = wait_for(settled, what="Y to be silenced")
    assert set(found) == {"X", "Y"}
    assert (found["X"]["state"], found["X"]["silenced_by"]) == ("active", [])
    assert found["Y"]["silenced_by"] == [silence_id]
    assert found["X"]["summary"] == "X"
    assert found["X"]["severity"] == "critical"
    assert [each["alertname"] for each in alerts(server, "alertname=X")["firing"]] == ["X"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("cursor=x", "cursor"),
        ("cursor=-1", "cursor"),
        ("cursor=" + "9" * 19, "cursor"),
        ("limit=0", "limit"),
        ("status=active", "status"),
        ("firing=maybe", "firing"),
        ("alertname=", "alertname"),
        ("x=1", "x"),
    ],
)
def test_what_cannot_be_asked_is_named(server: Server, query: str, name: str) -> None:
    problem = server.ask(f"/api/alerts?{query}").problem(422, "invalid-input")
    assert [error["loc"] for error in problem["errors"]] == [["query", name]]


def test_without_alertmanager_what_changed_can_still_be_read(tmp_path: Path) -> None:
    away = {"FLEETPULSE_STACK__ALERTMANAGER_PORT": str(free_port())}
    for server in started(Server(tmp_path, **away)):
        assert server.give(WEBHOOK, {"alerts": [change(0)]}).status == 202
        detail = server.ask("/api/alerts").problem(503, "upstream")["detail"]
        assert detail == "Alertmanager: cannot be reached (Connection refused)"
        assert summaries(server, "limit=1") == [0]
