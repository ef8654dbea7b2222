"""Whatever administrators ask, or send: no server error, and everything that was done is in the audit log."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.web import shapes
from tests.web.admin_addresses import COMMANDS, PREFIX, READS
from tests.web.server import Server
from tests.web.test_properties import lawful

CALM = [HealthCheck.function_scoped_fixture]
MANY = settings(max_examples=60, deadline=None, suppress_health_check=CALM)
FEW = settings(max_examples=25, deadline=None)
PARAMETERS = ("{user_id}", "{connection_id}", "{session_id}")
users = st.lists(shapes.ids | shapes.texts, max_size=3)
broadcasts = shapes.document(
    {"message": shapes.texts | st.dictionaries(shapes.texts, shapes.anything, max_size=3)},
    {
        "target_type": st.sampled_from(["broadcast", "user", "session"]),
        "target_id": shapes.ids | shapes.texts,
        "store": st.booleans(),
        "dry_run": st.booleans(),
        "reason": shapes.texts,
    },
)
disconnects = shapes.document({}, {"user_id": shapes.ids, "user_ids": users, "dry_run": st.booleans()})
notices = shapes.document(
    {
        "title": shapes.texts,
        "message": shapes.texts,
        "recipients": st.fixed_dictionaries({"users": users}) | st.just({"all": True}),
    },
    {"level": st.sampled_from(["INFO", "urgent"]), "channels": st.just(["WEBSOCKET"]), "dry_run": st.booleans()},
)
plain = shapes.document({}, {"dry_run": st.booleans(), "reason": shapes.texts})
LIKE = {"broadcast": broadcasts, "disconnect": plain | disconnects, "notify": notices}


def filled(path: str, part: str) -> str:
    for parameter in PARAMETERS:
        path = path.replace(parameter, part or "x")
    return path


@pytest.mark.parametrize("path", COMMANDS)
@MANY
@given(st.data(), shapes.parts)
def test_any_command_is_lawful_and_audited_where_it_was_done(
    server: Server, path: str, data: st.DataObject, part: str
) -> None:
    like = LIKE.get(path.removeprefix(f"{PREFIX}/").rpartition("/")[2], plain)
    body: Any = data.draw(shapes.mostly(like))
    before = audited(server)
    answer = server.send("POST", filled(path, part), shapes.encoded(body), {"Content-Type": "application/json"})
    lawful(answer)
    done = answer.status == 200 and not answer.json["dry_run"]
    if answer.status in (200, 400, 422):
        assert audited(server) - before == int(done)
    if answer.status == 200:
        assert (answer.json["call_id"] is not None) == done
        assert sum(answer.json["summary"].values()) == len(answer.json["recipients"]) + answer.json.get(
            "omitted", 0
        )


@pytest.mark.parametrize("path", COMMANDS)
@FEW
@given(st.binary(max_size=100) | shapes.damaged(plain.map(shapes.encoded)), shapes.headers)
def test_any_bytes_for_a_command(server: Server, path: str, body: bytes, headers: dict[str, str]) -> None:
    lawful(server.send("POST", filled(path, "x"), body, headers))


@pytest.mark.parametrize("path", READS)
@FEW
@given(
    st.dictionaries(
        st.sampled_from(["limit", "cursor", "user_id", "session_id", "endpoint", "is_alive", "family", "actor"]),
        shapes.parts | st.sampled_from(["1", "0", "true", "ff", "chat"]),
        max_size=3,
    ),
    shapes.parts,
)
def test_reading_with_filters(server: Server, path: str, query: dict[str, str], part: str) -> None:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    lawful(server.ask(f"{filled(path, part)}?{asked}"))


def audited(server: Server) -> int:
    """How many calls the audit log holds with their outcome."""
    ((count,),) = server.journal("SELECT count(*) FROM events WHERE category = 'audit'")
    return int(count)
