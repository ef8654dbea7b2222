"""JSON Schemas (draft 2020-12) of declared types, as components of one OpenAPI document.

All types go through pydantic together, so that a model that is used twice is one component, and one whose input and
output differ is two.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core.core_schema import DictSchema

from fleetpulse.web.operations import Query

REF = "#/components/schemas/"
Schema = dict[str, Any]
INPUT: Literal["validation"] = "validation"
OUTPUT: Literal["serialization"] = "serialization"


class _Generator(GenerateJsonSchema):
    """Pydantic's, without titles that only repeat a field's name, and with every key of a dict held to its rule."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        del schema
        return False

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        """Pydantic says what values belong to keys that match, and lets all others pass; the code does not."""
        made = super().dict_schema(schema)
        patterns = made.pop("patternProperties", None)
        if patterns and (keys := schema.get("keys_schema")):
            (made["additionalProperties"],) = patterns.values()
            made["propertyNames"] = self.generate_inner(keys)
        return made


class Schemas:
    """The schemas of all types that handlers declare, each under its type and its direction."""

    def __init__(self, declared: Iterable[tuple[Any, JsonSchemaMode]]) -> None:
        kept = list(declared)
        inputs: list[tuple[Hashable, JsonSchemaMode, TypeAdapter[Any]]]
        inputs = [(id(kind), mode, TypeAdapter(kind)) for kind, mode in kept]
        self._kept = kept  # ids are of objects that live
        made, definitions = TypeAdapter.json_schemas(
            list({(key, mode): (key, mode, adapter) for key, mode, adapter in inputs}.values()),
            ref_template=REF + "{model}",
            schema_generator=_Generator,
        )
        components = definitions.get("$defs", {})
        names = _short_names(components)
        self._made: Mapping[tuple[Hashable, JsonSchemaMode], Schema]
        self._made = {key: _renamed(schema, names) for key, schema in made.items()}
        named = {names[name]: _renamed(schema, names) for name, schema in components.items()}
        self.components: dict[str, Schema] = dict(sorted(named.items()))

    def of(self, kind: Any, mode: JsonSchemaMode) -> Schema:
        """The schema of a declared type; a reference where it is a component."""
        return dict(self._made[id(kind), mode])

    def fields(self, model: type[Query]) -> list[tuple[str, Schema, bool]]:
        """A query model's fields in order: name, schema, whether it must be given."""
        schema = self.resolve(self.of(model, INPUT))
        required = schema.get("required", [])
        return [(name, _absent_not_null(it), name in required) for name, it in schema.get("properties", {}).items()]

    def resolve(self, schema: Schema) -> Schema:
        """The schema that a reference stands for, or the schema itself."""
        reference = str(schema.get("$ref", ""))
        return self.components[reference.removeprefix(REF)] if reference.startswith(REF) else schema

    def used_by(self, document: Any) -> dict[str, Schema]:
        """The components that a document refers to, directly or through others."""
        used: set[str] = set()
        waiting = list(_references(document))
        while waiting:
            name = waiting.pop()
            if name not in used:
                used.add(name)
                waiting += _references(self.components[name])
        return {name: schema for name, schema in self.components.items() if name in used}


def single(kind: Any) -> Any:
    """What one line holds where `kind` is an object, or a list of them: the first form that is no list."""
    forms = [form for form in get_args(kind) if get_origin(form) is not list]
    return forms[0] if get_origin(kind) is not None and forms and not hasattr(kind, "__metadata__") else kind


def _short_names(long: Iterable[str]) -> dict[str, str]:
    """Names for people: where two models share theirs, pydantic puts the whole path of the module before it."""
    names = {name: name for name in long}
    for name in names:
        *modules, last = name.split("__")
        if modules:
            names[name] = modules[-1].title().replace("_", "") + last
    return names if len(set(names.values())) == len(names) else {name: name for name in names}


def _renamed(document: Any, names: Mapping[str, str]) -> Any:
    """A document with its references under other names."""
    if isinstance(document, dict):
        made = {key: _renamed(value, names) for key, value in document.items()}
        reference = made.get("$ref")
        if isinstance(reference, str) and reference.startswith(REF):
            made["$ref"] = REF + names[reference.removeprefix(REF)]
        return made
    return [_renamed(value, names) for value in document] if isinstance(document, list) else document


def _absent_not_null(schema: Schema) -> Schema:
    """A parameter that may be left out: it is absent then, never null."""
    forms = schema.get("anyOf")
    if forms is None or {"type": "null"} not in forms:
        return schema
    others = [form for form in forms if form != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf" and (name, value) != ("default", None)}
    return {**others[0], **rest} if len(others) == 1 else {"anyOf": others, **rest}


def _references(document: Any) -> Iterable[str]:
    """The names of all components that are referred to."""
    if isinstance(document, dict):
        reference = document.get("$ref")
        if isinstance(reference, str) and reference.startswith(REF):
            yield reference.removeprefix(REF)
        for value in document.values():
            yield from _references(value)
    elif isinstance(document, list):
        for value in document:
            yield from _references(value)
