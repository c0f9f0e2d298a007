"""Schedules of a store that cannot be written; the rest is tested over a real port."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.unit.api.conftest import codes_of, kind_of

SCHEDULE = {"flow_id": "nightly", "cron": "30 2 * * *"}
RANGE = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "", SCHEDULE),
        ("DELETE", "", None),
        ("POST", ":pause", {}),
        ("POST", ":resume", {}),
        ("POST", ":trigger", {}),
        ("POST", ":backfill", RANGE),
    ],
)
def test_a_store_that_cannot_be_written_refuses_changes(
    client: FlaskClient, method: str, path: str, body: dict[str, Any] | None
) -> None:
    response = client.open(f"/v1/schedules/one{path}", method=method, json=body)

    assert kind_of(response) == (503, "read-only")


def test_previews_and_lists_go_on(client: FlaskClient) -> None:
    preview = client.post("/v1/schedules:preview?count=2", json=SCHEDULE)

    assert (preview.status_code, len(preview.get_json()["times"])) == (200, 2)
    assert client.get("/v1/schedules").get_json() == {"schedules": []}


@pytest.mark.parametrize("path", ["", "/preview", "/fires"])
def test_a_schedule_that_is_not_there(client: FlaskClient, path: str) -> None:
    assert kind_of(client.get(f"/v1/schedules/none{path}")) == (404, "not-found")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x"])
def test_bounds_of_a_list(client: FlaskClient, query: str) -> None:
    assert codes_of(client.get(f"/v1/schedules?{query}")) == [("limit", "out-of-range")]
