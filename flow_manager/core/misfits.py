"""Misfits: where a document does not fit the written form, or an input its task type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from flow_manager.core.document import (
    ERROR_CODE,
    ID,
    LABEL,
    LINE,
    NAME,
    TEXT,
    ConditionDocument,
    FlowDocument,
    RetryDocument,
    TaskDocument,
)
from flow_manager.core.findings import Findings
from flow_manager.core.plain import Path, shown

_MOST_MESSAGE: Final = 256

_KINDS: Final = {
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}
_WRITTEN_WITH: Final = "letters, digits, '_', '.' and '-'"
_NOT_A_NAME: Final = {
    f"^{NAME}$": f"a name has up to 128 {_WRITTEN_WITH}, and starts with a letter",
    f"^{ID}$": f"an id has up to 128 {_WRITTEN_WITH}, and starts with a letter or digit",
    f"^{LABEL}$": f"the name of a label has up to 63 {_WRITTEN_WITH}, and starts with a letter",
    f"^{ERROR_CODE}$": "an error code has lower case letters, digits, '.', '_' and '-', and starts with a letter",
}


def find_misfits(body: dict[str, Any], errors: Findings) -> FlowDocument | None:
    """The document as its model, or None if a field is missing or wrong. Unknown fields are
    errors too, and leave no mark in the model."""
    _find_unknown_fields(body, errors)
    try:
        return FlowDocument.model_validate(body)
    except ValidationError as error:
        for each in error.errors(include_url=False):
            _add(dict(each), errors)
    return None


def find_unknown_names(written: object, known: Mapping[str, object], at: Path, errors: Findings) -> None:
    """Fields that nobody knows; those that start with `x-` are the author's own."""
    if not isinstance(written, dict) or written.keys() <= known.keys():
        return
    for name in written:
        if name not in known and not name.startswith("x-"):
            detail = f"there is no field {shown(name)} here"
            errors.add((*at, name), "unknown-field", detail, f"known are {', '.join(known)}", (name, known))


def find_input_misfits(model: type[BaseModel], given: Mapping[str, Any], at: Path, errors: Findings) -> None:
    """Where the input of a task does not fit the model of its type."""
    try:
        model.model_validate(dict(given))
    except ValidationError as error:
        for each in error.errors(include_url=False, include_context=False):
            path = _within(given, each["loc"], is_missing=each["type"] == "missing")
            errors.add((*at, *path), "schema", each["msg"][:_MOST_MESSAGE])
    except Exception as error:  # a validator written by a task's author may raise anything
        detail = f"the check of the input failed: {type(error).__name__}: {error}"
        errors.add(at, "schema", detail[:_MOST_MESSAGE])


_FLOW_FIELDS: Final = dict(FlowDocument.model_fields)
_TASK_FIELDS: Final = dict(TaskDocument.model_fields)
_RETRY_FIELDS: Final = dict(RetryDocument.model_fields)
_CONDITION_FIELDS: Final = dict(ConditionDocument.model_fields)


def _find_unknown_fields(body: dict[str, Any], errors: Findings) -> None:
    find_unknown_names(body, _FLOW_FIELDS, (), errors)
    for index, task in enumerate(_items(body, "tasks")):
        find_unknown_names(task, _TASK_FIELDS, ("tasks", index), errors)
        if isinstance(task, dict) and "retry" in task:
            find_unknown_names(task["retry"], _RETRY_FIELDS, ("tasks", index, "retry"), errors)
    for index, condition in enumerate(_items(body, "conditions")):
        find_unknown_names(condition, _CONDITION_FIELDS, ("conditions", index), errors)


def _items(body: dict[str, Any], name: str) -> list[Any]:
    items = body.get(name)
    return items if isinstance(items, list) else []


def _add(error: Mapping[str, Any], errors: Findings) -> None:
    path = tuple(step for step in error["loc"] if step != "[key]")
    kind, context = error["type"], error.get("ctx", {})
    code, detail, hint = _worded(kind, error["msg"], context)
    if code == "required":
        detail = f"the field {shown(str(path[-1]))} is missing"
    elif kind == "too_short":
        detail, hint = "a flow has at least one task", None
    elif kind == "order":
        path = (*path, "max_delay")
    elif kind == "less_than_equal" and path == ("max_task_runs",):
        code = "unbounded-loop"
    written = error["input"]
    if kind == "literal_error" and isinstance(written, str):
        errors.add(path, code, detail, hint, (written, re.findall("'([^']*)'", context["expected"])))
    else:
        errors.add(path, code, detail, hint)


def _worded(kind: str, message: str, context: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Code, detail and hint of an error of pydantic."""
    if kind in _KINDS:
        return "wrong-type", f"this must be {_KINDS[kind]}", None
    match kind:
        case "missing":
            return "required", "", None
        case "string_pattern_mismatch" if context["pattern"] in (LINE, TEXT):
            return "bad-text", "control characters are not allowed here", None
        case "string_pattern_mismatch":
            return "bad-name", _NOT_A_NAME[context["pattern"]], None
        case "string_too_long":
            return "too-long", f"at most {context['max_length']} characters are allowed", None
        case "too_long":
            return "too-many", f"at most {context['max_length']} are allowed", None
        case "too_short":
            return "required", message, None
        case "literal_error":
            return "unknown-value", f"this must be {context['expected']}", None
        case "greater_than_equal":
            return "out-of-range", f"this must be at least {context['ge']:g}", None
        case "less_than_equal":
            return "out-of-range", f"this must be at most {context['le']:g}", None
        case "order" | "bad-duration" | "out-of-range":
            return kind, message, None
    return "schema", message[:_MOST_MESSAGE], None


def _within(value: Any, path: Path, is_missing: bool) -> Path:
    """The part of a path that is in the value; steps that name a variant of a union are not."""
    steps: list[str | int] = []
    for step in path:
        try:
            value = value[step]
        except (LookupError, TypeError):
            if is_missing and step == path[-1]:
                steps.append(step)
            continue
        steps.append(step)
    return tuple(steps)
