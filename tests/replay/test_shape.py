from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from fleetpulse.errors import InvalidInputError
from fleetpulse.replay.shape import INTEGERS, NUMBERS, format_time, pairs, parse_time, shape_of
from fleetpulse.replay.source import Record, Source, look
from fleetpulse.signals import RequestLog

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"


def source(tmp_path: Path, text: str, name: str = "a.csv") -> Source:
    path = tmp_path / name
    path.write_text(text)
    return look(path)


def first(one: Source, **options: Any) -> dict[str, Any]:
    return shape_of(one, **options).request(next(one.records()))


def test_the_azure_trace_needs_only_a_source(tmp_path: Path) -> None:
    one = source(tmp_path, TRACE)
    item = first(one, constants={"source": "web", "model": "gpt-4o"})
    assert item == {
        "request_id": f"replay-{one.digest}-0",
        "timestamp": "2023-11-16T18:15:46.680590Z",
        "input_tokens": 374,
        "output_tokens": 44,
        "status": "success",
        "execution_time": 0.0,
        "source": "web",
        "model": "gpt-4o",
    }
    RequestLog.model_validate(item)


def test_set_wins_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    one = source(tmp_path, TRACE.replace("Tokens\n", "Tokens,status,source\n", 1).replace(",44", ",44,error,ide"))
    item = first(one, constants={"source": "web", "execution_time": "0.5"})
    assert (item["status"], item["source"], item["execution_time"]) == ("error", "web", 0.5)


def test_columns_are_mapped_and_empty_cells_are_absent(tmp_path: Path) -> None:
    one = source(tmp_path, "id,took,who,cost\nr1,1.5,web,\n")
    mapping = {"request_id": "id", "execution_time": "took", "source": "who"}
    assert first(one, mapping=mapping, constants={"status": "success"}) == {
        "request_id": "r1",
        "execution_time": 1.5,
        "source": "web",
        "status": "success",
    }


def test_a_field_that_nothing_gives_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"nothing says the source: add --set source=VALUE .*TIMESTAMP"):
        shape_of(source(tmp_path, TRACE))


def test_a_wrong_field_or_column_is_named_with_advice(tmp_path: Path) -> None:
    one = source(tmp_path, TRACE)
    with pytest.raises(InvalidInputError, match="did you mean input_tokens"):
        shape_of(one, {"imput_tokens": "ContextTokens"})
    with pytest.raises(InvalidInputError, match=r"--map cost=Price: .* columns TIMESTAMP, ContextTokens"):
        shape_of(one, {"cost": "Price"}, {"source": "web"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2023-11-16 18:15:46.6805900", "2023-11-16T18:15:46.680590Z"),
        ("2023-11-16T20:15:46+02:00", "2023-11-16T18:15:46Z"),
        ("2023-11-16T18:15:46Z", "2023-11-16T18:15:46Z"),
        ("1700158546", "2023-11-16T18:15:46Z"),
        (1700158546.5, "2023-11-16T18:15:46.500000Z"),
        (1700158546500, "2023-11-16T18:15:46.500000Z"),
    ],
)
def test_times_are_read(value: Any, expected: str) -> None:
    moment = parse_time(value)
    assert moment is not None
    assert format_time(moment) == expected


@pytest.mark.parametrize("value", ["yesterday", "", None, "1e300", "nan", "inf", [1]])
def test_what_is_no_time_is_none(value: Any) -> None:
    assert parse_time(value) is None


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("input_tokens", "9007199254740991", 9007199254740991),
        ("input_tokens", "374.0", 374),
        ("input_tokens", "374.5", "374.5"),
        ("input_tokens", "many", "many"),
        ("input_tokens", True, True),
        ("cost", "0.25", 0.25),
        ("cost", "nan", "nan"),
        ("cost", [1], [1]),
        ("user_id", 42, "42"),
        ("timestamp", "soon", "soon"),
        ("metadata", '{"a": 1}', {"a": 1}),
        ("metadata", "{", "{"),
    ],
)
def test_values_take_their_fields_type_or_stay_for_the_exporter_to_judge(
    tmp_path: Path, field: str, text: Any, value: Any
) -> None:
    one = source(tmp_path, "{}", "a.jsonl")
    assert shape_of(one).request(Record(0, {field: text}))[field] == value


def test_the_typed_fields_are_fields_of_a_request_log() -> None:
    schema = TypeAdapter(RequestLog).json_schema()["properties"]

    def of_type(name: str) -> set[str]:
        rules = ((field, one) for field, rule in schema.items() for one in (rule, *rule.get("anyOf", ())))
        return {field for field, one in rules if one.get("type") == name}

    assert of_type("integer") == INTEGERS
    assert of_type("number") == NUMBERS


def test_pairs_are_read_and_others_refused() -> None:
    assert pairs("--set", ["source=web", "command=a=b"], "FIELD=VALUE") == {"source": "web", "command": "a=b"}
    for wrong in ("source", "=web", "source="):
        with pytest.raises(InvalidInputError, match="write --set FIELD=VALUE"):
            pairs("--set", [wrong], "FIELD=VALUE")
