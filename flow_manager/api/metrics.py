"""`/metrics`: what the service counts, as text for Prometheus."""

from __future__ import annotations

from flask import Flask, Response, request

from flow_manager.api.requests import read_parameters
from flow_manager.ports.backend import Backend


def add_metrics_route(app: Flask, backend: Backend) -> None:
    def metrics() -> Response:
        """In the form that the Accept header asks for."""
        read_parameters()
        media_type, text = backend.metrics.page(request.environ.get("HTTP_ACCEPT", ""))
        return Response(text, 200, [("Content-Type", media_type)])

    app.add_url_rule("/metrics", view_func=metrics)
