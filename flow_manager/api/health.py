"""`/`, `/health` and `/health/ready`: what is here, whether it lives, whether it takes work."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response

from flow_manager import __version__
from flow_manager.api.answers import answer
from flow_manager.api.problems import NOT_READY, Refusal
from flow_manager.ports.backend import Backend

LINKS = {
    "execute": "POST /flow/execute",
    "status": "GET /flow/status/{execution_id}",
    "validate": "POST /flow/validate",
    "validate_flow": "POST /v1/flows:validate",
    "health": "GET /health",
    "ready": "GET /health/ready",
    "metrics": "GET /metrics",
    "executions": "GET /v1/executions",
    "counts": "GET /v1/executions:counts",
    "changes": "GET /v1/executions:events",
    "execution": "GET /v1/executions/{execution_id}",
    "history": "GET /v1/executions/{execution_id}/history",
    "capsule": "GET /v1/executions/{execution_id}/capsule",
    "events": "GET /v1/executions/{execution_id}/events",
    "children": "GET /v1/executions/{execution_id}/children",
    "cancel": "POST /v1/executions/{execution_id}:cancel",
    "signal": "POST /v1/executions/{execution_id}:signal",
    "why": "GET /v1/executions/{execution_id}/why",
    "bulk": "POST /v1/executions:bulk",
    "pause": "POST /v1/executions/{execution_id}:pause",
    "resume": "POST /v1/executions/{execution_id}:resume",
    "retry": "POST /v1/executions/{execution_id}:retry",
    "rerun": "POST /v1/executions/{execution_id}:rerun",
    "skip": "POST /v1/executions/{execution_id}:skip",
    "fork": "POST /v1/executions/{execution_id}:fork",
    "question": "GET /v1/approvals/{token}",
    "answer": "POST /v1/approvals/{token}",
    "simulate": "POST /v1/flows:simulate",
    "test": "POST /v1/flows:test",
    "whatif": "POST /v1/flows:whatif",
    "schedules": "GET /v1/schedules",
    "schedule": "GET /v1/schedules/{schedule_id}",
    "put_schedule": "PUT /v1/schedules/{schedule_id}",
    "delete_schedule": "DELETE /v1/schedules/{schedule_id}",
    "pause_schedule": "POST /v1/schedules/{schedule_id}:pause",
    "resume_schedule": "POST /v1/schedules/{schedule_id}:resume",
    "trigger_schedule": "POST /v1/schedules/{schedule_id}:trigger",
    "backfill_schedule": "POST /v1/schedules/{schedule_id}:backfill",
    "schedule_times": "GET /v1/schedules/{schedule_id}/preview",
    "schedule_fires": "GET /v1/schedules/{schedule_id}/fires",
    "preview_schedule": "POST /v1/schedules:preview",
    "publish": "PUT /v1/flows/{flow_id}",
    "flows": "GET /v1/flows",
    "flow": "GET /v1/flows/{flow_id}",
    "versions": "GET /v1/flows/{flow_id}/versions",
    "version": "GET /v1/flows/{flow_id}/versions/{version}",
    "delete_flow": "DELETE /v1/flows/{flow_id}",
    "start": "POST /v1/flows/{flow_id}/executions",
    "start_all": "POST /v1/flows/{flow_id}/executions:batch",
    "tasks": "GET /v1/tasks",
    "schema": "GET /v1/schema/flow",
    "doctor": "GET /v1/doctor",
    "repair": "POST /v1/doctor:repair",
    "openapi": "GET /openapi.json",
    "docs": "GET /docs",
}


def add_health_routes(app: Flask, backend: Backend) -> None:
    def state() -> dict[str, Any]:
        health = backend.health()
        return {
            "status": health.status,
            "version": __version__,
            "accepts_work": health.accepts_work,
            "open_executions": health.open_executions,
            "store": dict(health.store),
        }

    def index() -> Response:
        return answer({"service": "flow-manager", "version": __version__, "links": LINKS})

    def alive() -> Response:
        """200 as long as the process answers; `status` tells what it can do."""
        return answer(state())

    def ready() -> Response:
        """200 if new executions are accepted, else 503: for a balancer to choose by."""
        body = state()
        if not body["accepts_work"]:
            detail = f"the status is {body['status']}: what is stored can be read, nothing new is accepted"
            raise Refusal(NOT_READY, detail, members={"health": body})
        return answer(body)

    app.add_url_rule("/", view_func=index)
    app.add_url_rule("/health", view_func=alive)
    app.add_url_rule("/health/ready", view_func=ready)
