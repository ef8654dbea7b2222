"""`live.js` and its page in a real browser against a real exporter; and its types."""

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from tests.system.harness import Exporter, started
from tests.tools import ROOT, need_tool
from tests.web.live_pages import Listener, listening, publish
from tests.web.server import Server

STATIC = ROOT / "exporter/fleetpulse/web/static"
SECRET = "a secret of thirty-two bytes or more"  # noqa: S105 - of this test


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    """An exporter of the test's own."""
    yield from started(Exporter(tmp_path / "exporter"))


@pytest.fixture
def page(exporter: Exporter, tmp_path: Path) -> Iterator[Listener]:
    """A page with a feed, subscribed to the requests."""
    with listening(tmp_path, exporter.url) as it:
        it.begin()
        it.tab.evaluate("feed.subscribe('requests')")
        it.wait("got.some((each) => each.type === 'subscribed')")
        yield it


def numbers(page: Listener) -> list[int]:
    return [int(event["data"]["command"]) for event in page.got("event")]


def test_cuts_at_random_by_the_page_lose_and_repeat_nothing(page: Listener, exporter: Exporter) -> None:
    chance = random.Random(3)
    total = 0
    for _ in range(60):
        size = chance.randrange(1, 20)
        publish(exporter, range(total, total + size))
        total += size
        page.tab.evaluate("feed.cut()")
        if chance.random() < 0.5:  # else the next cut falls into the wait, or the handshake
            page.wait(f"got.filter((each) => each.type === 'subscribed').length > {page.count('subscribed')}")
    page.wait(f"got.filter((each) => each.type === 'event').length >= {total}")
    assert numbers(page) == list(range(total))
    assert page.got("gap") == []
    answers = page.got("subscribed")
    assert len(answers) > 10
    assert all(answer["recovered"] for answer in answers[1:])
    ((epoch, offset),) = page.tab.evaluate("feed.positions")["requests"].items()
    assert (epoch, offset) == (answers[-1]["epoch"], total)


def test_a_restart_of_the_server_is_resumed(page: Listener, exporter: Exporter) -> None:
    publish(exporter, range(5))
    page.wait("got.filter((each) => each.type === 'event').length === 5")
    exporter.terminate()
    page.wait("got.at(-1).type === 'state' && got.at(-1).state === 'waiting'")
    exporter.start()
    publish(exporter, range(5, 10))
    page.wait("got.filter((each) => each.type === 'event').length >= 10")
    exporter.kill()
    exporter.start()
    publish(exporter, range(10, 15))
    page.wait("got.filter((each) => each.type === 'event').length >= 15")
    assert numbers(page) == list(range(15))
    assert page.got("gap") == []
    assert all(answer["recovered"] for answer in page.got("subscribed")[1:])


def test_an_eviction_is_resumed(tmp_path: Path) -> None:
    server = Server(tmp_path / "exporter", FLEETPULSE_LIVE__MESSAGES_PER_SECOND="5")
    for exporter in started(server):
        with listening(tmp_path, exporter.url) as page:
            page.begin()
            page.tab.evaluate("feed.subscribe('requests')")
            page.wait("got.some((each) => each.type === 'subscribed')")
            publish(exporter, range(3))
            chatter = "for (let n = 0; n < 20; n++) { feed.subscribe('alerts'); feed.unsubscribe('alerts'); }"
            page.tab.evaluate(chatter)
            page.wait("got.some((each) => each.state === 'waiting' && each.detail.includes('4429'))")
            publish(exporter, range(3, 6))
            page.wait("got.filter((each) => each.type === 'event').length >= 6")
            assert numbers(page) == list(range(6))
            assert page.got("gap") == []


def test_a_reloaded_page_goes_on_where_the_last_one_stood(page: Listener, exporter: Exporter) -> None:
    publish(exporter, range(3))
    page.wait("got.filter((each) => each.type === 'event').length === 3")
    page.tab.evaluate("sessionStorage.setItem('kept', JSON.stringify(feed.positions))")
    page.tab.evaluate("feed.close()")
    publish(exporter, range(3, 6))
    page.begin("{ positions: JSON.parse(sessionStorage.getItem('kept')) }")
    page.tab.evaluate("feed.subscribe('requests')")
    page.wait("got.filter((each) => each.type === 'event').length >= 3")
    assert numbers(page) == [3, 4, 5]


def test_filters_iteration_and_unknown_topics(page: Listener, exporter: Exporter) -> None:
    script = """(async () => {
      feed.subscribe('requests', { command: ['7', '8'] });
      feed.subscribe('nonsense');
      const seen = [];
      for await (const message of feed) {
        seen.push(message);
        if (message.type === 'event') return JSON.stringify(seen);
      }
    })()"""
    page.tab.evaluate(f"window.seen = {script}; 0")
    page.wait("got.some((each) => each.type === 'error')")
    page.wait("got.filter((each) => each.type === 'subscribed').length === 2")
    publish(exporter, range(10))
    assert '"command":"7"' in page.tab.evaluate("seen")
    (error,) = page.got("error")
    assert (error["topic"], error["code"]) == ("nonsense", "not-found")
    assert page.tab.evaluate("feed.topics") == ["requests"]
    page.wait("got.filter((each) => each.type === 'event').length === 2")
    assert numbers(page) == [7, 8]


def test_state_topics_begin_whole(page: Listener, exporter: Exporter) -> None:
    assert exporter.post("/api/v1/agents/a-1/ping", {"status": "busy", "cpu_usage": 1, "memory_usage": 2})[0] < 300
    page.tab.evaluate("feed.subscribe('agents/*')")
    page.wait("got.some((each) => each.type === 'snapshot' && each.data.length === 1)")
    assert exporter.post("/api/v1/agents/a-1/ping", {"status": "busy", "cpu_usage": 9, "memory_usage": 2})[0] < 300
    page.wait("got.some((each) => each.type === 'update' && each.data.cpu_usage === 9)")
    assert set(page.tab.evaluate("feed.positions")) == {"requests"}


def token(seconds: float) -> str:
    claims = {"sub": "u", "aud": "fleetpulse", "roles": ["viewer"], "exp": int(time.time() + seconds)}
    return jwt.encode(claims, SECRET, "HS256")


def test_tokens_are_fetched_anew_and_a_wrong_one_ends_the_feed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    server = Server(tmp_path / "exporter", FLEETPULSE_AUTH__JWT_SECRET_FILE=str(secret))
    for exporter in started(server):
        with listening(tmp_path, exporter.url) as page:
            page.begin(
                f"{{ token: (() => {{ const all = ['no', '{token(900)}']; return () => all.shift(); }})() }}"
            )
            page.tab.evaluate("feed.subscribe('requests')")
            page.wait("got.some((each) => each.type === 'subscribed')")
            page.begin("{ token: 'nonsense' }")
            page.wait("window.ended?.startsWith('4401')")
            page.begin("{ token: () => 'nonsense' }")
            page.wait("window.ended?.startsWith('4401')")


def test_the_page_shows_topics_messages_and_cuts(exporter: Exporter, tmp_path: Path) -> None:
    with listening(tmp_path, exporter.url) as it:
        tab = it.tab
        tab.screen(400, 800)
        tab.open(f"{exporter.url}/live")
        tab.until("document.body?.dataset.state === 'ready'")
        subscribe = "document.getElementById('topic').value = '{}'; document.getElementById('add').requestSubmit()"
        tab.evaluate(subscribe.format("requests"))
        row = "document.querySelector('[data-topic=requests]')"
        tab.until("document.getElementById('state').textContent === 'connected'")
        tab.until(f"{row}.dataset.recovered === 'false'")
        publish(exporter, range(3))
        tab.until(f"{row}.cells[2].textContent === '3'")
        tab.evaluate("document.getElementById('cut').click()")
        publish(exporter, range(3, 5))
        tab.until(f"{row}.cells[2].textContent === '5'")
        assert tab.evaluate("document.getElementById('connections').textContent") == "2"
        assert tab.evaluate(f"{row}.dataset.recovered") == "true"
        assert tab.evaluate(f"{row}.cells[4].textContent.split(' ')[1]") == "5"
        assert tab.evaluate("document.querySelectorAll('#messages li.event').length") == 5
        tab.evaluate(subscribe.format("nonsense"))
        tab.until("!document.getElementById('problem').hidden")
        tab.evaluate(f"{row}.querySelector('button').click()")
        tab.until(f"!{row}")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400
        assert (tab.complaints, tab.other_hosts(exporter.url)) == ([], set())


def test_it_works_in_node(exporter: Exporter, tmp_path: Path) -> None:
    program = tmp_path / "program.mjs"
    program.write_text(
        f"""import {{ LiveFeed }} from "{(STATIC / "live.js").as_uri()}";
        const feed = new LiveFeed("{exporter.url}", {{ firstDelay: 20 }});
        feed.subscribe("requests");
        let count = 0;
        for await (const message of feed) {{
          if (message.type === "subscribed") console.log("ready");
          if (message.type !== "event") continue;
          console.log(message.data.command);
          if (++count === 3) feed.cut();
          if (count === 6) break;
        }}
        feed.close();"""
    )
    command = [str(need_tool("node")), "--experimental-websocket", str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if (line := process.stdout.readline()) != "ready\n":
            said = process.stderr.read()
            pytest.skip("this node knows no WebSocket") if "WebSocket is not defined" in said else pytest.fail(
                line + said
            )
        publish(exporter, range(6))
        assert [line for line in process.stdout.read().split() if line != "ready"] == list("012345")
        assert process.wait(30) == 0


def test_its_types_hold(tmp_path: Path) -> None:
    compiler = shutil.which("tsc")
    if compiler is None:
        pytest.skip("tsc (TypeScript) is not on PATH; install it to check live.d.ts")
    for name in ("live.js", "live.d.ts"):
        shutil.copy(STATIC / name, tmp_path)
    (tmp_path / "use.ts").write_text(
        """import { LiveFeed, type Message, type Positions } from "./live.js";
        const feed = new LiveFeed("http://127.0.0.1:8001", { token: async () => "t", positions: { r: { e: 1 } } });
        feed.subscribe("requests", { status: ["error", "timeout"], n: 1 });
        feed.addEventListener("gap", ({ detail }) => { const lost: number = detail.to - detail.from; void lost; });
        export async function read(): Promise<Positions> {
          for await (const message of feed) show(message);
          return feed.positions;
        }
        function show(message: Message): string {
          return message.type === "event" ? `${message.epoch} ${message.offset}` : message.type;
        }
        // @ts-expect-error - a topic is a text
        feed.subscribe(5);
        // @ts-expect-error - there is no such option
        new LiveFeed("http://127.0.0.1:8001", { tokn: "t" });
        """
    )
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"]
    done = subprocess.run([compiler, *options, "use.ts"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
