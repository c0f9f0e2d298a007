"""`/flow/execute`, `/flow/status` and `/flow/validate`: a flow in the body, its execution in the answer."""

from __future__ import annotations

from flask import Flask, Response, request

from flow_manager.api.answers import answer
from flow_manager.api.execution_request import ExecutionRequest
from flow_manager.api.keys import fingerprint_of, idempotency_key, replayed
from flow_manager.api.preferences import Preferences
from flow_manager.api.problems import INVALID_FLOW, INVALID_REQUEST, Refusal
from flow_manager.api.requests import read_body, read_parameters
from flow_manager.api.room import Room
from flow_manager.api.settings import ApiSettings
from flow_manager.api.waiting import WaitingRoom
from flow_manager.core.definition import Flow
from flow_manager.core.execution_id import read_execution_id
from flow_manager.core.report import Report
from flow_manager.core.routes import routes_of
from flow_manager.core.view import View
from flow_manager.ports.backend import Backend
from flow_manager.ports.starting import StartOptions


class FlowRoutes:
    """The endpoints under `/flow`.

    Requests with a body take a place in `room`; beyond it they are refused with 503. Those beyond the
    places of `waiting` are answered with 202 as if they had asked for `respond-async`.
    """

    def __init__(self, backend: Backend, settings: ApiSettings, room: Room, waiting: WaitingRoom) -> None:
        self._backend = backend
        self._max_body = settings.max_body
        self._room = room
        self._waiting = waiting

    def add_to(self, app: Flask) -> None:
        app.add_url_rule("/flow/execute", view_func=self.execute, methods=["POST"])
        app.add_url_rule("/flow/status/<text>", view_func=self.status)
        app.add_url_rule("/flow/validate", view_func=self.validate, methods=["POST"])
        app.add_url_rule("/v1/flows:validate", "validate_flow", self.validate, methods=["POST"])

    def execute(self) -> Response:
        """Run the flow; 200 when it has ended, also if it failed; 202 if it goes on."""
        read_parameters()
        with self._room:
            asked = ExecutionRequest.of(read_body(self._max_body))
            report = self._backend.validate(asked.document)
            if report.flow is None or asked.problems:
                raise _refusal(asked, report)
            preferences = Preferences.parse(request.environ.get("HTTP_PREFER"))
            return self._start(report.flow, asked, preferences)

    def _start(self, flow: Flow, asked: ExecutionRequest, preferences: Preferences) -> Response:
        key, is_new = idempotency_key(), True
        with self._waiting.patience(preferences) as patience:
            wait = patience.wait
            if key is not None:
                options = StartOptions(key, fingerprint_of(flow.document, asked.input, asked.labels))
                start = self._backend.start(flow, asked.input, options, labels=asked.labels, wait=wait)
                view, is_new = start.view, start.is_new
            else:
                view = self._backend.execute(flow, asked.input, labels=asked.labels, wait=wait)
        answered = _answer_start(view, preferences, waited=patience.is_as_wanted)
        return answered if is_new else replayed(answered)

    def status(self, text: str) -> Response:
        read_parameters()
        return answer(self._backend.describe(read_execution_id(text)).to_json())

    def validate(self) -> Response:
        read_parameters()
        with self._room:
            asked = ExecutionRequest.of(read_body(self._max_body))
            report = self._backend.validate(asked.document)
        if report.flow is None or asked.problems:
            refusal = _refusal(asked, report)
            warnings = [problem.to_json() for problem in report.warnings]
            refusal.members = {"valid": False, "warnings": warnings, **refusal.members}
            raise refusal
        warnings = [problem.to_json() for problem in report.warnings]
        return answer({"valid": True, "warnings": warnings, **routes_of(report.flow).to_json()})


def _answer_start(view: View, preferences: Preferences, *, waited: bool) -> Response:
    is_over = view.is_ended and not (preferences.respond_async and not preferences.wait)
    applied = preferences.applied(waited=waited)
    headers = [("Preference-Applied", applied)] if applied else []
    if not is_over:
        headers.append(("Location", f"/flow/status/{view.execution_id}"))
    return answer(view.to_json(), 200 if is_over else 202, headers)


def _refusal(asked: ExecutionRequest, report: Report) -> Refusal:
    """Everything that is wrong with the request at once, with the flow and beside it."""
    errors = [problem.to_json() for problem in (*asked.problems, *report.errors)]
    return Refusal(
        INVALID_REQUEST if report.is_valid else INVALID_FLOW,
        "1 problem found" if len(errors) == 1 else f"{len(errors)} problems found",
        errors=errors,
        members={"errors_truncated": True} if report.truncated else None,
    )
