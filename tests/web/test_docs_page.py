"""`/docs` in a real browser without internet: it shows the whole API, and what one tries there is really sent."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.harness import started
from tests.web.browser import Tab, browse
from tests.web.server import Server

from fleetpulse.auth import Role, keys

LOG = "ingest.log_request"
ENTER = ("Enter", 13)


@pytest.fixture
def tab(server: Server, tmp_path: Path) -> Iterator[Tab]:
    """The page, loaded. However a test goes on, nothing may have been complained about or asked of another host."""
    with browse(tmp_path) as it:
        loaded(it, server)
        yield it
        assert it.complaints == []
        assert it.other_hosts(server.url) == set()


def loaded(tab: Tab, server: Server, anchor: str = "") -> None:
    tab.open(f"{server.url}/docs{anchor}")
    tab.until("document.body?.dataset.state === 'ready'")


def opened(tab: Tab, operation: str) -> str:
    """Opens an operation; the script's name of its element."""
    element = f"document.getElementById('{operation}')"
    tab.evaluate(f"{element}.open = true")
    tab.until(f"!!{element}.querySelector('form.try')")
    return element


def sent(tab: Tab, element: str) -> tuple[str, str]:
    """Presses the form's button; the status and the body that are shown then."""
    tab.evaluate(f"{element}.querySelector('.result').replaceChildren()")
    tab.evaluate(f"{element}.querySelector('form.try').requestSubmit()")
    status = tab.until(f"{element}.querySelector('.result .status')?.textContent")
    return status, tab.evaluate(f"{element}.querySelector('.answer-body').textContent")


def test_it_shows_every_operation(tab: Tab, server: Server) -> None:
    document = server.ask("/openapi.json").json
    ids = {operation["operationId"] for methods in document["paths"].values() for operation in methods.values()}
    shown = tab.evaluate("[...document.querySelectorAll('details.operation')].map((each) => each.id)")
    assert len(shown) == len(ids)
    assert set(shown) == ids
    assert tab.evaluate("document.querySelectorAll('nav li').length") == len(ids)
    for operation in ids:
        opened(tab, operation)
    assert "[object" not in tab.evaluate("document.body.innerText")
    assert "undefined" not in tab.evaluate("document.body.innerText")


def test_an_address_with_an_operation_opens_it(server: Server, tmp_path: Path) -> None:
    with browse(tmp_path) as tab:
        loaded(tab, server, f"#{LOG}")
        tab.until(f"document.getElementById('{LOG}').open")


def test_a_tried_request_is_stored(tab: Tab, server: Server) -> None:
    before = server.counted("request")
    status, body = sent(tab, opened(tab, LOG))
    assert status.startswith("202")
    told = json.loads(body)
    after = server.counted("request")
    assert told["accepted"] + told["duplicates"] == 1
    assert after["stored"] - before["stored"] == told["accepted"]


def test_parameters_are_sent_where_they_belong(tab: Tab) -> None:
    element = opened(tab, "agent.pools")
    tab.evaluate(f"{element}.querySelector('input[name=limit]').value = '0'")
    status, body = sent(tab, element)
    assert status.startswith("422")
    assert json.loads(body)["errors"][0]["loc"] == ["query", "limit"]
    tab.complaints.clear()  # chromium notes every answer that is an error


def test_its_curl_command_does_the_same(tab: Tab, server: Server) -> None:
    element = opened(tab, "ingest.ping")
    name = """a"b's {c}/%"""
    script = f"""{{
        const input = {element}.querySelector('input[name=agent_id]');
        input.value = {json.dumps(name)};
        input.dispatchEvent(new Event('input', {{bubbles: true}}));
    }}"""
    tab.evaluate(script)
    command = tab.evaluate(f"{element}.querySelector('form.try .copy pre').textContent")
    done = subprocess.run(["bash", "-c", f"{command} --silent"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"accepted": 1}
    agents = server.ask("/api/v1/agent-pools/default/agents?limit=1000").json["agents"]
    assert name in {agent["agent_id"] for agent in agents}


def test_the_live_feed_can_be_listened_to(tab: Tab) -> None:
    element = opened(tab, "live.live")
    tab.evaluate(f"{element}.querySelector('form.try').requestSubmit()")
    tab.until(f"{element}.querySelector('.status')?.textContent === 'connected'")
    tab.evaluate(
        f"[...{element}.querySelectorAll('button')].find((each) => each.textContent === 'Send message').click()"
    )
    tab.until(f"{element}.querySelector('.answer-body').textContent.includes('pong')")
    tab.evaluate(f"{element}.querySelector('form.try').requestSubmit()")
    tab.until(f"{element}.querySelector('.status').textContent.startsWith('closed')")


def test_finding_leaves_what_is_looked_for(tab: Tab) -> None:
    tab.evaluate("document.getElementById('find').focus()")
    tab.call("Input.insertText", text="HEARTBEAT many")
    operations = "[...document.querySelectorAll('details.operation')]"
    shown = f"{operations}.filter((each) => each.offsetParent).map((each) => each.id)"
    assert tab.evaluate(shown) == ["ingest.ping_many"]


def test_it_works_by_keyboard(tab: Tab) -> None:
    tab.evaluate(f"document.getElementById('{LOG}').querySelector('summary').focus()")
    tab.press(*ENTER)
    tab.until(f"!!document.getElementById('{LOG}').querySelector('form.try')")
    unnamed = """[...document.querySelectorAll('input, select, textarea, button')].filter((each) =>
        !each.labels?.length && !each.ariaLabel && !each.textContent.trim()).length"""
    assert tab.evaluate(unnamed) == 0


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone(tab: Tab, dark: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    tab.screen(360, 740, dark=dark)
    opened(tab, LOG)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    colours = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    assert (sum(tab.evaluate(colours)) < 300) is dark


def test_credentials_are_sent_where_they_are_asked_for(tmp_path: Path) -> None:
    secured = Server(tmp_path / "server")
    path = secured.data_dir / "app-keys.json"
    key, secret = keys.create(path, name="tests", role=Role.REPORTER, pool_id=None)
    for server in started(secured):
        with browse(tmp_path) as tab:
            loaded(tab, server)
            element = opened(tab, LOG)
            assert sent(tab, element)[0].startswith("401")
            tab.evaluate(f"document.getElementById('app-key').value = '{key}'")
            tab.evaluate(f"document.getElementById('app-secret').value = '{secret}'")
            tab.evaluate("document.getElementById('app-secret').dispatchEvent(new Event('input', {bubbles: true}))")
            assert sent(tab, element)[0].startswith("202")
            assert secret not in tab.evaluate("document.body.innerText")


def test_only_own_files_may_run_or_be_loaded(server: Server) -> None:
    answer = server.ask("/docs")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page = answer.body.decode()
    assert re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page) is None
    loads = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert [link for link in loads if not link.startswith(("/", "#"))] == []


def test_files_are_sent_once(server: Server) -> None:
    first = server.ask("/static/docs.js")
    assert first.headers["Content-Type"] == "text/javascript; charset=utf-8"
    again = server.ask("/static/docs.js", If_None_Match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    for name in ("docs.html", "nothing.js", "..%2Fdocs.py", "pages.py"):
        server.ask(f"/static/{name}").problem(404, "not-found")
