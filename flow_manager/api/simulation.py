"""`/v1/flows:simulate`, `:test` and `:whatif`: what a flow would do, without doing it.

The code of the tasks is not needed, so task types are not checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from flask import Flask, Response
from pydantic import BaseModel, ConfigDict, Field

from flow_manager.api.answers import answer
from flow_manager.api.bodies import read_model
from flow_manager.api.execution_request import ExecutionRequest
from flow_manager.api.problems import INVALID_FLOW, Refusal
from flow_manager.api.requests import read_body, read_parameters
from flow_manager.api.room import Room
from flow_manager.api.settings import ApiSettings
from flow_manager.core.definition import Flow
from flow_manager.core.execution_id import read_execution_id
from flow_manager.core.parser import FlowParser
from flow_manager.core.simulation.cases import coverage_of, run_cases
from flow_manager.core.simulation.mocks import parse_simulation
from flow_manager.core.simulation.simulate import simulate
from flow_manager.core.simulation.whatif import Comparison, WhatIf, summary_of
from flow_manager.errors import InvalidRequest, Problem
from flow_manager.ports.backend import MOST_LISTED, Backend
from flow_manager.ports.search import Filter

AT_ONCE: Final = 2
"""Requests that are worked on at once: each keeps a core busy."""
DEFAULT_COMPARED: Final = 100
"""Recorded executions that are compared, if nobody says how many."""
MOST_EVENTS: Final = 200_000
"""Events, recorded or simulated, after which a request looks at nothing more; some seconds."""


class Against(BaseModel):
    """What a flow is held against: executions by id, or the newest of a flow."""

    model_config = ConfigDict(strict=True, extra="ignore")

    executions: list[str] | None = Field(None, max_length=MOST_LISTED)
    flow_id: str | None = Field(None, max_length=128)
    limit: int = Field(DEFAULT_COMPARED, ge=1, le=MOST_LISTED)


class SimulationRoutes:
    """They change nothing. What they do may take seconds, so they share a small room; beyond it they
    are refused with 503."""

    def __init__(self, backend: Backend, settings: ApiSettings) -> None:
        self._backend = backend
        self._max_body = settings.max_body
        self._room = Room(min(AT_ONCE, settings.handler_threads - 2))

    def add_to(self, app: Flask) -> None:
        app.add_url_rule("/v1/flows:simulate", view_func=self.simulate, methods=["POST"])
        app.add_url_rule("/v1/flows:test", view_func=self.test, methods=["POST"])
        app.add_url_rule("/v1/flows:whatif", view_func=self.what_if, methods=["POST"])

    def simulate(self) -> Response:
        """200 also if the simulated execution fails: the simulation worked."""
        read_parameters()
        with self._room:
            flow, told = _take_flow(read_body(self._max_body))
            history = told.pop("history", False)
            if not isinstance(history, bool):
                detail = "this must be true or false"
                raise InvalidRequest(detail, [Problem("#/history", "wrong-type", detail)])
            return answer(simulate(flow, parse_simulation(told, flow)).to_json(history=history))

    def test(self) -> Response:
        """200 also if a case fails; `passed` says so."""
        read_parameters()
        with self._room:
            asked = ExecutionRequest.of(read_body(self._max_body))
            if asked.problems:
                raise InvalidRequest(asked.problems[0].detail, asked.problems)
            flow = _parse(asked.document)
            at = ("flow", "tests") if "flow" in asked.document else ("tests",)
            results = run_cases(flow, at, MOST_EVENTS)
            is_whole = len(results) == len(flow.cases)
            body = {
                "passed": is_whole and all(result.passed for result in results),
                "cases": [result.to_json() for result in results],
                "coverage": coverage_of(flow, results).to_json(),
            }
            return answer(body if is_whole else body | {"truncated": True})

    def what_if(self) -> Response:
        read_parameters()
        with self._room:
            flow, told = _take_flow(read_body(self._max_body))
            ids = self._chosen(read_model(Against, told), flow)
            compared = list(self._compare(WhatIf(flow), ids))
            body: dict[str, Any] = {
                "summary": summary_of(comparison for _, comparison in compared),
                "executions": [
                    {"execution_id": execution_id, **comparison.to_json()}
                    for execution_id, comparison in compared
                ],
            }
            if len(compared) < len(ids):
                body["truncated"] = True
            return answer(body)

    def _chosen(self, against: Against, flow: Flow) -> Sequence[str]:
        if against.executions is not None:
            return [read_execution_id(text) for text in against.executions]
        wanted = Filter(flow_id=against.flow_id or flow.id)
        page = self._backend.search.page(wanted, None, against.limit)
        return [each.execution_id for each in page.executions]

    def _compare(self, what_if: WhatIf, ids: Sequence[str]) -> Iterator[tuple[str, Comparison]]:
        read = 0
        for execution_id in ids:
            history = self._backend.history(execution_id)
            read += len(history)
            if read > MOST_EVENTS:
                return
            yield execution_id, what_if.compare(history, execution_id)


def _take_flow(body: object) -> tuple[Flow, dict[str, Any]]:
    """The flow in a body, and what stands beside it."""
    if not isinstance(body, dict) or "flow" not in body:
        detail = "the body is an object with the member 'flow'"
        raise InvalidRequest(detail, [Problem("#", "wrong-type", detail)])
    told = {name: value for name, value in body.items() if name != "flow"}
    return _parse({"flow": body["flow"]}), told


def _parse(document: Mapping[str, Any]) -> Flow:
    report = FlowParser().check(document)
    if report.flow is None:
        errors = [problem.to_json() for problem in report.errors]
        detail = "1 problem found" if len(errors) == 1 else f"{len(errors)} problems found"
        raise Refusal(INVALID_FLOW, detail, errors=errors)
    return report.flow
