"""Request logs, as CONTRACT B has them: what is taken, what is refused and why, and that the sums always agree."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.system.harness import wait_for
from tests.web.server import LOG_REQUEST, NDJSON, Answer, Client, Server, new_id, request_log

MAX_INT = 2**53 - 1


def outcome(answer: Answer) -> tuple[int, int, dict[int, list[Any]]]:
    """Accepted, duplicates, and the place of each error of each rejected item by its index."""
    assert answer.status == 202, answer
    assert answer.headers.get_content_type() == "application/json"
    document = answer.json
    assert set(document) == {"accepted", "duplicates", "rejected"}
    rejected = {item["index"]: [error["loc"] for error in item["errors"]] for item in document["rejected"]}
    assert all(error["msg"] for item in document["rejected"] for error in item["errors"])
    return document["accepted"], document["duplicates"], rejected


def stored(server: Server, request_id: str, *columns: str) -> tuple[Any, ...]:
    (row,) = server.journal(f"SELECT {','.join(columns)} FROM requests WHERE request_id = ?", request_id)  # noqa: S608
    return row


def test_a_request_is_stored_as_it_was_told(server: Server) -> None:
    log = request_log(
        source="telegram",
        user_id="小明",
        command="ai:\n你好\t🤖",
        status="Error",
        execution_time=1.25,
        model="gpt-4o",
        provider="openai",
        input_tokens=100,
        cached_tokens=40,
        output_tokens=7,
        tokens_used=120,
        cost=0.125,
        error="line 1\nline 2",
        session_id="s-1",
        trace_id="t-1",
        metadata={"k": ["v", 1, None, {"深": True}]},
        timestamp="2025-01-07T18:30:00.5+08:00",
        unheard_of={"future": "field"},
    )
    assert outcome(server.give(LOG_REQUEST, log)) == (1, 0, {})
    names = ("source", "user_id", "command", "status", "execution_time", "model", "provider", "error", "cost")
    told = tuple(log[name] for name in names)
    assert stored(server, log["request_id"], *names) == (*told[:3], "error", *told[4:])
    tokens = ("input_tokens", "cached_tokens", "output_tokens", "tokens_used")
    assert stored(server, log["request_id"], *tokens) == (100, 40, 7, 120)
    ids_and_time = stored(server, log["request_id"], "session_id", "trace_id", "timestamp")
    assert ids_and_time == ("s-1", "t-1", datetime(2025, 1, 7, 10, 30, 0, 500_000, UTC).timestamp())
    (metadata,) = stored(server, log["request_id"], "metadata")
    assert json.loads(metadata) == log["metadata"]


def test_the_least_that_is_a_request(server: Server) -> None:
    least: dict[str, Any] = {"request_id": new_id(), "source": "s", "status": "ok", "execution_time": 0}
    assert outcome(server.give(LOG_REQUEST, least)) == (1, 0, {})
    assert stored(server, least["request_id"], "user_id", "command", "tokens_used", "cost") == ("", "", 0, None)


SOON = (datetime.now(UTC) + timedelta(hours=20)).isoformat()
GOOD: dict[str, list[Any]] = {
    "request_id": ["a" * 200, "a b", "ключ-🔑", 'q"uo\\te'],
    "source": ["s" * 128, "微信", 'so"urce\\', "{}"],
    "status": ["x" * 64, "rate limited"],
    "execution_time": [0, -0.0, 1e-9, 1_000_000, "1.5"],
    "tokens_used": [0, MAX_INT, 5.0, "7"],
    "input_tokens": [MAX_INT],
    "cost": [0, 1e-12, 1_000_000],
    "timestamp": [
        "2025-01-07",
        "2025-01-07T10:30:00",
        "1970-01-01T00:00:00Z",
        SOON,
        1_736_245_800,
        1_736_245_800_123,
    ],
    "command": ["x" * 8_192, "\t\r\n", "\u2028"],
    "user_id": ["", "u" * 200],
    "metadata": [{}, {"x": "y" * 16_000}, {"n": 2**63 - 1, "f": 1.5e300}],
    "error": ["x" * 8_192],
}


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_good_values(server: Server, field: str, value: Any) -> None:
    assert outcome(server.give(LOG_REQUEST, request_log(tokens_used=None) | {field: value}))[2] == {}


INF, NAN = float("inf"), float("nan")
BAD: dict[str, list[Any]] = {
    "request_id": [None, "", "  ", "a" * 201, 5, ["a"], "a\nb", "a\0b", "a\u2028b", "x\x85x"],
    "source": [None, "", "s" * 129, {}, "a\tb", "a\x7f"],
    "status": [None, "", "x" * 65, True, 200],
    "execution_time": [None, -0.001, 1_000_001, NAN, INF, -INF, "fast", [1], 10**400],
    "tokens_used": [-1, 1.5, MAX_INT + 1, 10**30, NAN, INF, "many", 1e300],
    "cost": [-0.01, NAN, INF, 1_000_001, "free", {}],
    "timestamp": [
        "yesterday",
        "1969-12-31T23:59:59Z",
        "2999-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2025-02-30T00:00:00Z",
        "2025-01-01T25:00:00Z",
        -1,
        1e300,
        NAN,
        [],
    ],
    "command": ["x" * 8_193, "a\0b", 5, None],
    "user_id": ["u" * 201, "a\nb", 5],
    "metadata": [
        [],
        "text",
        {"x": "y" * 17_000},
        {"x": NAN},
        {"x": 10**30},
        {"deep": json.loads("[" * 90 + "]" * 90)} | {"x": INF},
    ],
    "model": ["", "m" * 129],
    "cached_tokens": [11],
    "session_id": ["", "x" * 201],
}


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_values_name_their_field(server: Server, field: str, value: Any) -> None:
    before = server.rows()
    log = request_log(input_tokens=10) | {field: value}
    document = server.give(LOG_REQUEST, log).problem(422, "invalid-input")
    assert {error["loc"][0] for error in document["errors"] if error["loc"]} <= {field}
    assert outcome(server.give(LOG_REQUEST, [log])) == (0, 0, {0: [error["loc"] for error in document["errors"]]})
    assert server.rows() == before


@pytest.mark.parametrize("field", ["request_id", "source", "status", "execution_time"])
def test_a_missing_field_is_named(server: Server, field: str) -> None:
    document = server.give(LOG_REQUEST, request_log(**{field: None})).problem(422, "invalid-input")
    assert [error["loc"] for error in document["errors"]] == [[field]]


POISON = {
    "not a number": b'{"request_id":"x","source":"s","status":"ok","execution_time":NaN}',
    "infinite": b'{"request_id":"x","source":"s","status":"ok","execution_time":-Infinity}',
    "a lone surrogate": b'{"request_id":"\\ud800","source":"s","status":"ok","execution_time":1}',
    "no UTF-8": b'{"request_id":"\xff\xfe","source":"s","status":"ok","execution_time":1}',
    "an endless number": b'{"request_id":"x","source":"s","status":"ok","execution_time":' + b"9" * 10_000 + b"}",
    "deep": b'{"request_id":"x","source":"s","status":"ok","execution_time":1,"metadata":'
    + b'{"a":' * 300
    + b"1"
    + b"}" * 301,
    "no object": b"[1, 2]",
    "nothing": b"null",
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
@pytest.mark.parametrize("lines", [False, True])
def test_one_bad_item_never_rejects_its_batch(server: Server, poison: bytes, *, lines: bool) -> None:
    good = [json.dumps(request_log()).encode() for _ in range(4)]
    items = [good[0], poison, good[1], poison, *good[2:]]
    body = b"\n".join(items) if lines else b"[" + b",".join(items) + b"]"
    accepted, duplicates, rejected = outcome(server.give(LOG_REQUEST, body, NDJSON if lines else {}))
    assert (accepted, duplicates, sorted(rejected)) == (4, 0, [1, 3])


def test_lines_that_only_together_are_json_are_each_judged_alone(server: Server) -> None:
    one, two = json.dumps(request_log()), json.dumps(request_log())
    lines = f"{one},{two}\n{{broken\n{one}".encode()
    accepted, _, rejected = outcome(server.give(LOG_REQUEST, lines, NDJSON))
    assert (accepted, sorted(rejected)) == (1, [0, 1])


def test_errors_are_few_and_never_repeat_what_was_sent(server: Server) -> None:
    bad = dict.fromkeys(request_log(model="", error="", trace_id="", session_id=""), "hunter2 \n" * 2000)
    answer = server.give(LOG_REQUEST, [bad] * 10)
    assert outcome(answer)[:2] == (0, 0)
    assert all(len(item["errors"]) <= 5 for item in answer.json["rejected"])
    assert b"hunter2" not in answer.body
    assert b"hunter2" not in server.give(LOG_REQUEST, bad).body


def test_the_last_of_duplicate_keys_counts(server: Server) -> None:
    first, last = new_id(), new_id()
    body = json.dumps(request_log(request_id=last)).replace("{", f'{{"request_id": "{first}", ', 1)
    assert outcome(server.give(LOG_REQUEST, body.encode())) == (1, 0, {})
    assert stored(server, last, "source") == ("tests",)
    assert server.journal("SELECT 1 FROM requests WHERE request_id = ?", first) == []


def test_a_request_counts_once(server: Server) -> None:
    """Within a batch, over batches, one at a time; the first telling stands."""
    first, other = request_log(), request_log()
    assert outcome(server.give(LOG_REQUEST, [first, other, first | {"cost": 5}, first])) == (2, 2, {})
    assert outcome(server.give(LOG_REQUEST, first | {"source": "elsewhere"})) == (0, 1, {})
    assert outcome(server.give(LOG_REQUEST, [other, request_log(), {}])) == (
        1,
        1,
        {2: [["request_id"], ["source"], ["status"], ["execution_time"]]},
    )
    assert stored(server, first["request_id"], "cost", "source") == (0.25, "tests")
    assert outcome(server.give(LOG_REQUEST, first | {"request_id": f"  {first['request_id']} "})) == (0, 1, {})


def test_every_signal_is_counted_by_what_became_of_it(server: Server) -> None:
    before, rows = server.counted("request"), server.rows()
    log = request_log()
    server.give(LOG_REQUEST, [log, log, {}, request_log(), {"x": 1}])
    server.give(LOG_REQUEST, {})
    server.give(LOG_REQUEST, b"{")
    after = server.counted("request")
    assert {name: after[name] - before[name] for name in after} == {
        "stored": 2,
        "duplicate": 1,
        "rejected": 4,
        "refused": 0,
    }
    assert server.rows() - rows == 2


def sums(server: Server, source: str) -> dict[str, float]:
    """What /metrics says of a source, over models and statuses."""
    found: dict[str, float] = {}
    for sample, value in server.metrics().items():
        name, _, labels = sample.partition("{")
        if f'source="{source}"' in labels and "_bucket" not in name:
            found[name.removeprefix("fleetpulse_")] = found.get(name.removeprefix("fleetpulse_"), 0.0) + value
    return found


def test_series_are_the_sums_of_what_was_stored(server: Server) -> None:
    source = new_id("source")
    logs = [
        request_log(source=source, input_tokens=6, cached_tokens=2, output_tokens=3, tokens_used=10),
        request_log(source=source, status="error", execution_time=2.5, cost=None, tokens_used=5),
        request_log(source=source, cost=None, tokens_used=None),
        request_log(source=source, model="gpt-4o", cost=None, tokens_used=None, input_tokens=1_000_000),
        request_log(source=source, model="never-heard-of", cost=None, input_tokens=1, tokens_used=None),
    ]
    assert outcome(server.give(LOG_REQUEST, logs + logs[:2])) == (5, 2, {})
    assert sums(server, source) == {
        "requests_total": 5,
        "request_duration_seconds_count": 5,
        "request_duration_seconds_sum": 4.5,
        "tokens_total": 10 + 5 + 1_000_000 + 1,
        "cost_usd_total": 0.25 + 2.5,
        "unpriced_requests_total": 2,
    }
    tokens = f'fleetpulse_tokens_total{{source="{source}",model="none",kind="%s"}}'
    kinds = {kind: server.metrics()[tokens % kind] for kind in ("input", "cached", "output", "unattributed")}
    assert kinds == {"input": 4, "cached": 2, "output": 3, "unattributed": 1 + 5}


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Server]:
    """An exporter with little room: few label values, and a queue of one row."""
    program = Server(
        tmp_path,
        FLEETPULSE_LIMITS__SOURCES="2",
        FLEETPULSE_LIMITS__MODELS="2",
        FLEETPULSE_LIMITS__STATUSES="2",
        FLEETPULSE_JOURNAL__QUEUE_ROWS="1",
    )
    try:
        program.start()
        yield program
    finally:
        program.stop()


def test_past_a_labels_cap_values_go_to_other_and_sums_stay_exact(narrow: Server) -> None:
    logs = [request_log(source=f"s{n % 5}", model=f"m{n % 4}", status=f"st{n % 3}") for n in range(60)]
    assert outcome(narrow.give(LOG_REQUEST, logs)) == (60, 0, {})
    requests = {
        name: value for name, value in narrow.metrics().items() if name.startswith("fleetpulse_requests_total")
    }
    assert sum(requests.values()) == 60
    assert sum(value for name, value in requests.items() if 'source="other"' in name) == 36
    narrow.kill()
    narrow.start()
    again = {
        name: value for name, value in narrow.metrics().items() if name.startswith("fleetpulse_requests_total")
    }
    assert again == requests


def test_a_full_queue_answers_503_and_keeps_nothing_of_the_call(narrow: Server) -> None:
    """Several clients send more than may wait at once: whoever is refused is told so, and the sums agree."""
    answers: list[Answer] = []

    def send() -> None:
        with closing(Client(narrow.port)) as client:
            while not enough():
                answers.append(client.give(LOG_REQUEST, [request_log() for _ in range(500)]))

    def enough() -> bool:
        return len(answers) > 1_000 or {202, 503} <= {answer.status for answer in answers}

    senders = [threading.Thread(target=send) for _ in range(6)]
    for sender in senders:
        sender.start()
    wait_for(enough, what="an answer of each kind")
    for sender in senders:
        sender.join()
    refused = [answer for answer in answers if answer.status != 202]
    assert refused
    for answer in refused:
        answer.problem(503, "overloaded")
        assert int(answer.headers["Retry-After"]) >= 1
    accepted = sum(outcome(answer)[0] for answer in answers if answer.status == 202)
    assert narrow.rows() == accepted
    assert narrow.counted("request") == {
        "stored": accepted,
        "duplicate": 0,
        "rejected": 0,
        "refused": 500 * len(refused),
    }
