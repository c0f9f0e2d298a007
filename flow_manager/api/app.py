"""The web application: a factory that puts the routes together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response, request
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import BaseConverter, MapAdapter

from flow_manager.api.brief import FlowRoutes
from flow_manager.api.bulk import BulkRoutes
from flow_manager.api.capsules import CapsuleRoutes
from flow_manager.api.control import ControlRoutes
from flow_manager.api.flows import PublishingRoutes
from flow_manager.api.health import add_health_routes
from flow_manager.api.live import LiveRoutes
from flow_manager.api.metrics import add_metrics_route
from flow_manager.api.openapi import DocumentRoutes
from flow_manager.api.problems import REQUEST_ID, answer_error
from flow_manager.api.requests import Guard
from flow_manager.api.room import Room
from flow_manager.api.schedules import ScheduleRoutes
from flow_manager.api.search import SearchRoutes
from flow_manager.api.settings import ApiSettings
from flow_manager.api.shedding import Shedding
from flow_manager.api.simulation import SimulationRoutes
from flow_manager.api.starts import StartRoutes
from flow_manager.api.v1 import ResourceRoutes
from flow_manager.api.waiting import WaitingRoom
from flow_manager.ports.backend import Backend


def create_app(backend: Backend, settings: ApiSettings) -> Flask:
    """The service on a backend. It keeps no state but the places that requests take."""
    bodies = Room.for_bodies(settings.handler_threads)
    app = _Api(Shedding(bodies))
    # Else Flask redirects addresses with two slashes, with a page of HTML.
    app.url_map.merge_slashes = False
    app.url_map.converters["default"] = _Name
    app.before_request(Guard(settings).check)
    app.after_request(_name_request)
    app.register_error_handler(Exception, answer_error)
    waiting = WaitingRoom(settings.max_waiters, settings.wait_limit)
    FlowRoutes(backend, settings, bodies, waiting).add_to(app)
    reads = Room.for_long_reads(settings.handler_threads)
    ResourceRoutes(backend, reads, settings.max_body).add_to(app)
    SearchRoutes(backend, reads).add_to(app)
    LiveRoutes(backend, Room(settings.max_followers)).add_to(app)
    ControlRoutes(backend, settings, bodies).add_to(app)
    BulkRoutes(backend, settings).add_to(app)
    ScheduleRoutes(backend, settings, bodies).add_to(app)
    CapsuleRoutes(backend).add_to(app)
    SimulationRoutes(backend, settings).add_to(app)
    PublishingRoutes(backend, settings, bodies).add_to(app)
    StartRoutes(backend, settings, bodies, waiting).add_to(app)
    add_health_routes(app, backend)
    add_metrics_route(app, backend)
    DocumentRoutes().add_to(app)
    return app


def _name_request(response: Response) -> Response:
    response.headers.add("X-Request-Id", request.environ[REQUEST_ID])
    return response


class _Name(BaseConverter):
    """A variable part of a path ends before a colon, behind which stands what is to be done. Else `GET` of
    such a path would ask for something that is called so."""

    regex = "[^/:]+"
    part_isolating = True


class _NoSessions(SessionInterface):
    """Requests here have no session; all share one that refuses to be written."""

    _none = NullSession()

    def open_session(self, *_: Any, **__: Any) -> NullSession:
        return self._none


class _Api(Flask):
    """Flask without what this service has no use for; that is a fifth of the time of a small request."""

    session_interface = _NoSessions()

    def __init__(self, shedding: Shedding) -> None:
        super().__init__(__name__, static_folder=None)
        self._shedding = shedding

    def wsgi_app(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Requests that are shed are answered here, all others by Flask."""
        refusal = self._shedding.refusal(environ)
        respond = super().wsgi_app if refusal is None else refusal
        return respond(environ, start_response)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Routes look at path and method alone. Names of hosts are judged by `Guard`, as a problem;
        Flask would look at them here, before there is a request that could be answered."""
        if request is None:
            return super().create_url_adapter(request)
        environ = request.environ
        return self.url_map.bind("", path_info=request.path, default_method=environ["REQUEST_METHOD"])

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Handlers are plain functions."""
        return func
