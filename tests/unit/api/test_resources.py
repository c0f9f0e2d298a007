from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from flow_manager.core.document import flow_schema
from flow_manager.core.states import ExecutionStatus
from flow_manager.ports.backend import Health, TaskType, Violation
from tests.support.fake_backend import COMPLETED, EXECUTION, FakeBackend
from tests.unit.api.conftest import kind_of, problem_of


@pytest.mark.parametrize(
    ("query", "limit", "status"),
    [
        ("", 50, None),
        ("?limit=1", 1, None),
        ("?limit=1000&status=failed", 1000, ExecutionStatus.FAILED),
        ("?status=needs_repair", 50, ExecutionStatus.NEEDS_REPAIR),
    ],
)
def test_executions_are_listed(
    client: FlaskClient, backend: FakeBackend, query: str, limit: int, status: ExecutionStatus | None
) -> None:
    response = client.get(f"/v1/executions{query}")

    assert backend.listed == [(limit, status)]
    assert response.get_json() == {
        "executions": [
            {
                "execution_id": EXECUTION,
                "flow_id": "flow123",
                "status": "completed",
                "start_time": "2026-01-14T10:30:00.000000Z",
                "end_time": "2026-01-14T10:30:02.000000Z",
            }
        ]
    }


def test_an_execution_is_shown_as_its_status(client: FlaskClient) -> None:
    shown = client.get(f"/v1/executions/{EXECUTION}")

    assert shown.status_code == 200
    assert shown.data == client.get(f"/flow/status/{EXECUTION}").data


def test_a_history_counts_its_events_from_one(client: FlaskClient) -> None:
    body = client.get(f"/v1/executions/{EXECUTION}/history").get_json()

    assert body["execution_id"] == EXECUTION
    assert [event["seq"] for event in body["events"]] == list(range(1, len(COMPLETED) + 1))
    assert body["events"][0] == {
        "seq": 1,
        "type": "execution_started",
        "at": "2026-01-14T10:30:00Z",
        "flow_id": "flow123",
        "input": {"n": 1},
    }


def test_task_types_are_listed_with_their_schemas(client: FlaskClient, backend: FakeBackend) -> None:
    schema = {"type": "object"}
    backend.types = [TaskType("fetch", "async", "Fetches.", schema, "shop.tasks:Fetch")]

    body = client.get("/v1/tasks").get_json()

    assert body == {
        "tasks": [
            {
                "name": "fetch",
                "runs": "async",
                "description": "Fetches.",
                "input_schema": schema,
                "origin": "shop.tasks:Fetch",
            }
        ]
    }


def test_the_schema_of_flows_is_published(client: FlaskClient) -> None:
    assert client.get("/v1/schema/flow").get_json() == flow_schema()


def test_the_doctor_finds_nothing_in_a_sound_store(client: FlaskClient) -> None:
    assert client.get("/v1/doctor").get_json() == {"sound": True, "violations": []}


def test_the_doctor_tells_what_does_not_hold(client: FlaskClient, backend: FakeBackend) -> None:
    backend.broken = [Violation(EXECUTION, "wake.missing", "nothing will move it on")]

    response = client.get("/v1/doctor")

    assert response.status_code == 200
    assert response.get_json() == {
        "sound": False,
        "violations": [
            {"execution_id": EXECUTION, "code": "wake.missing", "detail": "nothing will move it on"}
        ],
    }


@pytest.mark.parametrize(
    ("state", "ready"),
    [
        (Health("ok", True, 3, {"kind": "sqlite"}), True),
        (Health("stopping", False, 3, {"kind": "sqlite"}), False),
        (Health("full", False, 3, {"kind": "sqlite"}), False),
        (Health("read_only", False, 0, {"kind": "sqlite"}), False),
    ],
)
def test_a_service_that_takes_no_work_is_alive_and_not_ready(
    client: FlaskClient, backend: FakeBackend, state: Health, ready: bool
) -> None:
    backend.state = state

    alive, readiness = client.get("/health"), client.get("/health/ready")

    assert alive.status_code == 200
    body = alive.get_json()
    assert isinstance(body.pop("version"), str)
    assert body == {
        "status": state.status,
        "accepts_work": ready,
        "open_executions": state.open_executions,
        "store": {"kind": "sqlite"},
    }
    if ready:
        assert readiness.get_json() == alive.get_json()
    else:
        assert kind_of(readiness) == (503, "not-ready")
        assert problem_of(readiness)["health"] == alive.get_json()
        assert readiness.headers["Retry-After"]


def test_the_index_links_to_every_endpoint(client: FlaskClient) -> None:
    links: dict[str, Any] = client.get("/").get_json()["links"]
    routes = {
        f"{method} " + re.sub(r"<([a-z_]+)>", r"{\1}", rule.rule.replace("<text>", "<execution_id>"))
        for rule in client.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert set(links.values()) == routes - {"GET /"}


@pytest.mark.parametrize("path", ["/", "/health", "/v1/tasks", "/v1/executions", f"/flow/status/{EXECUTION}"])
def test_head_answers_as_get_does_without_the_body(client: FlaskClient, path: str) -> None:
    got, head = client.get(path), client.head(path)

    assert head.status_code == got.status_code == 200
    assert head.data == b""
    assert head.headers["Content-Length"] == str(len(got.data))


def test_options_tells_the_methods(client: FlaskClient) -> None:
    response = client.options("/flow/execute")

    assert response.status_code == 200
    assert set(response.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert "Access-Control-Allow-Origin" not in response.headers
