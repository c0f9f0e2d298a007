"""Bodies as models: every member that is unknown, missing or of another kind is told at once."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from flow_manager.core.findings import Findings
from flow_manager.core.misfits import find_unknown_names
from flow_manager.core.simulation.mocks import add_misfits
from flow_manager.errors import InvalidRequest, Problem

Body = TypeVar("Body", bound=BaseModel)


def read_as(model: type[Body], value: object) -> Body:
    """A JSON value as a model that ignores what it does not know. Raises `InvalidRequest`."""
    if not isinstance(value, dict):
        detail = "the body is an object"
        raise InvalidRequest(detail, [Problem("#", "wrong-type", detail)])
    errors = Findings()
    find_unknown_names(value, model.model_fields, (), errors)
    body = None
    try:
        body = model.model_validate(value)
    except ValidationError as error:
        add_misfits(error, (), errors)
    if errors or body is None:
        problems = errors.problems(value)
        raise InvalidRequest(f"the body is not valid: {problems[0].detail}", problems)
    return body
