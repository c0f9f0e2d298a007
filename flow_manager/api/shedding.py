"""Shedding: what finds no place is refused before anything else is done for it.

A refusal that went through the whole application cost half as much as an execution. Clients that do not slow
down then took the interpreter from what had been accepted: at five times the load that it can bear, the
service went on with a thirtieth of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flask import Response

from flow_manager.api.problems import OVERLOADED, Refusal
from flow_manager.api.requests import name_of_request
from flow_manager.api.room import TAKEN, Room

_REFUSAL: Final = Refusal(OVERLOADED, TAKEN)


class Shedding:
    """Refuses requests with a body while there is no place for one in `bodies`."""

    def __init__(self, bodies: Room) -> None:
        self._bodies = bodies

    def refusal(self, environ: Mapping[str, Any]) -> Response | None:
        """The answer to a request that nothing is done for, or None."""
        if environ["REQUEST_METHOD"] != "POST" or not self._bodies.is_full:
            return None
        request_id = name_of_request(environ)
        response = _REFUSAL.to_response(request_id)
        response.headers.add("X-Request-Id", request_id)
        return response
