"""The landing page of a real exporter: what it tells whom, and how it looks after itself in a browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.harness import started, wait_for
from tests.web.browser import browse
from tests.web.server import LOG_REQUEST, PINGS, Answer, Server, heartbeat, request_log

from fleetpulse.auth import Role, keys

JSON = {"Accept": "application/json"}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """An exporter that has heard of nothing yet, with no services around it."""
    nowhere = {f"FLEETPULSE_STACK__{name}_PORT": "1" for name in ("GRAFANA", "PROMETHEUS", "ALERTMANAGER")}
    yield from started(Server(tmp_path / "fresh", **nowhere))


def page(server: Server, **headers: str) -> str:
    answer = server.ask("/", **headers)
    assert (answer.status, answer.headers.get_content_type()) == (200, "text/html"), answer
    return answer.body.decode()


def told(server: Server) -> Answer:
    answer = server.send("GET", "/", headers=JSON)
    assert (answer.status, answer.headers.get_content_type()) == (200, "application/json")
    return answer


def test_it_leads_on(server: Server) -> None:
    links = set(re.findall(r'href="([^"]+)"', page(server)))
    assert {"/docs", "/openapi.json", "/metrics", "/health", "/live", "/asyncapi.yaml"} <= links
    assert {"http://127.0.0.1:9090", "http://127.0.0.1:9093", "http://127.0.0.1:3000"} <= links
    for link in links:
        if link.startswith("/") and "/report/" not in link:
            assert server.ask(link.partition("#")[0].replace("&amp;", "&")).status == 200, link


def test_it_begins_with_first_steps_until_something_is_reported(fresh: Server) -> None:
    assert "First steps" in page(fresh)
    assert fresh.give(LOG_REQUEST, request_log()).status == 202
    wait_for(lambda: "First steps" not in page(fresh))


def test_the_first_steps_work_as_they_are_shown(fresh: Server) -> None:
    command = re.search(r'<pre id="first-log">(.*?)</pre>', page(fresh), re.DOTALL)
    assert command is not None
    assert f"{fresh.url}/api/log-request" in command[1]
    sent = re.search(r"-d &#39;(.*)&#39;|-d '(.*)'", command[1], re.DOTALL)
    assert sent is not None
    assert fresh.give(LOG_REQUEST, (sent[1] or sent[2]).replace("&#34;", '"').encode()).json["accepted"] == 1


def test_numbers_are_what_was_reported(fresh: Server) -> None:
    assert fresh.give(LOG_REQUEST, [request_log(cost=1.25), request_log(cost=7.0)]).json["accepted"] == 2
    beats = [heartbeat(agent_id="a"), heartbeat(agent_id="b", status="offline")]
    assert fresh.give(PINGS, beats).json["accepted"] == 2
    figures = wait_for(lambda: (it := told(fresh).json["figures"])["requests_stored"] and it)
    assert (figures["requests_stored"], figures["agents"], figures["agents_online"]) == (2, 2, 1)
    budget = {"name": "daily", "period": "day", "limit_usd": 10.0, "spent_usd": 8.25, "state": "warning"}
    assert figures["budgets"] == [budget]
    assert "$8.25" in page(fresh)
    assert "over 80 %" in page(fresh)


def test_what_is_down_is_said_to_be(fresh: Server) -> None:
    states = wait_for(lambda: (it := told(fresh).json["services"])[0]["state"] != "checking" and it)
    assert {service["name"]: service["state"] for service in states} == dict.fromkeys(
        ("Grafana", "Prometheus", "Alertmanager"), "down"
    )
    assert told(fresh).json["figures"]["firing_alerts"] is None


def test_it_speaks_chinese_to_who_prefers_it(server: Server) -> None:
    assert '<html lang="zh-CN">' in page(server, Accept_Language="zh-CN,zh;q=0.9,en;q=0.8")
    assert '<html lang="en">' in page(server, Accept_Language="fr")
    answer = server.ask("/", Accept_Language="zh")
    assert {"Accept", "Accept-Language"} <= {name.strip() for name in answer.headers["Vary"].split(",")}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/html"),
        ("*/*", "text/html"),
        ("text/html,application/xhtml+xml,application/json;q=0.9", "text/html"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/json;q=1", "application/json"),
    ],
)
def test_the_form_is_the_one_that_is_asked_for(server: Server, accept: str, kind: str) -> None:
    assert server.ask("/", Accept=accept).headers.get_content_type() == kind


def test_numbers_are_for_who_needs_no_credentials_only(tmp_path: Path) -> None:
    secured = Server(tmp_path)
    keys.create(secured.data_dir / "app-keys.json", name="tests", role=Role.ADMIN, pool_id=None)
    for server in started(secured):
        answer = told(server).json
        assert answer["figures"] is None
        assert [service["name"] for service in answer["services"]] == ["Grafana", "Prometheus", "Alertmanager"]
        assert "$" not in page(server)


def test_numbers_are_not_for_pages_of_other_names(server: Server) -> None:
    """A name that is made to lead here must not let the page behind it read what loopback may."""
    answer = server.send("GET", "/", headers=JSON | {"Host": "rebound.example"})
    assert (answer.status, answer.json["figures"]) == (200, None)


@pytest.mark.parametrize("host", ["x';rm -rf ~;'", "<script>", "a b", "$(id)", "x" * 300])
def test_nothing_of_a_strange_host_is_in_a_command(server: Server, host: str) -> None:
    answer = server.send("GET", "/", headers={"Host": host})
    assert answer.status in (200, 400)
    assert host.encode() not in answer.body


def test_nothing_runs_but_own_files(server: Server) -> None:
    assert "default-src 'none'" in server.ask("/").headers["Content-Security-Policy"]
    assert re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page(server)) is None


@pytest.mark.parametrize("dark", [False, True])
def test_it_keeps_itself_fresh_in_a_browser(fresh: Server, tmp_path: Path, dark: bool) -> None:  # noqa: FBT001
    with browse(tmp_path) as tab:
        tab.screen(360, 740, dark=dark)
        tab.open(f"{fresh.url}/")
        tab.until("document.readyState === 'complete' && !!document.getElementById('figure-requests')")
        assert tab.evaluate("document.querySelector('#figure-requests .number').textContent.trim()") == "0"
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        assert tab.evaluate("getComputedStyle(document.getElementById('lost')).display") == "none"
        tab.evaluate("window.stillTheSamePage = true")
        assert fresh.give(LOG_REQUEST, [request_log(cost=0.5) for _ in range(3)]).json["accepted"] == 3
        tab.until("document.querySelector('#figure-requests .number').textContent.trim() === '3'")
        assert tab.evaluate("document.getElementById('first').textContent.trim()") == ""
        assert tab.evaluate("window.stillTheSamePage") is True
        assert (tab.complaints, tab.other_hosts(fresh.url)) == ([], set())
        fresh.terminate()
        tab.until("getComputedStyle(document.getElementById('lost')).display !== 'none'")
        fresh.start()
        tab.until("getComputedStyle(document.getElementById('lost')).display === 'none'")
