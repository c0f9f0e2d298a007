"""Bodies of requests as models: everything that does not fit, at once."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from flow_manager.core.document_words import LINE, NAME
from flow_manager.core.findings import Findings
from flow_manager.core.misfits import find_unknown_names, fitting
from flow_manager.errors import InvalidRequest, Problem

BODY: Final = ConfigDict(strict=True, extra="forbid")
"""The configuration of models of bodies in which every name counts."""

Who = Annotated[str, Field(max_length=255, pattern=LINE)]
"""Who asks for something, as far as they say."""
Reason = Annotated[str, Field(max_length=256, pattern=LINE)]
TaskName = Annotated[str, Field(pattern=f"^{NAME}$")]

Body = TypeVar("Body", bound=BaseModel)


class Nothing(BaseModel):
    """A body that says nothing: `{}`."""

    model_config = BODY


def read_model(model: type[Body], value: object) -> Body:
    """The body as its model. Raises `InvalidRequest` with all that does not fit."""
    if not isinstance(value, dict):
        raise InvalidRequest("the body is an object", [Problem("#", "wrong-type", "the body is an object")])
    errors = Findings()
    find_unknown_names(value, model.model_fields, (), errors)
    body = fitting(model, value, errors)
    if errors or body is None:
        raise InvalidRequest("the body is not valid", errors.problems(value))
    return body
