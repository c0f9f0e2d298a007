"""Misfits: where a document does not fit the written form, or an input its task type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from flow_manager.core.document import (
    ConcurrencyDocument,
    ConditionDocument,
    FlowDocument,
    OnEndDocument,
    RateDocument,
    RetryDocument,
    TaskDocument,
    WebhookDocument,
)
from flow_manager.core.document_words import ERROR_CODE, ID, LABEL, LINE, NAME, SECRET, TEXT, URL
from flow_manager.core.findings import Findings
from flow_manager.core.plain import Path, shown

_MOST_MESSAGE: Final = 256
Model = TypeVar("Model", bound=BaseModel)

_OF_KIND: Final = {
    "missing": ("required", ""),
    "string_type": ("wrong-type", "this must be a text"),
    "int_type": ("wrong-type", "this must be a whole number"),
    "float_type": ("wrong-type", "this must be a number"),
    "bool_type": ("wrong-type", "this must be true or false"),
    "list_type": ("wrong-type", "this must be a list"),
    "dict_type": ("wrong-type", "this must be an object"),
    "model_type": ("wrong-type", "this must be an object"),
    "string_too_long": ("too-long", "at most {max_length} characters are allowed"),
    "too_long": ("too-many", "at most {max_length} are allowed"),
    "too_short": ("required", "at least {min_length} is needed"),
    "literal_error": ("unknown-value", "this must be {expected}"),
    "greater_than_equal": ("out-of-range", "this must be at least {ge:.12g}"),
    "less_than_equal": ("out-of-range", "this must be at most {le:.12g}"),
    "order": ("order", ""),
    "extra_forbidden": ("unknown-field", "there is no field of this name here"),
}
"""Code and detail of each kind of error of pydantic; without a detail, its message is one. A kind with a
hyphen is of the house: it is its own code."""

_WRITTEN_WITH: Final = "letters, digits, '_', '.' and '-'"
_LOWER_CASE: Final = "lower case letters, digits, '.', '_' and '-'"
_OF_PATTERN: Final = {
    LINE: ("bad-text", "control characters are not allowed here"),
    TEXT: ("bad-text", "control characters are not allowed here"),
    f"^{NAME}$": ("bad-name", f"a name has up to 128 {_WRITTEN_WITH}, and starts with a letter"),
    f"^{ID}$": ("bad-name", f"an id has up to 128 {_WRITTEN_WITH}, and starts with a letter or digit"),
    f"^{LABEL}$": ("bad-name", f"a label is called by up to 63 {_WRITTEN_WITH}, starting with a letter"),
    URL: ("bad-url", "a URL starts with http:// or https:// and a host, and has no user, fragment or space"),
    f"^{SECRET}$": ("bad-name", "the name of a secret has up to 128 letters, digits and '_'"),
    f"^{ERROR_CODE}$": ("bad-name", f"an error code has up to 128 {_LOWER_CASE}, and starts with a letter"),
}


def find_misfits(body: dict[str, Any], errors: Findings) -> FlowDocument | None:
    """The document as its model, or None if a field is missing or wrong. Unknown fields are
    errors too, and leave no mark in the model."""
    _find_unknown_fields(body, errors)
    return fitting(FlowDocument, body, errors)


def fitting(model: type[Model], body: dict[str, Any], errors: Findings) -> Model | None:
    """The value as this model, or None if a field is missing or wrong."""
    try:
        return model.model_validate(body)
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
    """Where the input of a task does not fit the model of its type. What expressions will put there
    is not known yet, and so is passed over."""
    try:
        model.model_validate(dict(given))
    except ValidationError as error:
        for each in error.errors(include_url=False, include_context=False, include_input=False):
            path = _within(given, each["loc"], is_missing=each["type"] == "missing")
            if not _depends_on_expressions(given, path):
                code = each["type"] if "-" in each["type"] else "schema"
                errors.add((*at, *path), code, each["msg"][:_MOST_MESSAGE])
    except Exception as error:  # a validator written by a task's author may raise anything
        errors.add(at, "schema", f"the check of this input raised {type(error).__name__}")


def _depends_on_expressions(given: Any, path: Path) -> bool:
    """Whether the value at the path, or something within or above it, is made by an expression."""
    value = given
    for step in path:
        if isinstance(value, str):
            break
        known = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if step not in known:
            return False  # something is missing here, whatever expressions put elsewhere
        value = value[step]
    return holds_expressions(value)


def holds_expressions(value: Any) -> bool:
    """Whether some text within a value may be made by an expression."""
    if isinstance(value, str):
        return "${" in value
    if isinstance(value, dict):
        return any(holds_expressions(each) for each in value.values())
    return isinstance(value, list) and any(holds_expressions(each) for each in value)


_FLOW_FIELDS: Final = dict(FlowDocument.model_fields)
_TASK_FIELDS: Final = dict(TaskDocument.model_fields)
_RETRY_FIELDS: Final = dict(RetryDocument.model_fields)
_CONDITION_FIELDS: Final = dict(ConditionDocument.model_fields)
_ON_END_FIELDS: Final = dict(OnEndDocument.model_fields)
_WEBHOOK_FIELDS: Final = dict(WebhookDocument.model_fields)
_CONCURRENCY_FIELDS: Final = dict(ConcurrencyDocument.model_fields)
_RATE_FIELDS: Final = dict(RateDocument.model_fields)


def _find_unknown_fields(body: dict[str, Any], errors: Findings) -> None:
    find_unknown_names(body, _FLOW_FIELDS, (), errors)
    find_unknown_names(body.get("concurrency"), _CONCURRENCY_FIELDS, ("concurrency",), errors)
    find_unknown_names(body.get("rate"), _RATE_FIELDS, ("rate",), errors)
    for index, task in enumerate(_items(body, "tasks")):
        find_unknown_names(task, _TASK_FIELDS, ("tasks", index), errors)
        if isinstance(task, dict) and "retry" in task:
            find_unknown_names(task["retry"], _RETRY_FIELDS, ("tasks", index, "retry"), errors)
    for index, condition in enumerate(_items(body, "conditions")):
        find_unknown_names(condition, _CONDITION_FIELDS, ("conditions", index), errors)
    on_end = body.get("on_end")
    if isinstance(on_end, dict):
        find_unknown_names(on_end, _ON_END_FIELDS, ("on_end",), errors)
        for index, webhook in enumerate(_items(on_end, "webhooks")):
            find_unknown_names(webhook, _WEBHOOK_FIELDS, ("on_end", "webhooks", index), errors)


def _items(body: dict[str, Any], name: str) -> list[Any]:
    items = body.get(name)
    return items if isinstance(items, list) else []


def _add(error: Mapping[str, Any], errors: Findings) -> None:
    path = tuple(step for step in error["loc"] if step != "[key]")
    kind, context, written = error["type"], error.get("ctx", {}), error["input"]
    code, detail = _worded(kind, error["msg"], context)
    if kind == "missing":
        detail = f"the field {shown(str(path[-1]))} is missing"
    elif kind == "order":
        path = (*path, "max_delay")
    elif kind == "less_than_equal" and path == ("max_task_runs",):
        code = "unbounded-loop"
    elif kind == "literal_error" and not isinstance(written, str):
        code = "wrong-type"
    if code == "unknown-value":
        errors.add(path, code, detail, like=(written, re.findall("'([^']*)'", context["expected"])))
    else:
        errors.add(path, code, detail)


def _worded(kind: str, message: str, context: Mapping[str, Any]) -> tuple[str, str]:
    """Code and detail of an error of pydantic."""
    if kind == "string_pattern_mismatch":
        return _OF_PATTERN[context["pattern"]]
    code, detail = _OF_KIND.get(kind, (kind if "-" in kind else "schema", ""))
    return code, detail.format(**context) if detail else message[:_MOST_MESSAGE]


def _within(value: Any, path: Path, is_missing: bool) -> Path:
    """The part of a path that is in the value; steps that name a variant of a union are not."""
    steps: list[str | int] = []
    for step in path:
        known = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if step in known:
            value = value[step]
            steps.append(step)
        elif is_missing and step == path[-1]:
            steps.append(step)
    return tuple(steps)
