"""Webhooks and metrics of the service as users have it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from flow_manager.engine.signing import signature
from tests.support.documents import document, task
from tests.support.service import Service, wait_for
from tests.support.stub_api import Answer, StubApi

SECRET = "correct-horse-battery"


@pytest.fixture
def api() -> Iterator[StubApi]:
    with StubApi({"POST /all": [Answer(503), Answer(204)], "POST /own": [Answer(200)]}) as api:
        yield api


@pytest.fixture
def service(api: StubApi, tmp_path: Path) -> Iterator[Service]:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "webhooks").write_text(SECRET)
    options = ("--http-allow", "127.0.0.1", "--webhooks", f"{api.url}/all", "--secrets", str(secrets))
    with Service(tmp_path, *options) as service:
        yield service


def told(api: StubApi, times: int) -> Sequence[tuple[str, Mapping[str, str], Any]]:
    """So many requests, in the order in which they came."""
    wait_for(lambda: len(api.asked) >= times or None, lambda: f"{api.asked}")
    return api.asked


def test_the_webhooks_of_the_service_hear_of_every_end_but_those_of_children(
    service: Service, api: StubApi
) -> None:
    own = {"on_end": {"webhooks": [{"url": f"{api.url}/own", "events": ["completed"]}]}}
    child = document(task("nothing"), flow_id="child", **own)["flow"]
    parent = document(task("flow", {"flow": child}), flow_id="parent")

    execution_id = service.execute(parent).json()["execution_id"]

    asked = told(api, 3)  # the first try of the parent's was not taken
    assert sorted((path, payload["flow_id"]) for path, _, payload in asked) == [
        ("POST /all", "parent"),
        ("POST /all", "parent"),
        ("POST /own", "child"),
    ]
    [(headers, payload), again] = [(headers, body) for path, headers, body in asked if path == "POST /all"]
    assert payload == again[1]
    assert (payload["execution_id"], payload["event"]) == (execution_id, "completed")
    delivery, at = headers["webhook-id"], headers["webhook-timestamp"]
    body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    assert headers["webhook-signature"] == signature(delivery, at, body, SECRET)


def test_somebody_who_waits_is_told_of_before_the_end(service: Service, api: StubApi) -> None:
    hook = {"url": f"{api.url}/own", "events": ["waiting", "cancelled"]}
    asks = document(task("signal", {"name": "paid"}), on_end={"webhooks": [hook]})

    execution_id = service.execute(asks, "respond-async").json()["execution_id"]
    [(_, _, waiting)] = told(api, 1)
    service.client.post(f"/v1/executions/{execution_id}:cancel", json={"reason": "no money"})

    asked = wait_for(
        lambda: [each for path, _, each in api.asked if path == "POST /own"][1:] or None, service.log
    )
    assert (waiting["event"], waiting["waiting"]["reason"]) == ("waiting", "signal")
    assert [(each["event"], each["error"]["code"]) for each in asked] == [
        ("cancelled", "execution.cancelled")
    ]
    assert asked[0]["seq"] > waiting["seq"]


def test_a_stop_sends_what_is_still_to_be_told(service: Service, api: StubApi) -> None:
    slow = document(task("sleep", {"seconds": 0.5}), on_end={"webhooks": [{"url": f"{api.url}/own"}]})
    service.execute(slow, "respond-async")

    assert service.stop() == 0

    assert [path for path, _, _ in api.asked if path == "POST /own"] == ["POST /own"]


def test_metrics_tell_what_the_service_has_done(service: Service) -> None:
    service.execute(document(task("nothing"), task("fail", {"code": "shop.closed", "message": "no"})))

    text = service.client.get("/metrics", headers={"Accept": "text/plain;version=0.0.4"}).text

    lines = text.splitlines()
    assert "flow_manager_executions_started_total 1.0" in lines
    assert 'flow_manager_executions_ended_total{error="shop.closed",status="failed"} 1.0' in lines
    assert 'flow_manager_attempts_total{outcome="success",task_type="nothing"} 1.0' in lines
    assert any(line.startswith("flow_manager_commit_seconds_count") and line[-3:] != " 0.0" for line in lines)
    assert "flow_manager_wake_lateness_seconds_count 0.0" in lines


def test_lateness_is_measured_when_something_that_waited_is_taken_up(service: Service) -> None:
    service.execute(document(task("wait", {"for": "10ms"})))

    text = service.client.get("/metrics").text

    assert "flow_manager_wake_lateness_seconds_count 1.0" in text.splitlines()
