"""The examples of the page about messages do what the page says, against the messages that it speaks of."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.query.message_rows import fill, message
from tests.system.harness import Exporter, started, wait_for
from tests.system.test_examples import examples, like, run

SINCE = float(int(time.time()) - 60)
URGENT = '{"type": "message", "user": "ann", "text": "重要：请求又超时了"}'
ROWS = [
    message(1, "support", text="Good morning"),
    message(2, "support", text="请求超时了 <again>", session_id="lobby"),
    message(3, "support", text="重要：请求又超时了", raw=URGENT, size=73, session_id="lobby", rules=",urgent,"),
    message(4, "support", text="Good night"),
]


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Exporter]:
    """An exporter that has recorded these messages, a second apart on one connection."""
    exporter = Exporter(tmp_path)
    rows = [
        row._replace(
            message_id=f"support/5e48-1/{number}",
            received_at=SINCE + number,
            clock=number - 1.0,
            connection="5e48-1",
            kind="message",
            user_id="bo" if number == 2 else "ann",
        )
        for number, row in enumerate(ROWS, 1)
    ]
    asyncio.run(fill(exporter.data_dir / "journal.db", rows))
    yield from started(exporter)


def test_the_page_about_messages(recorded: Exporter, tmp_path: Path) -> None:
    wait_for(lambda: recorded.metrics()["fleetpulse_message_search_indexed_rows"] == len(ROWS), what="all indexed")
    shown = list(examples("docs/messages.md"))
    assert len(shown) >= 7
    for example in shown:
        said = run(example.script, recorded, tmp_path)
        assert "urn:fleetpulse:problem:" not in said
        if example.answer is not None:
            assert like(example.answer, json.loads(said)), f"{example.script}\n{said}"
    assert (tmp_path / "support.csv").read_bytes().count(b"\r\n") == len(ROWS) + 1
    assert len((tmp_path / "support.jsonl").read_bytes().splitlines()) == len(ROWS)
    (entry,) = json.loads((tmp_path / "support.har").read_text("utf-8"))["log"]["entries"]
    assert [each["data"] for each in entry["_webSocketMessages"]][2] == URGENT
