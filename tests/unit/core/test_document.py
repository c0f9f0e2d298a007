from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from flow_manager.core.document import (
    ConditionDocument,
    FlowDocument,
    RetryDocument,
    TaskDocument,
    flow_schema,
)
from flow_manager.core.document_words import NAME_PATTERN
from flow_manager.core.durations import parse_duration

MODELS = [FlowDocument, TaskDocument, ConditionDocument, RetryDocument]

MINIMAL: dict[str, Any] = {"id": "a", "name": "A", "start_task": "t", "tasks": [{"name": "t"}]}


@pytest.mark.parametrize("name", ["a", "Task_1", "a.b-c", "A" * 128])
def test_a_name_has_letters_digits_underscores_dots_and_hyphens(name: str) -> None:
    assert NAME_PATTERN.fullmatch(name)
    assert TaskDocument.model_validate({"name": name}).name == name


@pytest.mark.parametrize(
    "name", ["", "1a", "_a", "a b", "a/b", "..", "é", "a\u200b", "\u202ea", "😀", "a\n", "A" * 129, "e\u0301"]
)
def test_anything_else_is_no_name(name: str) -> None:
    assert not NAME_PATTERN.fullmatch(name)
    with pytest.raises(ValidationError):
        TaskDocument.model_validate({"name": name})


@pytest.mark.parametrize(
    "id", ["unique-flow-id", "flow123", "2026-import", "0198c0de-0000-7000-8000-000000000001"]
)
def test_the_id_of_a_flow_may_start_with_a_digit(id: str) -> None:
    assert FlowDocument.model_validate(MINIMAL | {"id": id}).id == id


def test_what_is_left_out_has_its_default() -> None:
    flow = FlowDocument.model_validate(MINIMAL | {"conditions": [{"name": "c", "source_task": "t"}]})

    [task], [condition] = flow.tasks, flow.conditions
    assert (flow.max_task_runs, flow.timeout, flow.labels) == (1000, None, {})
    assert (task.description, task.type, task.on_lost, task.optional) == ("", None, "retry", False)
    assert (condition.outcome, condition.target_task_success, condition.target_task_failure) == (
        "success",
        "end",
        "end",
    )


@pytest.mark.parametrize("title", ["Import, täglich: 50 %", "العربية", "a" * 256, ""])
def test_a_title_is_any_text_without_control_characters(title: str) -> None:
    assert FlowDocument.model_validate(MINIMAL | {"name": title}).name == title


@pytest.mark.parametrize("title", ["a\nb", "\x1b[31m", "\x7f", "\x85", "a" * 257, "\u2028"])
def test_a_title_with_control_characters_is_refused(title: str) -> None:
    with pytest.raises(ValidationError):
        FlowDocument.model_validate(MINIMAL | {"name": title})


def test_a_description_may_have_lines() -> None:
    assert TaskDocument.model_validate({"name": "a", "description": "one\n\ttwo"}).description == "one\n\ttwo"


def test_the_schema_is_of_the_2020_12_dialect_and_takes_both_forms() -> None:
    schema = flow_schema()

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["else"] == {"$ref": "#/$defs/FlowDocument"}
    assert schema["then"]["properties"]["flow"] == {"$ref": "#/$defs/FlowDocument"}
    assert schema["then"]["properties"].keys() == {"flow", "input", "labels"}


@pytest.mark.parametrize("model", MODELS)
def test_the_schema_describes_every_field_and_admits_no_other(model: type[Any]) -> None:
    schema = flow_schema()["$defs"][model.__name__]

    assert schema["properties"].keys() == model.model_fields.keys()
    assert [name for name, field in schema["properties"].items() if not field.get("description")] == []
    assert schema["additionalProperties"] is False
    assert schema["patternProperties"] == {"^x-": True}


def test_every_reference_of_the_schema_leads_somewhere() -> None:
    schema = flow_schema()

    references = set(re.findall(r"'\$ref': '#/\$defs/(\w+)'", str(schema)))

    assert references == schema["$defs"].keys()


@pytest.mark.parametrize(
    "written", ["500ms", "1.5s", "P1DT2H", "PT30S", "P2W", "5 parsecs", "PT", "P1DT", "5", "P1Y"]
)
def test_the_schema_knows_a_duration_when_it_sees_one(written: str) -> None:
    [duration, _] = flow_schema()["$defs"]["TaskDocument"]["properties"]["timeout"]["anyOf"]
    pattern = duration["anyOf"][1]["pattern"]

    try:
        is_duration = bool(parse_duration(written))
    except ValueError:
        is_duration = False

    assert bool(re.search(pattern, written)) == is_duration
