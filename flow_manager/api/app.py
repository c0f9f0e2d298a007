"""The web application: a factory that puts the routes together."""

from __future__ import annotations

from flask import Flask, Response, request

from flow_manager.api.brief import FlowRoutes
from flow_manager.api.health import add_health_routes
from flow_manager.api.problems import REQUEST_ID, answer_error
from flow_manager.api.requests import Guard
from flow_manager.api.settings import ApiSettings
from flow_manager.api.v1 import ResourceRoutes
from flow_manager.ports.backend import Backend


def create_app(backend: Backend, settings: ApiSettings) -> Flask:
    """The service on a backend. It keeps no state but the places that requests take."""
    app = Flask(__name__, static_folder=None)
    # Flask would redirect //health to /health, with a page of HTML; here both are addresses of their own.
    app.url_map.merge_slashes = False
    app.before_request(Guard(settings).check)
    app.after_request(_name_request)
    app.register_error_handler(Exception, answer_error)
    FlowRoutes(backend, settings).add_to(app)
    ResourceRoutes(backend).add_to(app)
    add_health_routes(app, backend)
    return app


def _name_request(response: Response) -> Response:
    response.headers.add("X-Request-Id", request.environ[REQUEST_ID])
    return response
