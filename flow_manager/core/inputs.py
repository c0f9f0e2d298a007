"""The input of an execution: whether it fits the schema of the flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flow_manager.core.definition import Flow
from flow_manager.core.plain import pointer_to
from flow_manager.errors import InvalidRequest, Problem

MOST_TOLD: Final = 100
"""Places that are told to whoever sent an input; one more shows that there are more."""


def filled_input(flow: Flow, input: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same with the defaults of the schema. Raises `InvalidRequest` with all that does not fit, and
    `TooLarge` if the defaults are too much."""
    if flow.input_schema is None:
        return input
    filled: Mapping[str, Any] = flow.input_schema.with_defaults(dict(input))
    misfits = flow.input_schema.misfits(filled, most=MOST_TOLD + 1)
    if misfits:
        problems = [Problem("#/input" + pointer_to(each.path)[1:], "schema", each.detail) for each in misfits]
        raise InvalidRequest("the input does not fit the input_schema of the flow", problems)
    return filled
