"""`live.js` in a real page: a site that serves it, and what the page's own list says it got."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.system.harness import Exporter, wait_for
from tests.web.browser import Tab, browse
from tests.web.server import request_log

# A feed whose waits are short and known, and a list of all that it got.
BEGIN = """(async () => {
  const { LiveFeed } = await import("/static/live.js");
  window.got = [];
  window.feed = new LiveFeed(location.origin, { firstDelay: 20, longestDelay: 200, ...OPTIONS });
  feed.addEventListener("message", ({ detail }) => got.push(detail));
  feed.addEventListener("end", ({ detail }) => { window.ended = `${detail?.code} ${detail?.message}`; });
})()"""


class Listener:
    """`live.js` in a tab."""

    def __init__(self, tab: Tab, url: str) -> None:
        self.tab = tab
        self._url = url

    def begin(self, options: str = "{}") -> None:
        """Loads a page of the exporter and starts a feed there; `options` are a script's expression."""
        self.tab.open(f"{self._url}/live")
        self.tab.until("document.body?.dataset.state === 'ready'")
        self.tab.evaluate(BEGIN.replace("OPTIONS", options))

    def got(self, kind: str = "") -> list[dict[str, Any]]:
        """What came so far, of a type."""
        wanted = f"got.filter((each) => each.type === {json.dumps(kind)})" if kind else "got"
        return json.loads(self.tab.evaluate(f"JSON.stringify({wanted})"))  # type: ignore[no-any-return]

    def wait(self, expression: str) -> None:
        """Waits until a script's expression is true."""
        wait_for(lambda: self.tab.evaluate(f"!!({expression})"), what=expression)

    def count(self, kind: str) -> int:
        """How many of a type came so far."""
        return int(self.tab.evaluate(f"got.filter((each) => each.type === {json.dumps(kind)}).length"))


@contextmanager
def listening(folder: Path, url: str) -> Iterator[Listener]:
    """A browser of its own with a page of the exporter."""
    with browse(folder) as tab:
        yield Listener(tab, url)


def publish(exporter: Exporter, numbers: range) -> None:
    """Stores a request log for each number, in one call; `command` holds the number."""
    status, answer = exporter.post("/api/log-request", [request_log(command=str(number)) for number in numbers])
    assert (status, answer["accepted"]) == (202, len(numbers)), answer
