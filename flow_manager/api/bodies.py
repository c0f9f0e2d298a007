"""Bodies of requests as models: everything that does not fit, at once."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flow_manager.core.document_words import LINE, NAME
from flow_manager.core.findings import Findings
from flow_manager.core.misfits import find_unknown_names
from flow_manager.core.problems import nearest, pointer
from flow_manager.core.simulation.mocks import add_misfits
from flow_manager.errors import InvalidRequest, Problem

BODY: Final = ConfigDict(strict=True, extra="forbid")
"""The configuration of all models of bodies."""
NAME_PATTERN: Final = f"^{NAME}$"

Who = Annotated[str, Field(max_length=255, pattern=LINE)]
"""Who asks for something, as far as they say."""
Reason = Annotated[str, Field(max_length=256, pattern=LINE)]
TaskName = Annotated[str, Field(pattern=NAME_PATTERN)]

_CODES: Final = {
    "missing": "required",
    "string_too_long": "too-long",
    "bad-time": "bad-time",
    "greater_than_equal": "out-of-range",
    "less_than_equal": "out-of-range",
}
"""The codes of the kinds of pydantic's errors; those of others are `wrong-type`,"""
_CODES_OF_PATTERNS: Final = {LINE: "bad-text", NAME_PATTERN: "bad-name"}
"""and those of a pattern that a text does not match."""

Body = TypeVar("Body", bound=BaseModel)


class Nothing(BaseModel):
    """A body that says nothing: `{}`."""

    model_config = BODY


def read_model(model: type[Body], value: object) -> Body:
    """The body as its model. Raises `InvalidRequest` with all that does not fit."""
    if not isinstance(value, dict):
        raise InvalidRequest("the body is an object", [Problem("#", "wrong-type", "the body is an object")])
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [_problem(dict(each), model) for each in error.errors(include_url=False)]
        raise InvalidRequest("the body is not valid", problems) from error


def _problem(error: dict[str, Any], model: type[BaseModel]) -> Problem:
    path = [step if isinstance(step, int) else str(step)[:64] for step in error["loc"]]
    where = pointer(*path)
    if error["type"] == "extra_forbidden":
        likely = nearest(str(path[-1]), list(model.model_fields))
        hint = f"did you mean {likely!r}?" if likely else f"known are {', '.join(model.model_fields)}"
        return Problem(where, "unknown-field", f"there is no member {path[-1]!r} here", hint)
    if error["type"] == "string_pattern_mismatch":
        return Problem(where, _CODES_OF_PATTERNS[error["ctx"]["pattern"]], error["msg"][:256])
    return Problem(where, _CODES.get(error["type"], "wrong-type"), error["msg"][:256])


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
