"""The resources under `/v1`."""

from __future__ import annotations

import msgspec
from flask import Flask, Response

from flow_manager.api.answers import answer
from flow_manager.api.bodies import Nothing, read_model
from flow_manager.api.requests import read_body, read_parameters
from flow_manager.api.room import Room
from flow_manager.core.document import flow_schema
from flow_manager.core.execution_id import read_execution_id
from flow_manager.ports.backend import Backend


class ResourceRoutes:
    """The endpoints under `/v1` that only read.

    Those whose work grows with the store share a small room; beyond it they are refused with 503.
    """

    def __init__(self, backend: Backend, room: Room, max_body: int) -> None:
        self._backend = backend
        self._max_body = max_body
        self._room = room

    def add_to(self, app: Flask) -> None:
        app.add_url_rule("/v1/executions/<text>", view_func=self.execution)
        app.add_url_rule("/v1/executions/<text>/history", view_func=self.history)
        app.add_url_rule("/v1/executions/<text>/why", view_func=self.why)
        app.add_url_rule("/v1/executions/<text>/children", view_func=self.children)
        app.add_url_rule("/v1/tasks", view_func=self.tasks)
        app.add_url_rule("/v1/schema/flow", view_func=self.schema)
        app.add_url_rule("/v1/doctor", view_func=self.doctor)
        app.add_url_rule("/v1/doctor:repair", view_func=self.repair, methods=["POST"])

    def execution(self, text: str) -> Response:
        read_parameters()
        execution_id = read_execution_id(text)
        view = self._backend.describe(execution_id)
        body = view.to_json()
        if view.wait is not None and not view.is_ended:
            questions = self._backend.questions(execution_id)
            body |= {"questions": [question.to_json() for question in questions]} if questions else {}
        return answer(body)

    def why(self, text: str) -> Response:
        """Why it is not moving."""
        read_parameters()
        return answer(self._backend.why(read_execution_id(text)).to_json())

    def children(self, text: str) -> Response:
        """The executions that it has started, in the order of their start."""
        read_parameters()
        with self._room:
            children = self._backend.children(read_execution_id(text))
            return answer({"children": [child.to_json() for child in children]})

    def history(self, text: str) -> Response:
        """All events in order; `seq` counts them from 1."""
        read_parameters()
        execution_id = read_execution_id(text)
        with self._room:
            events = [
                {"seq": seq, **msgspec.to_builtins(event)}
                for seq, event in enumerate(self._backend.history(execution_id), start=1)
            ]
            return answer({"execution_id": execution_id, "events": events})

    def tasks(self) -> Response:
        read_parameters()
        return answer({"tasks": [each.to_json() for each in self._backend.task_types()]})

    def schema(self) -> Response:
        """The JSON Schema of flow documents."""
        read_parameters()
        return answer(flow_schema())

    def doctor(self) -> Response:
        """200 also when a promise does not hold: the check itself worked."""
        read_parameters()
        with self._room:
            violations = [each.to_json() for each in self._backend.violations()]
            return answer({"sound": not violations, "violations": violations})

    def repair(self) -> Response:
        """Mend what can be mended. The body is an empty object."""
        read_parameters()
        with self._room:
            read_model(Nothing, read_body(self._max_body))
            mended = [each.to_json() for each in self._backend.repair()]
            left = [each.to_json() for each in self._backend.violations()]
            return answer({"mended": mended, "sound": not left, "violations": left})
