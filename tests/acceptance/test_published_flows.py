"""Published flows as users see them: a real service, a real port, and `kill -9`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.documents import document, task
from tests.support.service import ROOT, Service, wait_for
from tests.support.watching import most_at_once

SHOP = document(task("nothing"), flow_id="shop")
STARTS = "/v1/flows/shop/executions"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path) as service:
        yield service


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all requests that are refused: it has published the flow, and executes nothing."""
    with Service(tmp_path_factory.mktemp("refusing")) as service:
        publish(service, SHOP)
        yield service
        assert service.client.get("/v1/executions").json()["executions"] == []


def publish(service: Service, written: dict[str, Any], **headers: str) -> httpx.Response:
    return service.client.put(f"/v1/flows/{written['flow']['id']}", json=written, headers=headers)


def kind(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["type"].removeprefix("/problems/")


def test_a_flow_is_published_changed_started_and_deleted(service: Service) -> None:
    first = publish(service, SHOP)
    assert (first.status_code, first.json()["version"]) == (201, 1)
    assert publish(service, SHOP).status_code == 200

    changed = document(task("nothing"), flow_id="shop", output="${flow.version}")
    second = publish(service, changed, **{"If-Match": first.headers["ETag"]})
    assert (second.status_code, second.json()["version"]) == (201, 2)
    newest = service.client.get("/v1/flows/shop")
    assert newest.json()["flow"] == changed["flow"]
    assert newest.headers["ETag"] == second.headers["ETag"]
    assert service.client.get("/v1/flows/shop/versions/1").json()["flow"] == SHOP["flow"]

    started = service.client.post(STARTS, json={})
    assert (started.status_code, started.json()["output"]) == (201, 2)
    assert "output" not in service.client.post(STARTS, json={"version": 1}).json()

    assert service.client.delete("/v1/flows/shop").status_code == 200
    assert kind(service.client.post(STARTS, json={})) == (404, "not-found")
    assert service.client.get(started.headers["Location"]).json()["output"] == 2
    assert publish(service, changed).json()["version"] == 3


def test_a_change_without_its_version_or_of_a_stale_one_is_refused(service: Service) -> None:
    """C14."""
    stale = publish(service, SHOP).headers["ETag"]
    second = document(task("nothing"), flow_id="shop", name="Second")
    third = document(task("nothing"), flow_id="shop", name="Third")

    assert kind(publish(service, second)) == (428, "precondition-required")
    assert publish(service, second, **{"If-Match": stale}).status_code == 201
    for tag in (stale, '"1"', "nonsense", 'W/"2"'):
        assert kind(publish(service, third, **{"If-Match": tag})) == (412, "precondition-failed")
    assert publish(service, third, **{"If-Match": "*"}).status_code == 201


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb", "a,b", b"caf\xe9"])
@pytest.mark.parametrize("path", [STARTS, "/flow/execute"])
def test_a_key_that_cannot_be_one_is_refused(refusing: Service, key: str | bytes, path: str) -> None:
    """C11."""
    body = {} if path == STARTS else SHOP

    refused = refusing.client.post(path, json=body, headers=[(b"Idempotency-Key", _bytes(key))])

    assert kind(refused) == (400, "bad-idempotency-key")


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def test_a_key_that_is_given_twice_is_refused(refusing: Service) -> None:
    """C11."""
    keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]

    twice = refusing.client.post(STARTS, json={}, headers=keys)

    assert kind(twice) == (400, "bad-idempotency-key")


@pytest.mark.parametrize(
    ("path", "body", "other"),
    [
        (STARTS, {"input": {"n": 1}}, {"input": {"n": 2}}),
        ("/flow/execute", {**SHOP, "input": {"n": 1}}, {**SHOP, "input": {"n": 2}}),
    ],
)
def test_a_key_is_good_for_one_request(
    service: Service, path: str, body: dict[str, Any], other: dict[str, Any]
) -> None:
    """C12 and C13, also after the service was killed."""
    publish(service, SHOP)
    key = {"Idempotency-Key": "order-17"}
    with ThreadPoolExecutor(64) as threads:
        answers = list(threads.map(lambda _: service.client.post(path, json=body, headers=key), range(64)))
    (execution_id,) = {answer.json()["execution_id"] for answer in answers}
    replayed = [answer.headers.get("Idempotency-Replayed") for answer in answers]
    assert (replayed.count(None), replayed.count("true")) == (1, 63)
    assert {answer.status_code for answer in answers if answer.headers.get("Idempotency-Replayed")} == {200}

    service.kill()
    service.start()

    again = service.client.post(path, json=body, headers=key)
    assert (again.status_code, again.json()["execution_id"]) == (200, execution_id)
    conflict = service.client.post(path, json=other, headers=key)
    assert kind(conflict) == (422, "idempotency-conflict")
    assert conflict.json()["execution"] == f"/v1/executions/{execution_id}"
    assert len(service.client.get("/v1/executions").json()["executions"]) == 1


@pytest.mark.parametrize("path", [STARTS, "/flow/execute"])
def test_a_key_whose_execution_was_pruned_says_so_and_starts_nothing(tmp_path: Path, path: str) -> None:
    body = {} if path == STARTS else SHOP
    key = {"Idempotency-Key": "order-17"}
    with Service(tmp_path) as service:
        publish(service, SHOP)
        execution_id = service.client.post(path, json=body, headers=key).json()["execution_id"]
        assert service.stop() == 0
    with Service(tmp_path, "--max-store", "1KiB") as service:
        wait_for(lambda: True if "pruned" in service.log() else None, service.log)

        answers = [service.client.post(path, json=body, headers=key)]
        service.kill()
        service.start()
        answers.append(service.client.post(path, json=body, headers=key))
        other = service.client.post(path, json={**body, "input": {"n": 2}}, headers=key)

        assert [kind(each) for each in answers] == [(410, "execution-pruned")] * 2
        assert {each.json()["execution_id"] for each in answers} == {execution_id}
        assert kind(other) == (422, "idempotency-conflict")
        if path == STARTS:
            items = {"items": [{"key": "order-17"}]}
            (item,) = service.client.post(f"{STARTS}:batch", json=items).json()["items"]
            assert item["problem"]["type"] == "/problems/execution-pruned"
        assert service.client.get("/v1/executions").json()["executions"] == []
        assert service.violations() == []


def test_a_thousand_are_started_with_one_request(service: Service) -> None:
    publish(service, SHOP)
    items = [{"input": {"n": number}, "key": f"item {number}"} for number in range(1000)]

    first = service.client.post(f"{STARTS}:batch", json={"items": items}).json()
    again = service.client.post(f"{STARTS}:batch", json={"items": items}).json()

    assert (first["accepted"], first["refused"]) == (1000, 0)
    assert {each["is_new"] for each in first["items"]} == {True}
    assert {each["is_new"] for each in again["items"]} == {False}
    ids = [each["execution_id"] for each in first["items"]]
    assert ids == [each["execution_id"] for each in again["items"]]
    single = service.client.post(STARTS, json={"input": {"n": 7}}, headers={"Idempotency-Key": "item 7"})
    assert (single.status_code, single.json()["execution_id"]) == (200, ids[7])


def test_of_a_batch_each_bad_item_has_its_problem(service: Service) -> None:
    publish(service, SHOP)
    items = [{}, {"inputs": {}}, {"labels": {"1": "x"}}, {"key": ""}, {"input": {"n": 1}}]

    answer = service.client.post(f"{STARTS}:batch", json={"items": items})

    told = answer.json()["items"]
    assert answer.status_code == 200
    assert ["problem" in each for each in told] == [False, True, True, True, False]
    assert [each["problem"]["errors"][0]["pointer"] for each in told[1:4]] == [
        "#/inputs",
        "#/labels/1",
        "#/key",
    ]
    bodies: list[dict[str, Any]] = [{"items": []}, {"items": [{}] * 1001}, {}]
    for body in bodies:
        assert kind(service.client.post(f"{STARTS}:batch", json=body)) == (422, "invalid-request")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"priority": "urgent"}, "#/priority"),
        ({"version": 0}, "#/version"),
        ({"start_at": "2027-01-01T00:00:00"}, "#/start_at"),
        ({"start_at": "2027-02-30T00:00:00Z"}, "#/start_at"),
        ({"start_at": "0001-01-01T00:00:00+02:00"}, "#/start_at"),
        ({"start_at": "2999-01-01T00:00:00Z"}, "#/start_at"),
        ({"start_at": 5}, "#/start_at"),
        ({"input": []}, "#/input"),
        ({"labels": {"a b": "c"}}, "#/labels/a%20b"),
        ({"label": {}}, "#/label"),
    ],
)
def test_a_start_that_is_not_valid_is_refused_at_its_place(
    refusing: Service, body: dict[str, Any], pointer: str
) -> None:
    refused = refusing.client.post(STARTS, json=body)

    assert kind(refused) == (422, "invalid-request")
    assert [each["pointer"] for each in refused.json()["errors"]] == [pointer]


def test_starts_beyond_the_rate_are_told_when_to_come_again(service: Service) -> None:
    publish(service, document(task("nothing"), flow_id="shop", rate={"limit": 2, "per": "1h"}))

    answers = [service.client.post(STARTS, json={}) for _ in range(3)]

    assert [answer.status_code for answer in answers[:2]] == [201, 201]
    assert kind(answers[2]) == (429, "rate-limited")
    assert 1700 < int(answers[2].headers["Retry-After"]) <= 1800


def test_one_that_may_not_wait_for_a_slot_is_refused(service: Service) -> None:
    concurrency = {"limit": 1, "when_full": "reject"}
    publish(service, document(task("signal", {"name": "go"}), flow_id="shop", concurrency=concurrency))

    first = service.client.post(STARTS, json={}, headers={"Prefer": "respond-async"})

    assert first.status_code == 202
    assert kind(service.client.post(STARTS, json={})) == (429, "concurrency-full")


def test_no_slot_is_lost_or_made_by_kill_9(tmp_path: Path) -> None:
    concurrency = {"limit": 3, "key": "${input.shop}"}
    flow = document(task("sleep", {"seconds": 0.02}), task("nap"), flow_id="shop", concurrency=concurrency)
    with Service(tmp_path) as service:
        publish(service, flow)
        items = [{"input": {"shop": f"shop {number % 2}"}} for number in range(60)]
        started = service.client.post(f"{STARTS}:batch", json={"items": items}).json()["items"]
        ids = [each["execution_id"] for each in started]

        for ended in (6, 20, 40):
            _await_ended(service, ids, ended)
            service.kill()
            service.start()
            assert service.violations() == []

        _await_ended(service, ids, 60)
        assert service.violations() == []
        for shop in range(2):
            bodies = [service.status(each) for each in ids[shop::2]]
            whole = [(body["execution_history"][0]["start_time"], body["end_time"]) for body in bodies]
            assert most_at_once(whole) == 3


def _await_ended(service: Service, ids: list[str], number: int) -> None:
    def look() -> bool | None:
        found = service.client.get("/v1/executions?limit=100&status=completed").json()["executions"]
        return len(found) >= number or None

    wait_for(look, lambda: f"fewer than {number} of {len(ids)} have ended", service.process)


def test_flows_are_published_and_compared_on_the_command_line(service: Service, tmp_path: Path) -> None:
    file, changed = tmp_path / "shop.json", tmp_path / "changed.json"
    file.write_text(json.dumps(SHOP))
    changed.write_text(json.dumps(document(task("nothing"), task("plain"), flow_id="shop")))

    def flow_manager(*arguments: object) -> tuple[int, str]:
        command = [sys.executable, "-m", "flow_manager", *map(str, arguments), "--url"]
        command.append(str(service.client.base_url))
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        return done.returncode, done.stdout + done.stderr

    assert flow_manager("publish", file) == (0, "published shop, version 1\n")
    assert flow_manager("publish", file) == (0, "no change: shop, version 1\n")
    assert flow_manager("publish", changed) == (0, "published shop, version 2\n")
    assert flow_manager("diff", file, "shop@1") == (0, "the same\n")
    code, told = flow_manager("diff", "shop@1", "shop", "--json")
    assert code == 1
    assert [(each["kind"], each["part"], each["name"]) for each in json.loads(told)] == [
        ("added", "task", "task2"),
        ("added", "condition", "condition1"),
        ("added", "way", "task1 -> task2"),
        ("added", "way", "task2 -> end"),
    ]
    assert flow_manager("diff", "shop@9", file)[0] == 2
    refused = document(task("nothing"), flow_id="shop", tests=[{"name": "t", "expect": {"status": "failed"}}])
    file.write_text(json.dumps(refused))
    code, told = flow_manager("publish", file)
    assert code == 2
    assert "the golden case 't' fails" in told
