"""What is sent to executions: signals, answers and cancellations."""

from __future__ import annotations

from typing import Any, Literal

from flask import Flask, Response
from pydantic import BaseModel

from flow_manager.api.answers import answer
from flow_manager.api.bodies import BODY, Body, Reason, TaskName, Who, read_model
from flow_manager.api.requests import read_body, read_parameters
from flow_manager.api.room import Room
from flow_manager.api.settings import ApiSettings
from flow_manager.core.execution_id import read_execution_id
from flow_manager.core.intervening import Given, Rerun
from flow_manager.ports.backend import Answer, Backend


class Cancellation(BaseModel):
    """The body of a cancellation."""

    model_config = BODY

    reason: Reason = ""
    by: Who = ""


class Intervention(Cancellation):
    """The body of a pause, a resumption or a retry."""


class GivenResult(BaseModel):
    """The result of a task in place of its body."""

    model_config = BODY

    outcome: Literal["success", "failure", "timeout", "unknown"] = "success"
    message: Reason = ""
    data: Any = None

    def given(self) -> Given:
        return Given(self.outcome, self.message, self.data)


class Skip(GivenResult):
    """The body of a skip: the result of the task that waits."""

    reason: Reason = ""
    by: Who = ""


class RerunBody(Intervention):
    """The body of a rerun."""

    from_task: TaskName
    input: dict[str, Any] | None = None
    result: GivenResult | None = None


class ForkBody(Intervention):
    """The body of a fork."""

    from_task: TaskName | None = None
    input: dict[str, Any] | None = None


class Signal(BaseModel):
    """The body of a signal."""

    model_config = BODY

    name: TaskName
    payload: Any = None
    by: Who = ""


class Reply(BaseModel):
    """The body of the answer to a question."""

    model_config = BODY

    approved: bool
    answer: dict[str, Any] = {}
    by: Who = ""


class ControlRoutes:
    """The endpoints that send something to an execution. They answer 202 when it is durable."""

    def __init__(self, backend: Backend, settings: ApiSettings, room: Room) -> None:
        self._backend = backend
        self._max_body = settings.max_body
        self._room = room

    def add_to(self, app: Flask) -> None:
        app.add_url_rule("/v1/executions/<text>:cancel", view_func=self.cancel, methods=["POST"])
        app.add_url_rule("/v1/executions/<text>:signal", view_func=self.signal, methods=["POST"])
        for verb in (self.pause, self.resume, self.retry, self.rerun, self.skip, self.fork):
            app.add_url_rule(f"/v1/executions/<text>:{verb.__name__}", view_func=verb, methods=["POST"])
        app.add_url_rule("/v1/approvals/<token>", view_func=self.question)
        app.add_url_rule("/v1/approvals/<token>", view_func=self.reply, methods=["POST"])

    def cancel(self, text: str) -> Response:
        """Ask an execution to end."""
        read_parameters()
        with self._room:
            execution_id = read_execution_id(text)
            body = read_model(Cancellation, read_body(self._max_body))
            self._backend.cancel(execution_id, body.reason, by=body.by)
            return self._accepted(execution_id)

    def signal(self, text: str) -> Response:
        read_parameters()
        with self._room:
            execution_id = read_execution_id(text)
            body = read_model(Signal, read_body(self._max_body))
            self._backend.signal(execution_id, body.name, body.payload, by=body.by)
            return self._accepted(execution_id)

    def pause(self, text: str) -> Response:
        """Hold an execution."""
        execution_id, body = self._asked(text, Intervention)
        with self._room:
            self._backend.control.pause(execution_id, reason=body.reason, by=body.by)
            return self._accepted(execution_id)

    def resume(self, text: str) -> Response:
        execution_id, body = self._asked(text, Intervention)
        with self._room:
            self._backend.control.resume(execution_id, reason=body.reason, by=body.by)
            return self._accepted(execution_id)

    def retry(self, text: str) -> Response:
        """Have what failed go on with another attempt."""
        execution_id, body = self._asked(text, Intervention)
        with self._room:
            self._backend.control.retry(execution_id, reason=body.reason, by=body.by)
            return self._accepted(execution_id)

    def rerun(self, text: str) -> Response:
        """Go on at another task."""
        execution_id, body = self._asked(text, RerunBody)
        with self._room:
            result = None if body.result is None else body.result.given()
            rerun = Rerun(body.from_task, body.input, result)
            self._backend.control.rerun(execution_id, rerun, reason=body.reason, by=body.by)
            return self._accepted(execution_id)

    def skip(self, text: str) -> Response:
        """Give the result of the task that waits."""
        execution_id, body = self._asked(text, Skip)
        with self._room:
            self._backend.control.give(execution_id, body.given(), reason=body.reason, by=body.by)
            return self._accepted(execution_id)

    def fork(self, text: str) -> Response:
        """Start another execution with the results so far."""
        execution_id, body = self._asked(text, ForkBody)
        with self._room:
            forked = self._backend.control.fork(
                execution_id, body.from_task, body.input, reason=body.reason, by=body.by
            )
            return self._accepted(forked)

    def _asked(self, text: str, model: type[Body]) -> tuple[str, Body]:
        read_parameters()
        with self._room:
            return read_execution_id(text), read_model(model, read_body(self._max_body))

    def question(self, token: str) -> Response:
        """What is asked, for whoever has the link."""
        read_parameters()
        return answer(self._backend.question(token).to_json())

    def reply(self, token: str) -> Response:
        """Answer the question; once."""
        read_parameters()
        with self._room:
            body = read_model(Reply, read_body(self._max_body))
            execution_id = self._backend.answer(token, Answer(body.approved, body.answer, body.by))
            return self._accepted(execution_id)

    def _accepted(self, execution_id: str) -> Response:
        body = {"execution_id": execution_id, "accepted": True}
        return answer(body, 202, [("Location", f"/v1/executions/{execution_id}")])
