"""What the property tests send: documents like the contract's and unlike them, bodies, headers, addresses."""

import gzip
import json
import zlib
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote, quote_from_bytes

from hypothesis import strategies as st

Any_ = st.SearchStrategy[Any]
Compress = Callable[[bytes], bytes]

numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 100, 101, 2**53 - 1, 2**53, 2**63, 10**30, 10**400, 1e308, -0.0, 5e-324]),
)
# With lone surrogates, control characters and whatever else a JSON text may escape.
texts = st.one_of(
    st.text(st.characters(), max_size=30), st.sampled_from(["", " ", "\0", "\ud800", "x" * 9_000, "1", "null"])
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
times = st.datetimes(datetime(1970, 1, 1), datetime(2025, 1, 1)).map(lambda moment: moment.isoformat() + "Z")  # noqa: DTZ001 - hypothesis wants them plain
odd_times = st.datetimes().map(datetime.isoformat) | st.sampled_from(
    ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2025-01-07T10:30:00+14:00", 1.5e9]
)
names = st.sampled_from(
    ["web", "ide", "微信", 'qu"ote\\', "other", "none", "gpt-4o", "success", "error", "offline"]
)
ids = st.integers(0, 2_000).map(lambda number: f"p-{number}")
plain = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=10)
counts = st.integers(0, 10_000)
usd = st.floats(0, 100)


def mostly(good: Any_, odd: Any_ = anything, times_in: int = 60) -> Any_:
    """Good but for one in so many. (Not by a die: Hypothesis draws the ends of a range far too often.)"""
    return st.sampled_from([good] * (times_in - 1) + [odd]).flatmap(lambda one: one)


def document(required: dict[str, Any_], optional: dict[str, Any_]) -> Any_:
    """An object of the contract, some of its fields wrong or missing, with unknown ones besides."""
    fields = {name: mostly(good) for name, good in (required | optional).items()}
    whole = st.fixed_dictionaries(
        {name: fields[name] for name in required}, optional={name: fields[name] for name in optional}
    )
    extra = st.dictionaries(texts, anything, max_size=2)
    with_more = st.builds(lambda one, more: more | one, whole, extra)
    return mostly(whole | with_more, st.fixed_dictionaries({}, optional=fields), 15)


request_logs = document(
    {"request_id": ids, "source": names, "status": names, "execution_time": st.floats(0, 1_000)},
    {
        "user_id": plain,
        "command": plain,
        "tokens_used": counts,
        "cost": usd,
        "timestamp": mostly(times, odd_times, 15),
        "model": names,
        "provider": names,
        "input_tokens": st.integers(100, 10_000),
        "output_tokens": counts,
        "cached_tokens": st.integers(0, 100),
        "error": plain,
        "session_id": ids,
        "trace_id": ids,
        "metadata": st.dictionaries(st.text(), st.integers() | st.text() | st.booleans(), max_size=3),
    },
)
tasks = document(
    {"task_id": counts | ids}, {"task_type": names, "workspace_id": ids, "started_at": mostly(times, odd_times, 15)}
)
percents = st.floats(0, 100)
heartbeats = document(
    {"agent_id": ids, "status": names, "cpu_usage": percents, "memory_usage": percents},
    {"running_tasks": st.lists(tasks, max_size=3), "agent_name": names, "pool_id": names},
)
activities = document(
    {"kind": st.sampled_from(["message", "reply", "redpacket", "error", "status"]) | names, "account_id": ids},
    {
        "count": st.integers(1, 1_000),
        "reply_time": mostly(st.none(), st.floats(0, 100), 3),
        "online": st.booleans(),
        "activity_id": ids,
        "timestamp": mostly(times, odd_times, 15),
        "text": plain,
        "account_name": names,
    },
)
labels = st.dictionaries(mostly(names).map(str), mostly(names | plain), max_size=4)
alerts = document(
    {
        "status": st.sampled_from(["firing", "resolved"]),
        "labels": labels,
        "annotations": labels,
        "startsAt": mostly(times, odd_times, 15),
        "fingerprint": ids,
    },
    {"endsAt": mostly(times, odd_times, 15), "generatorURL": plain},
)
notifications = document(
    {"alerts": st.lists(mostly(alerts), max_size=4)}, {"version": st.just("4"), "receiver": names}
)
prices = st.fixed_dictionaries(
    {"model": mostly(names | names.map(lambda name: f"{name[:1]}*"))},
    optional={
        "provider": mostly(names),
        "input_usd_per_million": mostly(usd),
        "output_usd_per_million": mostly(usd),
        "cached_usd_per_million": mostly(usd),
        "request_usd": mostly(usd),
        "source": names,
        "dry_run": mostly(st.booleans()),
    },
)

as_is: Compress = bytes
compressions: st.SearchStrategy[tuple[str | None, Compress]] = st.sampled_from(
    [
        (None, as_is),
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip", as_is),
        ("br", as_is),
        ("identity", as_is),
    ]
)
content_types = st.sampled_from(
    [
        "application/json",
        "application/x-ndjson",
        "text/plain",
        "application/json; charset=utf-16",
        "a/b; =;",
        "",
        "multipart/form-data",
    ]
)
# What HTTP allows in a field's value, beyond what anyone sends.
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=40)
accepts = st.builds(
    lambda kind, version, escaping: f"{kind};version={version};escaping={escaping},*/*",
    st.sampled_from(["application/openmetrics-text", "text/plain", "x"]),
    values | st.sampled_from(["1.0.0", "0.0.4"]),
    values | st.sampled_from(["allow-utf-8", "dots", "values", "underscores"]),
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Accept": accepts | values,
        "Accept-Encoding": values | st.sampled_from(["gzip", "br;q=1, gzip"]),
        "Authorization": values | values.map(lambda value: f"Bearer {value}"),
        "X-App-Key": values,
        "X-App-Secret": values,
        "Origin": values | st.sampled_from(["null", "http://[::1", "http://localhost:x"]),
        "Host": values | st.just("localhost"),
        "Cookie": values,
        "Range": values | st.just("bytes=0-"),
        "If-Modified-Since": values,
        "Content-Encoding": values,
        "Content-Type": values | content_types,
        "X-Forwarded-For": values,
        "Sec-WebSocket-Protocol": values,
    },
)
# Without braces and line breaks: the router takes those for no name at all.
parts = st.text(st.characters(codec="utf-8", exclude_characters="{}\n"), max_size=20).map(
    lambda text: quote(text, safe="")
) | st.binary(max_size=20).filter(lambda raw: not set(b"{}\n") & set(raw)).map(
    lambda raw: quote_from_bytes(raw, safe="")
)
moments = st.sampled_from(["today", "2025-01-07", "2025-02-30", "9999-12-31T23:59:59-23:59"]) | odd_times.map(
    lambda moment: quote(str(moment))
)
queries = st.lists(
    st.builds(
        lambda name, value: f"{name}={value}",
        st.sampled_from(["limit", "cursor", "topics", "token", "range", "start", "end", "source", "x"]) | parts,
        parts | st.integers(-5, 1_005).map(str) | st.just("9" * 2_000) | moments,
    ),
    max_size=3,
).map("&".join)

searched = st.text(st.characters(codec="utf-8") | st.sampled_from("\"'*()^-:+ AND OR NEAR 超时"), max_size=30)
searches = st.fixed_dictionaries(
    {"q": searched},
    optional={
        "source": names | plain,
        "status": names | plain,
        "user_id": plain,
        "failed": st.sampled_from(["true", "false", "x"]),
        "start": moments,
        "end": moments,
        "cursor": st.integers(0, 2**70).map("{:x}".format),
        "min_cost": numbers.map(str),
        "min_time": numbers.map(str),
    },
)


message_searches = st.fixed_dictionaries(
    {"q": searched},
    optional={
        "stream": names | plain,
        "type": names | plain,
        "user": plain,
        "room": plain,
        "rule": plain,
        "start": moments,
        "end": moments,
    },
)

orders = document(
    {"stream": names | st.just("chat")},
    {
        "start": moments,
        "end": moments,
        "speed": numbers,
        "max_pause_seconds": numbers,
        "topic": names,
        "loop": st.booleans(),
    },
)


def encoded(payload: Any) -> bytes:
    """JSON as a careless program writes it: NaN, infinities and lone surrogates included."""
    return json.dumps(payload).encode()


def framed(items: list[Any], framing: str) -> bytes:
    """One object, an array, or lines."""
    if framing == "lines":
        return b"\n".join(map(encoded, items))
    return encoded(items[0] if framing == "object" else items)


@st.composite
def damaged(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """A body with a piece of it replaced."""
    body = draw(bodies)
    at = draw(st.integers(0, len(body)))
    return body[:at] + draw(st.binary(max_size=8)) + body[at + draw(st.integers(0, 8)) :]


# Notifications --------------------------------------------------------------------------------------------------
recipients = st.fixed_dictionaries(
    {},
    optional={
        "users": mostly(st.lists(names, max_size=3)),
        "roles": mostly(st.lists(st.sampled_from(["viewer", "operator", "admin"]), max_size=2)),
        "sessions": mostly(st.lists(names, max_size=2)),
        "all": mostly(st.booleans()),
    },
)
notices = document(
    {"title": names, "message": texts, "recipients": recipients},
    {
        "level": st.sampled_from(["INFO", "success", "WARNING", "ERROR", "URGENT"]),
        "channels": st.lists(st.sampled_from(["WEBSOCKET", "EMAIL", "sms", "PUSH"]), min_size=1, max_size=4),
        "kind": st.sampled_from(["message", "maintenance", "takeover"]),
        "subject": names,
        "action_url": st.sampled_from(["/x", "https://example.com/"]),
        "auto_close": st.booleans(),
        "dedup_key": names,
        "dedup_seconds": counts,
        "expires_at": times,
        "metadata": st.dictionaries(names, scalars, max_size=2),
        "dry_run": st.booleans(),
    },
)
clock_times = st.sampled_from(["00:00", "08:00", "22:00", "23:59", "24:00"])
wishes = document(
    {},
    {
        "websocket": st.sampled_from(["INFO", "WARNING", "off"]),
        "sms": st.sampled_from(["URGENT", "off"]),
        "muted_kinds": st.lists(st.sampled_from(["takeover", "message"]), max_size=2),
        "quiet_hours": st.lists(document({"start": clock_times, "end": clock_times}, {}), max_size=2),
    },
)
