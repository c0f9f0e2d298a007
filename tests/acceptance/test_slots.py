"""As many go on at once as the flow says, whatever operators have go on: a real service and `kill -9`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.documents import document, task
from tests.support.service import Service
from tests.support.watching import most_at_once

NAP = task("sleep", {"seconds": 0.03})


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("slots")) as service:
        yield service


def limited(flow_id: str, *tasks: dict[str, Any], **concurrency: Any) -> dict[str, Any]:
    return document(*tasks, flow_id=flow_id, concurrency={"limit": 1, **concurrency})


def asks(flow_id: str, **concurrency: Any) -> dict[str, Any]:
    """A flow that waits for a signal, which ends it."""
    return limited(flow_id, task("signal", {"name": "go"}), **concurrency)


def start(service: Service, flow: dict[str, Any], **input: Any) -> str:
    answer = service.execute({**flow, "input": input}, "respond-async")
    assert answer.status_code == 202, answer.text
    execution_id: str = answer.json()["execution_id"]
    return execution_id


def ask(service: Service, execution_id: str, verb: str, **body: Any) -> httpx.Response:
    return service.client.post(f"/v1/executions/{execution_id}:{verb}", json=body)


def told(service: Service, execution_id: str, verb: str, **body: Any) -> str:
    """The id of the execution that a request was accepted for."""
    answer = ask(service, execution_id, verb, **body)
    assert answer.status_code == 202, answer.text
    accepted: str = answer.json()["execution_id"]
    return accepted


def await_reason(service: Service, execution_id: str, reason: str | None) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        body = service.status(execution_id)
        if body.get("waiting", {}).get("reason") == reason:
            return body
        time.sleep(0.01)
    raise AssertionError(body)


def cancelled(service: Service, flow: dict[str, Any], **input: Any) -> str:
    """The id of an execution that was cancelled while it waited for its signal."""
    one = start(service, flow, **input)
    await_reason(service, one, "signal")
    told(service, one, "cancel")
    service.await_status(one, "cancelled")
    return one


def kind(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


@pytest.mark.parametrize(("verb", "body"), [("retry", {}), ("rerun", {"from_task": "task1"}), ("fork", {})])
def test_what_is_opened_again_waits_for_its_slot(service: Service, verb: str, body: dict[str, Any]) -> None:
    flow = asks(f"queue-{verb}")
    first = cancelled(service, flow)
    holder = start(service, flow)
    await_reason(service, holder, "signal")

    again = told(service, first, verb, **body)
    waiting = await_reason(service, again, "slot")
    why = service.client.get(f"/v1/executions/{again}/why").json()
    told(service, holder, "signal", name="go")
    service.await_status(holder)
    await_reason(service, again, "signal")
    last = start(service, flow)
    await_reason(service, last, "slot")
    told(service, again, "signal", name="go")
    await_reason(service, last, "signal")
    told(service, last, "cancel")

    assert (waiting["status"], waiting["waiting"]["detail"]) == ("waiting", f"queue-{verb}")
    assert "error" not in waiting
    assert why["reason"] == "slot"
    assert service.await_status(again)["status"] == "completed"
    assert service.violations() == []


@pytest.mark.parametrize(("verb", "body"), [("retry", {}), ("rerun", {"from_task": "task1"}), ("fork", {})])
def test_what_may_not_wait_is_refused_and_nothing_has_changed(
    service: Service, verb: str, body: dict[str, Any]
) -> None:
    flow = asks(f"reject-{verb}", when_full="reject")
    first = cancelled(service, flow)
    holder = start(service, flow)
    await_reason(service, holder, "signal")
    found = {"flow_id": f"reject-{verb}"}
    before = service.client.get("/v1/executions", params=found).json(), service.status(first)

    refused = ask(service, first, verb, **body)

    assert kind(refused) == (429, "concurrency-full")
    after = service.client.get("/v1/executions", params=found).json(), service.status(first)
    assert after == before
    told(service, holder, "cancel")
    service.await_status(holder, "cancelled")
    assert ask(service, first, verb, **body).status_code == 202
    assert service.violations() == []


def test_of_many_that_are_retried_at_once_each_is_told(service: Service) -> None:
    flow = asks("bulk", when_full="reject")
    ids = {cancelled(service, flow) for _ in range(3)}
    wanted = {"flow_id": "bulk", "status": "cancelled"}

    body = {"action": "retry", "filter": wanted, "dry_run": False}
    answer = service.client.post("/v1/executions:bulk", json=body).json()

    assert (answer["matched"], answer["accepted"], answer["refused"]) == (3, 1, 2)
    refused = {each["execution_id"] for each in answer["refusals"]}
    assert len(refused) == 2
    assert refused < ids
    assert {each["detail"].split("'")[0] for each in answer["refusals"]} == {
        "as many executions with the concurrency key "
    }
    (accepted,) = ids - refused
    await_reason(service, accepted, "signal")


def test_the_input_of_a_fork_gives_its_key(service: Service) -> None:
    flow = asks("shops", key="${input.shop}")
    holder = start(service, flow, shop="a")
    await_reason(service, holder, "signal")

    same = told(service, holder, "fork")
    other = told(service, holder, "fork", input={"shop": "b"})
    none = ask(service, holder, "fork", input={"shop": ""})

    assert await_reason(service, same, "slot")["waiting"]["detail"] == "shops/a"
    await_reason(service, other, "signal")
    assert kind(none) == (422, "invalid-request")
    assert [each["code"] for each in none.json()["errors"]] == ["bad-concurrency-key"]


def test_one_that_waits_for_a_slot_is_paused_at_once_and_asks_again_when_it_is_resumed(
    service: Service,
) -> None:
    flow = asks("paused")
    holder, one, other = [start(service, flow) for _ in range(3)]
    await_reason(service, one, "slot")

    told(service, one, "pause")
    service.await_status(one, "paused")
    told(service, holder, "cancel")
    await_reason(service, other, "signal")
    still = service.status(one)["status"]
    told(service, one, "resume")
    await_reason(service, one, "slot")
    told(service, other, "cancel")
    await_reason(service, one, "signal")

    assert still == "paused"
    assert service.violations() == []
    told(service, one, "cancel")


def spans(service: Service, ids: list[str]) -> list[tuple[str, str]]:
    """When each attempt began and ended."""
    attempts = [entry for each in ids for entry in service.status(each)["execution_history"]]
    return [(entry["start_time"], entry["end_time"]) for entry in attempts]


def all_ids(service: Service, flow_id: str) -> list[str]:
    found = service.client.get("/v1/executions", params={"flow_id": flow_id, "limit": 100}).json()
    return [each["execution_id"] for each in found["executions"]]


def rush(service: Service, flow: dict[str, Any], ids: list[str]) -> list[int]:
    """Rerun these and start as many, all at once; the statuses of the answers."""

    def one(number: int) -> int:
        if number % 2:
            return ask(service, ids[number // 2], "rerun", from_task="task1").status_code
        return service.execute(flow, "respond-async").status_code

    with ThreadPoolExecutor(2 * len(ids)) as threads:
        return list(threads.map(one, range(2 * len(ids))))


@pytest.mark.parametrize(("when_full", "answers"), [("queue", {202}), ("reject", {202, 429})])
def test_openings_that_race_with_starts_never_go_on_beside_them(
    service: Service, when_full: str, answers: set[int]
) -> None:
    flow = limited(f"race-{when_full}", NAP, task("flop"), when_full=when_full)
    ids = []
    for _ in range(6):
        ids.append(start(service, flow))
        service.await_status(ids[-1], "failed")

    told = [status for _ in range(3) for status in rush(service, flow, ids)]
    for each in all_ids(service, f"race-{when_full}"):
        service.await_status(each, "failed")

    assert answers <= set(told) <= answers | {409}, "409: of one that is open"
    began = spans(service, all_ids(service, f"race-{when_full}"))
    assert len(began) > 2 * len(ids)
    assert most_at_once(began) == 1
    assert service.violations() == []


def test_no_slot_of_what_was_opened_again_is_lost_or_made_by_kill_9(tmp_path: Path) -> None:
    flow = limited("killed", NAP, task("flop"))
    with Service(tmp_path) as service:
        ids = [start(service, flow) for _ in range(8)]
        for each in ids:
            service.await_status(each, "failed")

        assert rush(service, flow, ids) == [202] * 16
        for _ in range(3):
            time.sleep(0.1)
            service.kill()
            service.start()
            assert service.violations() == []

        for each in all_ids(service, "killed"):
            service.await_status(each, "failed")
        assert service.violations() == []
        assert most_at_once(spans(service, all_ids(service, "killed"))) == 1
        last = start(service, flow)
        assert service.await_status(last, "failed")
