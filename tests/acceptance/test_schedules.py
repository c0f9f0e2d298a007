"""Schedules as users have them: over a real port, and on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.documents import document, task
from tests.support.published import publish
from tests.support.service import ROOT, Service, wait_for

NIGHTLY = {"flow_id": "nightly", "cron": "30 2 * * *", "timezone": "Europe/Berlin"}
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("schedules")) as service:
        schema = {"properties": {"n": {"type": "integer"}}}
        publish(service.database, document(task("succeed"), flow_id="nightly", input_schema=schema))
        yield service


def put(service: Service, name: str, **fields: Any) -> httpx.Response:
    return service.client.put(f"/v1/schedules/{name}", json={**NIGHTLY, **fields})


def post(service: Service, path: str, body: object = None) -> httpx.Response:
    return service.client.post(f"/v1/schedules{path}", json={} if body is None else body)


def errors_of(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(each["pointer"], each["code"]) for each in answer.json()["errors"]]


def kind_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def test_a_schedule_is_stored_shown_and_deleted(service: Service) -> None:
    answer = put(service, "kept", description="tidy up")

    assert (answer.status_code, answer.headers["ETag"]) == (201, '"1"')
    assert answer.json()["schedule"] == {"id": "kept", "description": "tidy up", **NIGHTLY}
    assert len(answer.json()["next_times"]) == 5
    assert service.client.get("/v1/schedules/kept").json() == answer.json()
    listed = service.client.get("/v1/schedules?limit=1000").json()["schedules"]
    assert answer.json() in listed
    assert service.client.get("/v1/schedules?after=kept").json()["schedules"] == []
    assert service.client.delete("/v1/schedules/kept").status_code == 204
    assert kind_of(service.client.get("/v1/schedules/kept")) == (404, "not-found")
    assert kind_of(service.client.delete("/v1/schedules/kept")) == (404, "not-found")


def test_versions_keep_two_people_from_each_others_changes(service: Service) -> None:
    url = "/v1/schedules/versioned"
    versions = [
        service.client.put(url, json={**NIGHTLY, **fields}, headers=headers)
        for fields, headers in (
            ({}, {"If-None-Match": "*"}),
            ({}, {"If-None-Match": "*"}),
            ({}, {}),
            ({"missed": "all"}, {"If-Match": '"1"'}),
            ({"missed": "skip"}, {"If-Match": '"1"'}),
            ({"missed": "skip"}, {"If-Match": "*nonsense"}),
        )
    ]

    assert [each.status_code for each in versions] == [201, 412, 200, 200, 412, 412]
    assert [each.headers.get("ETag") for each in versions] == ['"1"', None, '"1"', '"2"', None, None]
    assert kind_of(versions[1]) == (412, "version-mismatch")
    assert service.client.delete(url, headers={"If-Match": '"1"'}).status_code == 412
    assert service.client.delete(url, headers={"If-Match": '"2"'}).status_code == 204


def test_a_changed_rule_counts_from_now_on_and_anything_else_leaves_the_times(service: Service) -> None:
    put(service, "changed", jitter="1h")
    before, described, moved = (
        service.client.get("/v1/schedules/changed").json(),
        put(service, "changed", jitter="1h", description="the same times").json(),
        put(service, "changed", jitter="1h", cron="31 2 * * *").json(),
    )

    assert described["version"] == 2
    assert described["next_time"] == before["next_time"] != before["next_times"][0]
    late = datetime.fromisoformat(before["next_time"]) - datetime.fromisoformat(before["next_times"][0])
    assert timedelta(0) < late < timedelta(hours=1)
    assert datetime.fromisoformat(moved["next_time"]) - datetime.fromisoformat(moved["next_times"][0]) == late
    assert [each[14:16] for each in moved["next_times"]] == ["31"] * 5


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"cron": "61 * * * *"}, [("#/cron", "bad-cron")]),
        ({"cron": "0 0 30 2 *"}, [("#/cron", "never-fires")]),
        ({"timezone": "../../etc/passwd"}, [("#/timezone", "unknown-zone")]),
        ({"flow_id": "nobody"}, [("#/flow_id", "unknown-flow")]),
        ({"version": 99}, [("#/flow_id", "unknown-flow")]),
        ({"input": {"n": "text"}}, [("#/input/n", "schema")]),
        ({"id": "other"}, [("#/id", "conflict")]),
    ],
)
def test_what_is_wrong_with_a_schedule_is_told(
    service: Service, fields: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    answer = put(service, "wrong", **fields)

    assert kind_of(answer) == (422, "invalid-schedule")
    assert errors_of(answer) == errors
    assert service.client.get("/v1/schedules/wrong").status_code == 404


def test_a_schedule_fires_by_itself(service: Service) -> None:
    every = {"cron": None, "timezone": None, "every": 1, "overlap": "allow"}
    assert put(service, "ticking", **every).status_code == 201

    fires = wait_for(lambda: _fires(service, "ticking", 2), lambda: "it did not fire")

    assert post(service, "/ticking:pause").json()["paused"] is True
    assert {each["outcome"] for each in fires} == {"started"}
    for each in fires:
        service.await_status(each["execution_id"])
    seen = _fires(service, "ticking", 0) or []
    assert post(service, "/ticking:resume").json()["paused"] is False
    assert seen == (_fires(service, "ticking", 0) or [])[-len(seen) :]
    assert service.client.delete("/v1/schedules/ticking").status_code == 204


def _fires(service: Service, name: str, at_least: int) -> list[dict[str, Any]] | None:
    found: list[dict[str, Any]] = service.client.get(f"/v1/schedules/{name}/fires").json()["fires"]
    return found if len(found) >= at_least else None


def test_a_trigger_starts_it_now_also_while_it_is_paused(service: Service) -> None:
    put(service, "pulled")
    post(service, "/pulled:pause")

    ids = {post(service, "/pulled:trigger").json()["execution_id"] for _ in range(3)}

    assert len(ids) == 3
    assert {service.await_status(each)["status"] for each in ids} == {"completed"}
    assert [each["outcome"] for each in _fires(service, "pulled", 3) or []] == ["triggered"] * 3


def test_a_backfill_starts_what_was_not_started_in_a_range(service: Service) -> None:
    hourly = {"cron": None, "timezone": None, "every": "1h"}
    assert put(service, "filled", **hourly).status_code == 201
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    asked = {"since": (until - timedelta(hours=9)).isoformat(), "until": until.isoformat()}

    first = post(service, "/filled:backfill", {**asked, "limit": 4})
    second = post(service, "/filled:backfill", asked)

    assert (first.status_code, len(first.json()["started"])) == (202, 4)
    assert datetime.fromisoformat(first.json()["go_on_since"]) == until - timedelta(hours=5)
    assert (len(second.json()["started"]), second.json()["already_started"]) == (6, 4)
    assert second.json()["go_on_since"] is None
    for each in second.json()["started"]:
        assert service.await_status(each["execution_id"])["status"] == "completed"
    assert len(_fires(service, "filled", 10) or []) == 10


def test_starts_of_a_schedule_keep_to_the_rate_of_their_flow(service: Service) -> None:
    publish(service.database, document(task("succeed"), flow_id="rare", rate={"limit": 2, "per": "1h"}))
    put(service, "rarely", flow_id="rare", cron=None, timezone=None, every="1h")
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    asked = {"since": (until - timedelta(hours=9)).isoformat(), "until": until.isoformat()}

    triggered = post(service, "/rarely:trigger")
    filled = post(service, "/rarely:backfill", asked)
    again = post(service, "/rarely:backfill", asked)
    refused = post(service, "/rarely:trigger")

    assert (triggered.status_code, len(filled.json()["started"])) == (202, 1)
    going_on = datetime.fromisoformat(filled.json()["started"][0]["nominal_time"]) + timedelta(hours=1)
    assert datetime.fromisoformat(filled.json()["go_on_since"]) == going_on
    assert kind_of(again) == kind_of(refused) == (429, "rate-limited")
    assert 1700 <= int(refused.headers["Retry-After"]) <= 1800
    assert len(_fires(service, "rarely", 2) or []) == 2


def test_starts_of_a_schedule_keep_to_the_concurrency_of_their_flow(service: Service) -> None:
    for flow_id, when_full in (("patient", "queue"), ("strict", "reject")):
        asks = task("signal", {"name": "go"})
        publish(
            service.database,
            document(asks, flow_id=flow_id, concurrency={"limit": 1, "when_full": when_full}),
        )
    every = {"cron": None, "timezone": None, "every": 1, "overlap": "allow"}
    for flow_id in ("patient", "strict"):
        put(service, flow_id, flow_id=flow_id, **every)

    fires = {
        flow_id: wait_for(lambda name=flow_id: _fires(service, name, 2), lambda: "it did not fire")  # type: ignore[misc]
        for flow_id in ("patient", "strict")
    }
    refused = post(service, "/strict:trigger")
    for flow_id in ("patient", "strict"):
        assert service.client.delete(f"/v1/schedules/{flow_id}").status_code == 204

    second = fires["patient"][-2]
    assert second["outcome"] == "started"
    waiting = service.client.get(f"/v1/executions/{second['execution_id']}").json()["waiting"]
    assert (waiting["reason"], waiting["detail"]) == ("slot", "patient")
    assert [each["outcome"] for each in fires["strict"][-2:]] == ["skipped_full", "started"]
    assert kind_of(refused) == (429, "concurrency-full")


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, [("#/since", "required"), ("#/until", "required")]),
        ({"since": "yesterday", "until": "2026-01-01T00:00:00Z"}, [("#/since", "bad-time")]),
        ({"since": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"}, [("#/since", "out-of-range")]),
        ({"since": "9000-01-01T00:00:00Z", "until": "9000-01-02T00:00:00Z"}, [("#/until", "out-of-range")]),
    ],
)
def test_a_range_that_cannot_be_filled_in_is_refused(
    service: Service, body: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    put(service, "ranged")
    answer = post(service, "/ranged:backfill", body)

    assert kind_of(answer) == (422, "invalid-request")
    assert errors_of(answer) == errors
    assert post(service, "/ranged:trigger", {"by": "ada"}).status_code == 422


def test_times_are_shown_before_a_schedule_is_stored(service: Service) -> None:
    answer = post(service, ":preview?count=3", NIGHTLY)
    put(service, "shown")
    stored = service.client.get("/v1/schedules/shown/preview?count=3")

    assert len(answer.json()["times"]) == 3
    assert answer.json() == stored.json()
    assert kind_of(post(service, ":preview", {**NIGHTLY, "cron": "x"})) == (422, "invalid-schedule")
    for count in ("0", "101", "x"):
        assert service.client.get(f"/v1/schedules/shown/preview?count={count}").status_code == 422


# -- the command line


def flow_manager(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flow_manager", "schedule", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, input=stdin, check=False)


def test_a_preview_needs_no_service() -> None:
    good = flow_manager("preview", "-", "--count", "2", "--json", stdin=json.dumps({"id": "a", **NIGHTLY}))
    bad = flow_manager("preview", "-", stdin=json.dumps({"id": "a", **NIGHTLY, "cron": "61 * * * *"}))

    assert (good.returncode, len(json.loads(good.stdout)["times"])) == (0, 2)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "#/cron" in bad.stderr


def test_schedules_are_looked_after_on_the_command_line(service: Service, tmp_path: Path) -> None:
    url = str(service.client.base_url)
    file = tmp_path / "schedule.json"
    file.write_text(json.dumps({"id": "typed", **NIGHTLY}), encoding="utf-8")

    stored = flow_manager("put", str(file), "--url", url, "--json")
    refused = flow_manager("put", str(file), "--url", url, "--if-version", "0")
    execution_id = flow_manager("trigger", "typed", "--url", url).stdout.strip()
    paused = flow_manager("pause", "typed", "--url", url)
    resumed = flow_manager("resume", "typed", "--url", url)
    shown = flow_manager("show", "typed", "--url", url, "--json")
    listed = flow_manager("list", "--url", url)

    assert json.loads(stored.stdout)["version"] == 1
    assert (refused.returncode, "its version is 1" in refused.stderr) == (2, True)
    assert service.await_status(execution_id)["status"] == "completed"
    assert [paused.returncode, resumed.returncode] == [0, 0]
    assert json.loads(shown.stdout)["fires"][0]["execution_id"] == execution_id
    assert "typed" in listed.stdout
    assert flow_manager("show", "no/such?one", "--url", url).returncode == 2
    assert flow_manager("list", "--url", NOWHERE).returncode == 3
