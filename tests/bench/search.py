"""Search and export over a million requests, against reading every row, in the same run.

Claim: the first page of a Chinese substring of two or three characters and of an English word comes in under 200 ms
over HTTP, be it common, rare or absent, with a filter or without; an export of the million adds less than 100 MiB
to the exporter's memory. Indexing runs beside ingest and leaves it most of its rate.

    python tests/bench/search.py [ROWS] [FOLDER]

FOLDER keeps the journal and the index for another run.
"""

import random
import statistics
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
from load import drive, exporter, post, report

from fleetpulse.journal.rows import REQUESTS, RequestRow, insert_new
from fleetpulse.journal.schema import open_reader, open_writer

ROWS = 1_000_000
TIMES = 9
BATCH = 1_000
INGEST_ROUNDS = 3
BATCHES = 60
CONNECTIONS = 8
CHARACTERS = [chr(0x4E00 + number) for number in range(2_500)]
SYLLABLES = (
    "ka",
    "lo",
    "mi",
    "ten",
    "ser",
    "pro",
    "con",
    "de",
    "ing",
    "tion",
    "er",
    "al",
    "is",
    "ra",
    "ve",
    "port",
)
ERRORS = ("upstream timed out", "429 Too Many Requests", "连接超时", "余额不足")
MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4", "deepseek-chat", "qwen-max", None)
RARE = "饕餮盛宴 zanzibar"  # once in the million; its characters are none of CHARACTERS


class Language:
    """Commands of Chinese and English words that are as uneven as words are: the n-th is 1/n as frequent."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.chinese = ["".join(self.uneven(CHARACTERS, rng.choice((1, 2, 2, 2, 3)))) for _ in range(8_000)]
        self.english = ["".join(rng.choices(SYLLABLES, k=rng.choice((1, 2, 2, 3)))) for _ in range(8_000)]
        self.commands = [self._command() for _ in range(100_000)]

    def uneven(self, items: list[str], count: int) -> list[str]:
        """So many of some items."""
        return self._rng.choices(items, [1 / place for place in range(1, len(items) + 1)], k=count)

    def _command(self) -> str:
        kind = self._rng.random()
        if kind < 0.45:
            return "".join(self.uneven(self.chinese, self._rng.randrange(3, 25)))
        if kind < 0.8:
            return " ".join(self.uneven(self.english, self._rng.randrange(3, 25)))
        words = self.uneven(self.english, self._rng.randrange(2, 8))
        return f"{''.join(self.uneven(self.chinese, self._rng.randrange(2, 9)))} {' '.join(words)}"


def fill(folder: Path, rows: int) -> None:
    """Makes a journal of so many requests, where there is none."""
    if (folder / "journal.db").exists():
        return
    rng = random.Random(7)
    language = Language(rng)
    with closing(open_writer(folder / "journal.db", "normal")) as connection:
        for first in range(0, rows, BATCH):
            connection.execute("BEGIN")
            insert_new(connection, REQUESTS, [row(rng, language, n, rows) for n in range(first, first + BATCH)])
            connection.execute("COMMIT")


def row(rng: random.Random, language: Language, number: int, rows: int) -> RequestRow:
    """One request."""
    failed = rng.random() < 0.05
    command = rng.choice(language.commands)
    return RequestRow(
        request_id=str(uuid.UUID(int=rng.getrandbits(128))),
        received_at=time.time() - rows + number,
        timestamp=None,
        source=rng.choice(("telegram", "discord", "wechat", "web")),
        user_id=f"user_{rng.randrange(20_000)}",
        command=f"{command} {RARE}" if number == rows // 50 else command,
        status=rng.choice(("error", "timeout")) if failed else "success",
        model=rng.choice(MODELS),
        provider=None,
        execution_time=rng.random() * 7,
        tokens_used=1_500,
        input_tokens=1_000,
        output_tokens=500,
        cached_tokens=None,
        cost=rng.random() / 100,
        cost_source="reported",
        error=rng.choice(ERRORS) if failed else None,
        session_id=f"s-{rng.randrange(100_000)}",
        trace_id=None,
        metadata='{"chat": "group", "v": 3}' if rng.random() < 0.3 else None,
    )


def searches(folder: Path) -> dict[str, dict[str, str]]:
    """What is searched for, by a name: common things are taken from the rows."""
    with closing(open_reader(folder / "journal.db")) as reader:
        some = " ".join(
            text for (text,) in reader.execute("SELECT command FROM requests ORDER BY id DESC LIMIT 9999")
        )
    pairs, triples = pieces(some, 2), pieces(some, 3)
    common = {2: pairs.most_common(1)[0][0], 3: triples.most_common(1)[0][0]}
    most = [pair for pair, _ in pairs.most_common(100)]
    joined = (one + other[1] for one in most for other in most if one[1] == other[0])
    absent = next(each for each in joined if each not in triples)
    word = statistics.mode(word for word in some.split() if word.isascii() and len(word) > 3)
    return {
        "two characters, common": {"q": common[2]},
        "two characters, rare": {"q": RARE[:2]},
        "two characters, absent": {"q": "龘龘"},
        "three characters, common": {"q": common[3]},
        "three characters, rare": {"q": RARE[:3]},
        "three characters, absent, of common pairs": {"q": absent},
        "one character, common": {"q": common[2][0]},
        "word, common": {"q": word},
        "word, rare": {"q": "zanzibar"},
        "word, absent": {"q": "qqqqq"},
        "beginning of a word, common": {"q": word[:1]},
        "two characters and a word": {"q": f"{common[2]} {word}"},
        "two characters, one source": {"q": common[2], "source": "web"},
        "two characters, one user": {"q": common[2], "user_id": "user_77"},
        "word, one user": {"q": word, "user_id": "user_77"},
        "one character, one user": {"q": common[2][0], "user_id": "user_77"},
        "word that failed": {"q": word, "failed": "true"},
        "one user": {"user_id": "user_77"},
        "one status that is not there": {"status": "lost"},
        "newest": {},
    }


def pieces(text: str, size: int) -> Counter[str]:
    """How often each run of so many Chinese characters is there."""
    runs = (text[at : at + size] for at in range(len(text) - size + 1))
    return Counter(run for run in runs if min(run) >= "一")


def get(port: int, path: str) -> bytes:
    """The body of a GET."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as response:
        body: bytes = response.read()
        return body


def page(port: int, query: dict[str, str]) -> tuple[float, int]:
    """Seconds of the first page, and how many requests are on it."""
    began = time.perf_counter()
    document = orjson.loads(get(port, f"/api/requests?{urllib.parse.urlencode(query)}"))
    return time.perf_counter() - began, len(document["requests"])


def metric(port: int, name: str) -> float:
    """One sample of /metrics."""
    text = get(port, "/metrics").decode()
    return float(text.split(f"\n{name} ")[1].split()[0])


def memory(port: int) -> float:
    """The exporter's memory in MiB."""
    return metric(port, "process_resident_memory_bytes") / 2**20


def index(port: int, rows: int) -> float:
    """Waits until everything is indexed; rows a second."""
    began, done = time.perf_counter(), metric(port, "fleetpulse_search_indexed_rows")
    while metric(port, "fleetpulse_search_indexed_rows") < rows:
        time.sleep(0.25)
    return (rows - done) / (time.perf_counter() - began)


def measure_searches(port: int, sought: dict[str, dict[str, str]]) -> tuple[dict[str, float], float]:
    """Milliseconds of each search's first page, as medians, and the longest single one."""
    medians, longest = {}, 0.0
    for name, query in sought.items():
        times = [page(port, query)[0] * 1_000 for _ in range(TIMES)]
        medians[name] = round(statistics.median(times), 1)
        longest = max(longest, *times)
    return medians, longest


def reading_every_row(folder: Path, sought: str) -> float:
    """Milliseconds of the plain way to look for a text: LIKE over the same rows."""
    with closing(open_reader(folder / "journal.db")) as reader:
        began = time.perf_counter()
        reader.execute(
            "SELECT * FROM requests WHERE command LIKE ?1 OR error LIKE ?1 ORDER BY id DESC LIMIT 50",
            (f"%{sought}%",),
        ).fetchall()
        return (time.perf_counter() - began) * 1_000


def export(port: int) -> tuple[float, int, float]:
    """Seconds, rows, and the exporter's largest memory meanwhile in MiB."""
    began, rows, most, looked = time.perf_counter(), 0, 0.0, 0.0
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/api/requests/export?format=jsonl", timeout=120
    ) as response:
        while piece := response.read(2**20):
            rows += piece.count(b"\n")
            if time.perf_counter() - looked > 0.5:
                looked = time.perf_counter()
                most = max(most, memory(port))
    return time.perf_counter() - began, rows, most


def log(number: int) -> dict[str, Any]:
    """One request log as programs send it."""
    return {
        "request_id": uuid.uuid4().hex,
        "source": "web",
        "user_id": f"user_{number % 100}",
        "command": "帮我查一下今天的天气 please",
        "status": "success",
        "execution_time": 0.5,
        "model": "gpt-4o",
        "cost": 0.0003,
    }


def ingest(**settings: str) -> float:
    """Rows a second, with an index beside or without."""
    with exporter(**settings) as port:
        bodies = [post("/api/log-request", orjson.dumps([log(n) for n in range(BATCH)])) for _ in range(BATCHES)]
        return BATCH * BATCHES / drive(port, bodies, CONNECTIONS)


def beside_ingest() -> Iterator[tuple[float, float]]:
    """Ingest with the index and without, in turns."""
    for _ in range(INGEST_ROUNDS):
        yield ingest(), ingest(FLEETPULSE_SEARCH__INDEX="false")


def main(rows: int, folder: Path) -> None:
    """Prints JSON lines."""
    fill(folder, rows)
    sought = searches(folder)
    with exporter(FLEETPULSE_DATA_DIR=str(folder), FLEETPULSE_JOURNAL__RETENTION_DAYS="10000") as port:
        rate = index(port, rows)
        size = metric(port, "fleetpulse_search_index_size_bytes") / 2**20
        medians, longest = measure_searches(port, sought)
        scan = reading_every_row(folder, RARE[:2])
        before = memory(port)
        seconds, exported, most = export(port)
    worst = max(medians.values())
    report("search", rows=rows, **medians)
    report(
        "search_worst",
        median_ms=worst,
        single_ms=round(longest, 1),
        like_ms=round(scan),
        ratio=round(worst / scan, 4),
    )
    report("search_index", rows_per_second=round(rate), mib=round(size))
    report(
        "export",
        rows=exported,
        rows_per_second=round(exported / seconds),
        memory_before_mib=round(before),
        memory_most_mib=round(most),
        growth_mib=round(most - before),
    )
    pairs = list(beside_ingest())
    report(
        "ingest_beside_search",
        with_index_rows_per_second=round(statistics.median(ours for ours, _ in pairs)),
        without_rows_per_second=round(statistics.median(plain for _, plain in pairs)),
        ratio=round(statistics.median(ours / plain for ours, plain in pairs), 3),
    )


if sys.argv[2:]:
    main(int(sys.argv[1]), Path(sys.argv[2]))
else:
    with tempfile.TemporaryDirectory(prefix="fleetpulse-bench-") as place:
        main(int(sys.argv[1]) if sys.argv[1:] else ROWS, Path(place))
