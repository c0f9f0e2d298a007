from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flow_manager.core.report import Report
from flow_manager.errors import Problem
from flow_manager.settings import Settings
from tests.support.fake_backend import (
    COMPLETED,
    DOCUMENT,
    EXECUTION,
    FAILED,
    FLOW,
    FakeBackend,
    invalid,
)
from tests.unit.api.conftest import client_of, codes_of, kind_of, problem_of

LOCATION = f"/flow/status/{EXECUTION}"
UNREACHABLE = Problem("#/flow/tasks/1", "unreachable", "no condition leads here")


def test_execute_answers_with_the_execution_when_it_has_ended(
    client: FlaskClient, backend: FakeBackend
) -> None:
    response = client.post("/flow/execute", json=DOCUMENT)

    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert "Location" not in response.headers
    assert "Preference-Applied" not in response.headers
    assert backend.checked == [DOCUMENT]
    assert response.get_json() == {
        "execution_id": EXECUTION,
        "flow_id": "flow123",
        "status": "completed",
        "execution_history": [
            {
                "task_name": "fetch",
                "status": "success",
                "message": "Data fetched successfully",
                "data": {"rows": 3},
                "run": 1,
                "attempt": 1,
                "start_time": "2026-01-14T10:30:00.000000Z",
                "end_time": "2026-01-14T10:30:01.000000Z",
                "duration_ms": 1000.0,
                "error": None,
            },
            {
                "task_name": "store",
                "status": "success",
                "message": "Data stored successfully",
                "data": None,
                "run": 2,
                "attempt": 1,
                "start_time": "2026-01-14T10:30:01.000000Z",
                "end_time": "2026-01-14T10:30:02.000000Z",
                "duration_ms": 1000.0,
                "error": None,
            },
        ],
        "start_time": "2026-01-14T10:30:00.000000Z",
        "end_time": "2026-01-14T10:30:02.000000Z",
    }


def test_a_flow_that_failed_is_a_call_that_worked(client: FlaskClient, backend: FakeBackend) -> None:
    backend.events = FAILED

    response = client.post("/flow/execute", json=DOCUMENT)

    assert response.status_code == 200
    assert response.get_json()["status"] == "failed"
    assert response.get_json()["error"]["code"] == "task.failed"


@pytest.mark.parametrize(
    ("body", "document", "given", "labels"),
    [
        (DOCUMENT, DOCUMENT, {}, {}),
        (DOCUMENT["flow"], DOCUMENT["flow"], {}, {}),
        ({**DOCUMENT, "input": {"n": 1}}, DOCUMENT, {"n": 1}, {}),
        ({**DOCUMENT, "labels": {"team": "data"}}, DOCUMENT, {}, {"team": "data"}),
        ({**DOCUMENT, "x-note": [1], "input": {}}, DOCUMENT, {}, {}),
        ({"id": "bare", "labels": {"a": "b"}}, {"id": "bare", "labels": {"a": "b"}}, {}, {}),
    ],
)
def test_input_and_labels_may_stand_beside_a_wrapped_flow(
    client: FlaskClient,
    backend: FakeBackend,
    body: dict[str, Any],
    document: dict[str, Any],
    given: dict[str, Any],
    labels: dict[str, str],
) -> None:
    response = client.post("/flow/execute", json=body, headers={"Idempotency-Key": "ignored so far"})

    assert response.status_code == 200
    assert backend.checked == [document]
    assert (backend.starts[0].input, backend.starts[0].labels) == (given, labels)


@pytest.mark.parametrize(
    ("beside", "pointer", "code"),
    [
        ({"inputs": {}}, "#/inputs", "unknown-field"),
        ({"a/b": 1}, "#/a~1b", "unknown-field"),
        ({"input": [1]}, "#/input", "wrong-type"),
        ({"input": None}, "#/input", "wrong-type"),
        ({"labels": "a"}, "#/labels", "wrong-type"),
        ({"labels": {"a": 1}}, "#/labels/a", "wrong-type"),
        ({"labels": {"1a": "b"}}, "#/labels/1a", "bad-name"),
        ({"labels": {"a": "b\r\nc"}}, "#/labels/a", "bad-label"),
        ({"labels": {"a": "b\n"}}, "#/labels/a", "bad-label"),
        ({"labels": {"a": "b" * 256}}, "#/labels/a", "bad-label"),
        ({"labels": {f"a{n}": "b" for n in range(65)}}, "#/labels", "too-many"),
    ],
)
@pytest.mark.parametrize("path", ["/flow/execute", "/flow/validate"])
def test_nothing_else_may_stand_there(
    client: FlaskClient, backend: FakeBackend, path: str, beside: dict[str, Any], pointer: str, code: str
) -> None:
    response = client.post(path, json={**DOCUMENT, **beside})

    assert kind_of(response) == (422, "invalid-request")
    assert codes_of(response) == [(pointer, code)]
    assert backend.starts == []


def test_a_wrong_name_is_answered_with_the_right_one(client: FlaskClient) -> None:
    response = client.post("/flow/execute", json={**DOCUMENT, "inputs": {}})

    assert problem_of(response)["errors"][0]["hint"] == "did you mean 'input'?"


def test_problems_of_the_flow_and_beside_it_come_at_once(client: FlaskClient, backend: FakeBackend) -> None:
    backend.report = invalid(Problem("#/flow/start_task", "unknown-task", "no task is named so"))

    response = client.post("/flow/execute", json={**DOCUMENT, "inputs": {}})

    assert kind_of(response) == (422, "invalid-flow")
    assert codes_of(response) == [("#/inputs", "unknown-field"), ("#/flow/start_task", "unknown-task")]
    assert problem_of(response)["detail"] == "2 problems found"


def test_an_invalid_flow_is_not_started(client: FlaskClient, backend: FakeBackend) -> None:
    backend.report = invalid(Problem("#/flow", "required", "there is no start_task", hint="add one"))

    response = client.post("/flow/execute", json=DOCUMENT)

    assert kind_of(response) == (422, "invalid-flow")
    assert problem_of(response)["errors"] == [
        {"pointer": "#/flow", "code": "required", "detail": "there is no start_task", "hint": "add one"}
    ]
    assert backend.starts == []


@pytest.mark.parametrize(
    ("count", "cut_before", "listed", "truncated"),
    [(100, False, 100, False), (101, False, 100, True), (100, True, 100, True)],
)
def test_at_most_a_hundred_problems_are_listed(
    client: FlaskClient, backend: FakeBackend, count: int, cut_before: bool, listed: int, truncated: bool
) -> None:
    problems = [Problem(f"#/flow/tasks/{number}", "bad-name", "wrong") for number in range(count)]
    backend.report = invalid(*problems, truncated=cut_before)

    problem = problem_of(client.post("/flow/validate", json=DOCUMENT))

    assert len(problem["errors"]) == listed
    assert problem.get("errors_truncated", False) is truncated


@pytest.mark.parametrize(
    ("prefer", "wait", "applied"),
    [
        (None, 60, None),
        ("wait=5", 5, "wait=5"),
        ("wait=99999", 3600, "wait=3600"),
        ("respond-async, wait=5", 5, "respond-async, wait=5"),
        ("wait=soon", 60, None),
    ],
)
def test_a_caller_who_waits_gets_the_result(
    client: FlaskClient, backend: FakeBackend, prefer: str | None, wait: int, applied: str | None
) -> None:
    response = client.post("/flow/execute", json=DOCUMENT, headers={"Prefer": prefer} if prefer else {})

    assert response.status_code == 200
    assert response.headers.get("Preference-Applied") == applied
    assert [start.wait for start in backend.starts] == [timedelta(seconds=wait)]


@pytest.mark.parametrize(("prefer", "applied"), [("respond-async", "respond-async"), ("wait=0", "wait=0")])
def test_a_caller_who_does_not_wait_is_told_where_to_look(
    client: FlaskClient, backend: FakeBackend, prefer: str, applied: str
) -> None:
    response = client.post("/flow/execute", json=DOCUMENT, headers={"Prefer": prefer})

    assert response.status_code == 202
    assert response.headers["Location"] == LOCATION
    assert response.headers["Preference-Applied"] == applied
    assert response.get_json()["status"] == "running"
    assert [start.wait for start in backend.starts] == [timedelta(0)]


def test_when_the_wait_is_over_the_answer_is_how_it_stands(backend: FakeBackend) -> None:
    backend.ending.clear()
    client = client_of(backend, Settings(wait_limit=timedelta(milliseconds=10)))

    response = client.post("/flow/execute", json=DOCUMENT)

    assert response.status_code == 202
    assert response.headers["Location"] == LOCATION
    assert [entry["status"] for entry in response.get_json()["execution_history"]] == ["running"]


def test_without_a_place_to_wait_in_the_flow_is_started_all_the_same(backend: FakeBackend) -> None:
    client = client_of(backend, Settings(handler_threads=20, max_waiters=1))
    with _Waiting(client, backend) as waiting:
        second = client.post("/flow/execute", json=DOCUMENT, headers={"Prefer": "wait=30"})

    assert second.status_code == 202
    assert second.headers["Location"] == LOCATION
    assert "Preference-Applied" not in second.headers
    assert [answer.status_code for answer in waiting.answers] == [200]
    assert client.post("/flow/execute", json=DOCUMENT).status_code == 200


def test_the_last_threads_are_kept_for_requests_that_only_read(backend: FakeBackend) -> None:
    client = client_of(backend, Settings(handler_threads=9, max_waiters=8))
    with _Waiting(client, backend):
        executed = client.post("/flow/execute", json=DOCUMENT)
        validated = client.post("/flow/validate", json=DOCUMENT)
        read = [client.get(path) for path in ("/health", LOCATION, "/v1/executions")]

    assert kind_of(executed) == kind_of(validated) == (503, "overloaded")
    assert executed.headers["Retry-After"] == "1"
    assert [answer.status_code for answer in read] == [200, 200, 200]
    assert client.post("/flow/validate", json=DOCUMENT).status_code == 200


def test_a_place_is_given_back_after_a_request_that_failed(backend: FakeBackend) -> None:
    client = client_of(backend, Settings(handler_threads=3, max_waiters=1))
    backend.error = RuntimeError("broken")
    failed = [client.post("/flow/execute", json=DOCUMENT).status_code for _ in range(3)]
    backend.error = None

    response = client.post("/flow/execute", json=DOCUMENT)

    assert failed == [500, 500, 500]
    assert response.status_code == 200


def test_status_answers_with_the_same_body_as_execute(client: FlaskClient) -> None:
    executed = client.post("/flow/execute", json=DOCUMENT)
    status = client.get(LOCATION)

    assert status.status_code == 200
    assert status.data == executed.data


def test_an_execution_that_goes_on_has_a_status_too(client: FlaskClient, backend: FakeBackend) -> None:
    backend.events = COMPLETED[:5]

    body = client.get(LOCATION).get_json()

    assert body["status"] == "running"
    assert body["end_time"] is None


def test_a_valid_flow_is_told_its_warnings(client: FlaskClient, backend: FakeBackend) -> None:
    backend.report = Report(errors=(), warnings=(UNREACHABLE,), flow=FLOW)

    response = client.post("/flow/validate", json={**DOCUMENT, "input": {}})

    assert response.status_code == 200
    body = response.get_json()
    assert (body["valid"], body["warnings"]) == (True, [UNREACHABLE.to_json()])
    assert [[step["task"] for step in route["steps"]] for route in body["routes"]] == [
        ["fetch", "store"],
        ["fetch", "store"],
        ["fetch"],
    ]
    assert (body["unhandled_failures"], body["routes_truncated"]) == (["fetch", "store"], False)
    assert backend.starts == []


def test_an_invalid_flow_is_told_everything(client: FlaskClient, backend: FakeBackend) -> None:
    wrong = Problem("#/flow/start_task", "unknown-task", "no task is named so")
    backend.report = Report(errors=(wrong,), warnings=(UNREACHABLE,), flow=None)

    response = client.post("/flow/validate", json=DOCUMENT)

    assert kind_of(response) == (422, "invalid-flow")
    problem = problem_of(response)
    assert problem["valid"] is False
    assert problem["errors"] == [wrong.to_json()]
    assert problem["warnings"] == [UNREACHABLE.to_json()]


class _Waiting:
    """While this is entered, one request waits for the result of an execution."""

    def __init__(self, client: FlaskClient, backend: FakeBackend) -> None:
        self.answers: list[TestResponse] = []
        self._backend = backend
        self._app = client.application
        self._thread = threading.Thread(target=self._wait)

    def _wait(self) -> None:
        self.answers.append(self._app.test_client().post("/flow/execute", json=DOCUMENT))

    def __enter__(self) -> _Waiting:
        self._backend.ending.clear()
        self._thread.start()
        assert self._backend.started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._backend.ending.set()
        self._thread.join()
