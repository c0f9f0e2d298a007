"""Finding executions: a page of those that are wanted, and how many there are."""

from __future__ import annotations

import re
from typing import Any, Final

from flask import Flask, Response, request

from flow_manager.api.answers import answer
from flow_manager.api.problems import INVALID_REQUEST, Refusal
from flow_manager.api.requests import parameter_error, read_parameters
from flow_manager.api.room import Room
from flow_manager.core.states import ExecutionStatus
from flow_manager.ports.backend import Backend
from flow_manager.ports.filters import FILTERS, read_filter
from flow_manager.ports.search import DEFAULT_LISTED, MOST_LISTED

_LIMIT: Final = re.compile(r"[0-9]{1,9}")


class SearchRoutes:
    """The list of executions. It shares the room of the long reads: its work is bounded, but not small."""

    def __init__(self, backend: Backend, room: Room) -> None:
        self._search = backend.search
        self._room = room

    def add_to(self, app: Flask) -> None:
        app.add_url_rule("/v1/executions", view_func=self.executions)
        app.add_url_rule("/v1/executions:counts", view_func=self.counts)

    def executions(self) -> Response:
        """The newest first."""
        parameters = read_parameters(*FILTERS, "cursor", "limit", repeatable=("label",))
        wanted, faults = read_filter(parameters, request.args.getlist("label"))
        errors = [parameter_error(*fault) for fault in faults]
        limit = _read_limit(parameters.get("limit"), errors)
        if errors:
            raise Refusal(
                INVALID_REQUEST, f"{len(errors)} of the query parameters are not valid", errors=errors
            )
        with self._room:
            return answer(self._search.page(wanted, parameters.get("cursor"), limit).to_json())

    def counts(self) -> Response:
        """How many have each status."""
        read_parameters()
        with self._room:
            counts = self._search.counts()
            return answer({"counts": {status.value: counts[status] for status in ExecutionStatus}})


def _read_limit(text: str | None, errors: list[dict[str, Any]]) -> int:
    if text is None:
        return DEFAULT_LISTED
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= MOST_LISTED:
        errors.append(parameter_error("limit", "out-of-range", f"a whole number from 1 to {MOST_LISTED}"))
        return DEFAULT_LISTED
    return int(text)
