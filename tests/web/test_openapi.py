"""The OpenAPI document: valid, whole, the same every time, and what small handlers become in it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
from aiohttp import web
from pydantic import BaseModel, Field
from schemathesis.specs.openapi.definitions import OPENAPI_31
from tests.web.server import Server
from typing_extensions import TypedDict

from fleetpulse.app import build
from fleetpulse.auth import Role
from fleetpulse.config import Settings
from fleetpulse.web.guard import public, requires
from fleetpulse.web.openapi import describe, operations
from fleetpulse.web.operations import CSV, JSON, NDJSON, TEXT, Answer, Operation, Query, operation
from fleetpulse.web.tags import TAGS


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a real exporter serves."""
    server = Server(tmp_path_factory.mktemp("openapi"))
    try:
        server.start()
        yield server.ask("/openapi.json").json
    finally:
        server.stop()


def every(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return list(operations(document))


# The whole document -------------------------------------------------------------------------------------------
def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert [error.message for error in jsonschema_rs.iter_errors(OPENAPI_31, document)] == []


def test_a_wrong_document_would_not_be_valid(document: dict[str, Any]) -> None:
    wrong = json.loads(json.dumps(document))
    next(iter(wrong["paths"].values()))["get"] = {"responses": {"200": {"content": {}}}}
    assert not jsonschema_rs.is_valid(OPENAPI_31, wrong)


def test_each_schema_is_valid_and_each_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)))
    assert references
    for reference in references:
        at: Any = document
        for key in reference.split("/"):
            at = at[key]
    named = {f"components/schemas/{name}" for name in document["components"]["schemas"]}
    assert named <= references, "a component that nothing uses"


async def test_every_route_is_in_it(document: dict[str, Any], tmp_path: Path) -> None:
    parts = build(Settings(data_dir=tmp_path))
    parts.core.journal.start(parts.core.pipeline.stored)
    await parts.core.journal.stop()
    served = {
        (route.method, route.resource.canonical) for route in parts.door.web.router.routes() if route.resource
    }
    described = {(method, path) for method, path, _ in every(document)}
    assert {route for route in served if route[0] not in ("HEAD", "*")} == described


def test_every_operation_is_fit_to_be_read(document: dict[str, Any]) -> None:
    ids = [its["operationId"] for _, _, its in every(document)]
    assert len(set(ids)) == len(ids)
    for method, path, its in every(document):
        assert 5 < len(its["summary"]) <= 100, (method, path, its["summary"])
        assert its["summary"][0].isupper(), (method, path)
        assert set(its["tags"]) <= TAGS.keys(), f"{method} {path}: {its['tags']} has no words in web/tags.py"
        assert len(its["responses"]) > 1
        for parameter in its.get("parameters", ()):
            assert parameter["in"] == "path" or "description" in parameter, (method, path, parameter["name"])
    assert [tag["name"] for tag in document["tags"]] == [
        name for name in TAGS if any(name in its["tags"] for _, _, its in every(document))
    ]


def test_examples_are_good_input(document: dict[str, Any]) -> None:
    shown = 0
    for _, path, its in every(document):
        for content in its.get("requestBody", {}).get("content", {}).values():
            whole = {**content["schema"], "components": document["components"]}
            for title, example in content.get("examples", {}).items():
                shown += 1
                assert jsonschema_rs.is_valid(whole, example["value"]), f"{path}: {title}"
    assert shown > 4


def test_it_tells_nothing_that_changes(document: dict[str, Any], tmp_path: Path) -> None:
    """Another process, with other hashes of text, another folder and another port, makes the same bytes."""
    server = Server(tmp_path)
    try:
        server.start()
        first, second = server.ask("/openapi.json").body, server.ask("/openapi.json").body
    finally:
        server.stop()
    assert first == second
    assert json.loads(first) == document
    assert list(json.loads(first)["components"]["schemas"]) == list(document["components"]["schemas"])


# Small handlers -----------------------------------------------------------------------------------------------
class Thing(TypedDict):
    """A thing. It has more to say."""

    name: str
    weight: float | None


class Filter(Query):
    state: Literal["good", "bad"] | None = Field(None, description="Only these.")
    limit: Annotated[int, Field(ge=1, le=9)] = Field(5, description="Most.")
    needed: str = Field(description="Must be there.")


class Body(BaseModel):
    value: int


def described(handler: Any, path: str = "/it", method: str = "GET", *, secured: bool = False) -> dict[str, Any]:
    """One handler's Operation Object."""
    made = describe([web.RouteDef(method, path, handler, {})], secured=secured)
    assert [error.message for error in jsonschema_rs.iter_errors(OPENAPI_31, made)] == []
    ((_, _, its),) = operations(made)
    return its


def handler(role: Role | None = None, /, **declared: Any) -> Any:
    async def it(_: web.Request) -> web.Response:
        """Does it.

        In **detail**.
        """
        raise NotImplementedError

    declared_it = operation("Tests", **declared)(it)
    return requires(role)(declared_it) if role else public(declared_it)


def test_words_come_from_the_docstring() -> None:
    its = described(handler())
    assert (its["summary"], its["description"], its["tags"]) == ("Does it", "In **detail**.", ["Tests"])


def test_what_may_be_left_out_of_a_query_is_not_null() -> None:
    parameters = {each["name"]: each for each in described(handler(query=Filter))["parameters"]}
    assert parameters["state"]["schema"] == {"type": "string", "enum": ["good", "bad"]}
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 9, "default": 5}
    assert [name for name, each in parameters.items() if each["required"]] == ["needed"]
    assert parameters["limit"]["description"] == "Most."


def test_parameters_of_the_path_have_types() -> None:
    its = described(handler(path={"kind": Literal["a", "b"]}), "/{kind}/{rest}/{number:\\d{1,3}}")
    names = {each["name"]: each["schema"] for each in its["parameters"]}
    assert names["kind"]["enum"] == ["a", "b"]
    assert names["rest"] == names["number"] == {"type": "string", "minLength": 1}
    assert {"404", "422"} <= its["responses"].keys()


@pytest.mark.parametrize(
    ("made", "statuses"),
    [
        (handler(), {"200", "503"}),
        (handler(Role.VIEWER), {"200", "403", "503"}),
        (handler(query=Filter), {"200", "422", "503"}),
        (handler(body=Body, status=202), {"202", "400", "413", "422", "503"}),
        (handler(problems=(409, 415)), {"200", "409", "415", "503"}),
        (handler(answers={304: Answer("Nothing new.", media=())}), {"200", "304", "503"}),
    ],
)
def test_problems_follow_from_what_is_declared(made: Any, statuses: set[str]) -> None:
    assert described(made)["responses"].keys() == statuses


def test_credentials_are_asked_for_once_there_are_some() -> None:
    made = handler(Role.OPERATOR)
    assert described(made)["security"][0] == {}
    secured = described(made, secured=True)
    assert {} not in secured["security"]
    assert "401" in secured["responses"]
    assert secured["x-role"] == "operator"
    assert described(handler(), secured=True)["security"] == []


def test_an_answer_has_its_media_types() -> None:
    content = described(handler(answer=Thing, media=(JSON, CSV, NDJSON)))["responses"]["200"]["content"]
    thing = {"$ref": "#/components/schemas/Thing"}
    assert content[JSON]["schema"] == thing
    assert content[CSV]["schema"] == {"type": "string"}
    assert content[NDJSON]["schema"]["x-lines"] == thing


def test_lines_of_a_body_are_what_a_list_holds() -> None:
    body = described(handler(body=Body | list[Body], body_media=(JSON, NDJSON)), method="POST")["requestBody"]
    one = {"$ref": "#/components/schemas/Body"}
    assert body["content"][JSON]["schema"]["anyOf"] == [one, {"type": "array", "items": one}]
    assert body["content"][NDJSON]["schema"]["x-lines"] == one


def test_answers_of_one_status_come_together() -> None:
    its = described(handler(media=(TEXT,), answers={503: Answer("Not yet.", media=(TEXT,))}))
    assert its["responses"]["503"]["content"].keys() == {TEXT, "application/problem+json"}
    assert "Retry-After" in its["responses"]["503"]["headers"]


def test_who_else_must_answer_is_named() -> None:
    assert described(handler(upstream="Prometheus"))["responses"]["503"]["description"].startswith("Prometheus ")


def test_a_handler_without_a_declaration_is_refused() -> None:
    @public
    async def silent(_: web.Request) -> web.Response:
        raise NotImplementedError

    with pytest.raises(RuntimeError, match="/it: its handler declares no operation"):
        describe([web.get("/it", silent)], secured=False)


def test_every_field_of_a_declaration_can_be_declared() -> None:
    assert set(operation.__kwdefaults__ or ()) == Operation.__dataclass_fields__.keys() - {"tag"}
