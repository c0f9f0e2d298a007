from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from flask.testing import FlaskClient

from flow_manager.api import simulation
from flow_manager.errors import ShuttingDown
from flow_manager.settings import Settings
from tests.support.fake_backend import DOCUMENT, EXECUTION, FAILED, FakeBackend
from tests.unit.api.conftest import client_of, codes_of, kind_of

FLOW: dict[str, Any] = DOCUMENT["flow"]
GOOD = {"name": "good", "expect": {"status": "completed", "route": ["fetch", "store"]}}
BAD = {"name": "bad", "expect": {"status": "failed"}}


def changed(**fields: Any) -> dict[str, Any]:
    return FLOW | fields


# -- simulate


def test_a_flow_is_simulated(client: FlaskClient, backend: FakeBackend) -> None:
    body = {"flow": FLOW, "mocks": {"fetch": [{"data": {"n": 1}}]}, "now": "2026-05-01T00:00:00Z"}

    response = client.post("/v1/flows:simulate", json=body)

    answer = response.get_json()
    assert response.status_code == 200
    assert (answer["status"], answer["route"], answer["unmocked"]) == (
        "completed",
        ["fetch", "store"],
        ["store"],
    )
    assert answer["started_at"] == "2026-05-01T00:00:00.000000Z"
    assert "events" not in answer
    assert backend.starts == []


def test_a_simulation_that_fails_is_answered_all_the_same(client: FlaskClient) -> None:
    body = {"flow": FLOW, "mocks": {"fetch": [{"outcome": "timeout"}]}, "history": True}

    response = client.post("/v1/flows:simulate", json=body)

    assert response.status_code == 200
    assert response.get_json()["status"] == "failed"
    assert [event["type"] for event in response.get_json()["events"]][-1] == "execution_ended"


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"flow": FLOW, "mocks": {"fetsh": [{}]}}, [("#/mocks/fetsh", "unknown-task")]),
        ({"flow": FLOW, "moks": {}}, [("#/moks", "unknown-field")]),
        ({"flow": FLOW, "input": 3}, [("#/input", "schema")]),
        ({"flow": FLOW, "history": 3}, [("#/history", "wrong-type")]),
        ({"flow": changed(input_schema={"required": ["n"]})}, [("#/input", "schema")]),
        ({"mocks": {}}, [("#", "wrong-type")]),
        ([FLOW], [("#", "wrong-type")]),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    body: Any, errors: list[tuple[str, str]], client: FlaskClient
) -> None:
    response = client.post("/v1/flows:simulate", json=body)

    assert kind_of(response) == (422, "invalid-request")
    assert codes_of(response) == errors


@pytest.mark.parametrize("path", ["/v1/flows:simulate", "/v1/flows:test", "/v1/flows:whatif"])
def test_a_wrong_flow_is_refused_with_its_problems(path: str, client: FlaskClient) -> None:
    response = client.post(path, json={"flow": changed(start_task="fetsh")})

    assert kind_of(response) == (422, "invalid-flow")
    assert ("#/flow/start_task", "unknown-task") in codes_of(response)


# -- test


@pytest.mark.parametrize("wrap", [True, False])
def test_golden_cases_are_run(wrap: bool, client: FlaskClient) -> None:
    document = changed(tests=[GOOD, BAD])

    response = client.post("/v1/flows:test", json={"flow": document} if wrap else document)

    answer = response.get_json()
    assert (response.status_code, answer["passed"]) == (200, False)
    assert [case["passed"] for case in answer["cases"]] == [True, False]
    assert answer["cases"][1]["differences"] == [
        {"pointer": "#/status", "expected": "failed", "actual": "completed"}
    ]
    assert [edge["matched"] for edge in answer["coverage"]["exercised"]] == [True]


@pytest.mark.parametrize(
    ("wrap", "pointer"), [(True, "#/flow/tests/0/mocks/x"), (False, "#/tests/0/mocks/x")]
)
def test_a_case_that_cannot_be_run_is_refused_at_its_place(
    wrap: bool, pointer: str, client: FlaskClient
) -> None:
    document = changed(tests=[{**GOOD, "mocks": {"x": [{}]}}])

    response = client.post("/v1/flows:test", json={"flow": document} if wrap else document)

    assert kind_of(response) == (422, "invalid-flow")
    assert codes_of(response) == [(pointer, "unknown-task")]


def test_cases_beyond_what_may_be_simulated_are_not_run(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "MOST_EVENTS", 5)

    answer = client.post("/v1/flows:test", json=changed(tests=[GOOD, GOOD])).get_json()

    assert (len(answer["cases"]), answer["passed"], answer["truncated"]) == (1, False, True)


# -- what if


def test_the_newest_executions_of_the_flow_are_compared(client: FlaskClient, backend: FakeBackend) -> None:
    answer = client.post("/v1/flows:whatif", json={"flow": FLOW}).get_json()

    assert answer["summary"] == {"same": 1, "differs": 0, "needs": 0, "differences": [], "needed": []}
    assert answer["executions"] == [{"execution_id": EXECUTION, "outcome": "same"}]
    assert "truncated" not in answer


def test_executions_can_be_named(client: FlaskClient, backend: FakeBackend) -> None:
    backend.events = FAILED
    edited = changed(
        conditions=[
            {
                "name": "fetched",
                "source_task": "fetch",
                "target_task_success": "store",
                "target_task_failure": "store",
            }
        ]
    )

    answer = client.post("/v1/flows:whatif", json={"flow": edited, "executions": [EXECUTION]}).get_json()

    assert answer["executions"] == [
        {
            "execution_id": EXECUTION,
            "outcome": "needs",
            "difference": {"task": "fetch", "run": 1, "recorded": "end: failed", "new": "store"},
            "need": {"task": "store", "visit": 1, "attempt": 1},
        }
    ]
    assert answer["summary"]["needed"] == [{"task": "store", "executions": 1}]


def test_another_flow_has_its_own_executions(client: FlaskClient) -> None:
    answer = client.post("/v1/flows:whatif", json={"flow": FLOW, "flow_id": "other", "limit": 5}).get_json()

    assert answer["executions"] == []


def test_what_is_too_much_to_read_is_left_out(
    client: FlaskClient, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "MOST_EVENTS", len(backend.events))

    body = {"flow": FLOW, "executions": [EXECUTION, EXECUTION]}
    answer = client.post("/v1/flows:whatif", json=body).get_json()

    assert (len(answer["executions"]), answer["truncated"]) == (1, True)


@pytest.mark.parametrize(
    ("told", "errors"),
    [
        ({"limit": 0}, [("#/limit", "out-of-range")]),
        ({"limit": 1001}, [("#/limit", "out-of-range")]),
        ({"executions": "all"}, [("#/executions", "wrong-type")]),
        ({"flw_id": "x"}, [("#/flw_id", "unknown-field")]),
    ],
)
def test_what_cannot_be_compared_is_refused(
    told: Mapping[str, Any], errors: list[tuple[str, str]], client: FlaskClient
) -> None:
    response = client.post("/v1/flows:whatif", json={"flow": FLOW, **told})

    assert kind_of(response) == (422, "invalid-request")
    assert codes_of(response) == errors


def test_an_execution_that_nobody_knows_is_not_found(client: FlaskClient) -> None:
    unknown = EXECUTION[:-1] + "2"

    for text in (unknown, "seven"):
        response = client.post("/v1/flows:whatif", json={"flow": FLOW, "executions": [text]})
        assert kind_of(response) == (404, "not-found")


def test_a_backend_that_cannot_answer_is_told(client: FlaskClient, backend: FakeBackend) -> None:
    backend.error = ShuttingDown("the service is stopping")

    assert kind_of(client.post("/v1/flows:whatif", json={"flow": FLOW})) == (503, "stopping")
    assert client.post("/v1/flows:simulate", json={"flow": FLOW}).status_code == 200


def test_beyond_their_room_they_are_refused(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "AT_ONCE", 0)
    client = client_of(backend, Settings())

    for path in ("/v1/flows:simulate", "/v1/flows:test", "/v1/flows:whatif"):
        assert kind_of(client.post(path, json={"flow": FLOW})) == (503, "overloaded")
