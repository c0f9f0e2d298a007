"""What is sent to executions: signals, answers and cancellations."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from flask import Flask, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flow_manager.api.answers import answer
from flow_manager.api.requests import read_body, read_parameters
from flow_manager.api.room import Room
from flow_manager.api.settings import ApiSettings
from flow_manager.core.document import LINE, NAME
from flow_manager.core.execution_id import read_execution_id
from flow_manager.core.problems import nearest, pointer
from flow_manager.errors import InvalidRequest, Problem
from flow_manager.ports.backend import Answer, Backend

_BODY: Final = ConfigDict(strict=True, extra="forbid")

_NAME: Final = f"^{NAME}$"
_CODES: Final = {
    "missing": "required",
    "string_too_long": "too-long",
    "bad-time": "bad-time",
    "greater_than_equal": "out-of-range",
    "less_than_equal": "out-of-range",
}
"""The codes of the kinds of pydantic's errors; those of others are `wrong-type`,"""
_CODES_OF_PATTERNS: Final = {LINE: "bad-text", _NAME: "bad-name"}
"""and those of a pattern that a text does not match."""

Body = TypeVar("Body", bound=BaseModel)


class Cancellation(BaseModel):
    """The body of a cancellation."""

    model_config = _BODY

    reason: str = Field("", max_length=256, pattern=LINE)
    by: str = Field("", max_length=255, pattern=LINE)


class Signal(BaseModel):
    """The body of a signal."""

    model_config = _BODY

    name: str = Field(pattern=_NAME)
    payload: Any = None
    by: str = Field("", max_length=255, pattern=LINE)


class Reply(BaseModel):
    """The body of the answer to a question."""

    model_config = _BODY

    approved: bool
    answer: dict[str, Any] = {}
    by: str = Field("", max_length=255, pattern=LINE)


class ControlRoutes:
    """The endpoints that send something to an execution. They answer 202 when it is durable."""

    def __init__(self, backend: Backend, settings: ApiSettings, room: Room) -> None:
        self._backend = backend
        self._max_body = settings.max_body
        self._room = room

    def add_to(self, app: Flask) -> None:
        app.add_url_rule("/v1/executions/<text>:cancel", view_func=self.cancel, methods=["POST"])
        app.add_url_rule("/v1/executions/<text>:signal", view_func=self.signal, methods=["POST"])
        app.add_url_rule("/v1/approvals/<token>", view_func=self.question)
        app.add_url_rule("/v1/approvals/<token>", view_func=self.reply, methods=["POST"])

    def cancel(self, text: str) -> Response:
        """Ask an execution to end."""
        read_parameters()
        with self._room:
            execution_id = read_execution_id(text)
            body = _read(Cancellation, read_body(self._max_body))
            self._backend.cancel(execution_id, body.reason, by=body.by)
            return self._accepted(execution_id)

    def signal(self, text: str) -> Response:
        read_parameters()
        with self._room:
            execution_id = read_execution_id(text)
            body = _read(Signal, read_body(self._max_body))
            self._backend.signal(execution_id, body.name, body.payload, by=body.by)
            return self._accepted(execution_id)

    def question(self, token: str) -> Response:
        """What is asked, for whoever has the link."""
        read_parameters()
        return answer(self._backend.question(token).to_json())

    def reply(self, token: str) -> Response:
        """Answer the question; once."""
        read_parameters()
        with self._room:
            body = _read(Reply, read_body(self._max_body))
            execution_id = self._backend.answer(token, Answer(body.approved, body.answer, body.by))
            return self._accepted(execution_id)

    def _accepted(self, execution_id: str) -> Response:
        body = {"execution_id": execution_id, "accepted": True}
        return answer(body, 202, [("Location", f"/v1/executions/{execution_id}")])


def _read(model: type[Body], value: object) -> Body:
    """The body as its model. Raises `InvalidRequest` with all that does not fit."""
    if not isinstance(value, dict):
        raise InvalidRequest("the body is an object", [Problem("#", "wrong-type", "the body is an object")])
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [_problem(dict(each), model) for each in error.errors(include_url=False)]
        raise InvalidRequest("the body is not valid", problems) from error


read_model = _read


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
