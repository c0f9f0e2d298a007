from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from flow_manager.core.states import ExecutionStatus
from flow_manager.errors import CursorInvalid
from flow_manager.ports.search import Filter
from tests.support.fake_backend import EXECUTION, FakeBackend
from tests.unit.api.conftest import codes_of, kind_of


@pytest.mark.parametrize(
    ("query", "wanted", "cursor", "limit"),
    [
        ("", Filter(), None, 50),
        ("?limit=1", Filter(), None, 1),
        ("?limit=1000&status=failed", Filter(status=ExecutionStatus.FAILED), None, 1000),
        ("?flow_id=flow123&version=2&cursor=c", Filter(flow_id="flow123", version=2), "c", 50),
        ("?label=a:1&label=b:2&q=x+%25", Filter(labels=(("a", "1"), ("b", "2")), text="x %"), None, 50),
    ],
)
def test_what_is_asked_for_is_searched(
    client: FlaskClient, backend: FakeBackend, query: str, wanted: Filter, cursor: str | None, limit: int
) -> None:
    backend.search.cursor = "next"

    response = client.get(f"/v1/executions{query}")

    assert backend.search.asked == [(wanted, cursor, limit)]
    assert response.get_json() == {
        "executions": [
            {
                "execution_id": EXECUTION,
                "flow_id": "flow123",
                "status": "completed",
                "start_time": "2026-01-14T10:30:00.000000Z",
                "end_time": "2026-01-14T10:30:02.000000Z",
            }
        ],
        "cursor": "next",
    }


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("limit=0", [("limit", "out-of-range")]),
        ("flow_id=a&flow_id=b", [("flow_id", "repeated")]),
        ("version=1", [("version", "required")]),
        ("since=now&limit=x", [("since", "bad-time"), ("limit", "out-of-range")]),
        ("&".join(f"label=a{number}:1" for number in range(6)), [("label", "too-many")]),
        ("sort=password", [("sort", "unknown-parameter")]),
    ],
)
def test_c09_a_wrong_parameter_is_named(
    client: FlaskClient, backend: FakeBackend, query: str, errors: list[tuple[str, str]]
) -> None:
    refused = client.get(f"/v1/executions?{query}")

    assert kind_of(refused) == (422, "invalid-request")
    assert codes_of(refused) == errors
    assert backend.search.asked == []


def test_c10_a_cursor_that_is_none_is_refused(client: FlaskClient, backend: FakeBackend) -> None:
    backend.error = CursorInvalid("no")

    assert kind_of(client.get("/v1/executions?cursor=forged")) == (400, "invalid-cursor")


def test_executions_are_counted_by_status(client: FlaskClient) -> None:
    counts = client.get("/v1/executions:counts").get_json()["counts"]

    assert counts == {status.value: int(status is ExecutionStatus.COMPLETED) for status in ExecutionStatus}
