"""`/v1/executions/{id}/capsule`: a recorded execution as one document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from flask import Flask, Response

from flow_manager.api.answers import answer
from flow_manager.api.requests import read_parameters
from flow_manager.api.room import Room
from flow_manager.core.execution_id import read_execution_id
from flow_manager.ports.backend import Backend

AT_ONCE: Final = 2
"""Capsules that are made at once: each may have 16 MiB."""


class CapsuleRoutes:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._room = Room(AT_ONCE)

    def add_to(self, app: Flask) -> None:
        app.add_url_rule("/v1/executions/<text>/capsule", view_func=self.capsule)

    def capsule(self, text: str) -> Response:
        """The execution, to be taken elsewhere and replayed there."""
        read_parameters()
        execution_id = read_execution_id(text)
        with self._room:
            return answer(self._backend.capsules.export(execution_id, datetime.now(UTC)))
