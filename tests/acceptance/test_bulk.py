"""Bulk actions against the running service: counted first, then done to each that allows it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.documents import document, task
from tests.support.service import Service

WAITS = document(task("wait", {"for": "1h"}), flow_id="waits")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("bulk")) as service:
        yield service


def start(service: Service, flow: dict[str, Any], **labels: str) -> None:
    body = {**flow, "labels": labels}
    service.client.post("/flow/execute", json=body, headers={"Prefer": "respond-async"}).raise_for_status()


def bulk(service: Service, **body: Any) -> httpx.Response:
    return service.client.post("/v1/executions:bulk", json=body)


def count(service: Service, query: str) -> int:
    return len(service.client.get(f"/v1/executions?{query}").json()["executions"])


def until(service: Service, query: str, number: int) -> None:
    deadline = time.monotonic() + 10
    while count(service, query) != number:
        assert time.monotonic() < deadline, count(service, query)
        time.sleep(0.02)


def test_a_dry_run_counts_and_the_real_one_does_it_to_those_that_allow_it(service: Service) -> None:
    for number in range(6):
        start(service, WAITS, batch="a", odd=str(number % 2))
    start(service, WAITS, batch="b")
    until(service, "label=batch:a&status=waiting", 6)
    wanted = {"flow_id": "waits", "label": ["batch:a", "odd:1"]}

    dry = bulk(service, action="pause", filter=wanted)
    unchanged = count(service, "status=paused")
    done = bulk(service, action="pause", filter=wanted, dry_run=False, reason="night", by="ann")
    until(service, "status=paused", 3)
    resumed = bulk(service, action="resume", filter={"flow_id": "waits"}, dry_run=False)

    assert dry.json() == {"action": "pause", "dry_run": True, "matched": 3, "cursor": None}
    assert unchanged == 0
    assert {name: done.json()[name] for name in ("matched", "accepted", "refused")} == {
        "matched": 3, "accepted": 3, "refused": 0,
    }  # fmt: skip
    body = resumed.json()
    assert (body["matched"], body["accepted"], body["refused"]) == (7, 3, 4)
    assert {each["detail"] for each in body["refusals"]} == {"the execution is not paused"}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"action": "pause", "filter": {}}, "#/filter"),
        ({"action": "pause"}, "#/filter"),
        ({"action": "forget", "filter": {"flow_id": "a"}}, "#/action"),
        ({"action": "pause", "filter": {"flow": "a"}}, "#/filter/flow"),
        ({"action": "pause", "filter": {"status": "fine"}}, "#/filter/status"),
        ({"action": "pause", "filter": {"flow_id": ["a"]}}, "#/filter/flow_id"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    service: Service, body: dict[str, Any], pointer: str
) -> None:
    answer = bulk(service, **body)

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
