"""What schemathesis is told besides the OpenAPI document; loaded into its process by `SCHEMATHESIS_HOOKS`.

Answers are read strictly: a field that the document does not have is an error, though clients are to pass over it.
Bodies and answers of lines (NDJSON) are made and checked line by line, from what the document says of one line.
"""

import json
from typing import Any

import schemathesis
from schemathesis import HookContext

NDJSON = "application/x-ndjson"
COMPONENTS = "#/components/schemas/"


@schemathesis.hook
def before_load_schema(ctx: HookContext, raw_schema: dict[str, Any]) -> None:
    """Closes every schema that only answers use, and gives lines the schema of an array."""
    del ctx
    asked, answered = [], []
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            asked.append([operation.get("parameters"), operation.get("requestBody")])
            answered.append(operation["responses"])
    schemas = raw_schema["components"]["schemas"]
    kept = reachable(asked, schemas)
    for name in reachable([answered, raw_schema["components"]["responses"]], schemas) - kept:
        close(schemas[name])
    spell_out_lines(raw_schema["paths"])


def reachable(part: Any, schemas: dict[str, Any]) -> set[str]:
    """The names of the components that a part of the document refers to, also through others."""
    found: set[str] = set()
    waiting = [part]
    while waiting:
        it = waiting.pop()
        if isinstance(it, dict):
            name = str(it.get("$ref", "")).removeprefix(COMPONENTS)
            if name in schemas and name not in found:
                found.add(name)
                waiting.append(schemas[name])
            waiting += it.values()
        elif isinstance(it, list):
            waiting += it
    return found


def close(schema: Any) -> None:
    """Forbids fields that are not named, in every object of a schema."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            close(value)
    elif isinstance(schema, list):
        for value in schema:
            close(value)


def spell_out_lines(part: Any) -> None:
    """Replaces `a text of lines, each like this` by `an array of these`, for the two functions below."""
    if isinstance(part, dict):
        for media, content in part.items():
            if media == NDJSON and "x-lines" in content["schema"]:
                content["schema"] = {"type": "array", "items": content["schema"]["x-lines"]}
            else:
                spell_out_lines(content)
    elif isinstance(part, list):
        for each in part:
            spell_out_lines(each)


@schemathesis.serializer(NDJSON)
def to_lines(ctx: Any, value: Any) -> bytes:
    """A body of lines."""
    del ctx
    items = value if isinstance(value, list) else [value]
    return "\n".join(json.dumps(item) for item in items).encode("utf-8", "surrogatepass")


@schemathesis.deserializer(NDJSON)
def from_lines(ctx: Any, response: Any) -> list[Any]:
    """The documents of an answer of lines."""
    del ctx
    return [json.loads(line) for line in response.content.splitlines()]
