"""What an operator does, as requests to the running service."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.documents import document, task
from tests.support.service import ROOT, Service

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
NOBODY = "0198c0de-0000-7000-8000-000000000001"
FLOPS = document(
    task("transform", {"n": "${input.n}"}), task("flop"), output={"n": "${results.task1.data.n}"}
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("control")) as service:
        yield service


def start(service: Service, flow: dict[str, Any], **input: Any) -> str:
    body = {**flow, "input": input}
    answer = service.client.post("/flow/execute", json=body, headers={"Prefer": "wait=1"})
    assert answer.status_code in (200, 202), answer.text
    execution_id: str = answer.json()["execution_id"]
    return execution_id


def ask(service: Service, execution_id: str, verb: str, **body: Any) -> httpx.Response:
    return service.client.post(f"/v1/executions/{execution_id}:{verb}", json=body)


def until(service: Service, execution_id: str, *statuses: str) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        body: dict[str, Any] = service.client.get(f"/v1/executions/{execution_id}").json()
        if body["status"] in statuses:
            return body
        time.sleep(0.01)
    raise AssertionError(body)


def why(service: Service, execution_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = service.client.get(f"/v1/executions/{execution_id}/why").json()
    return answer


def test_pause_why_and_resume(service: Service) -> None:
    one = start(service, document(task("signal", {"name": "go"})))

    before = why(service, one)
    paused = ask(service, one, "pause", reason="look first", by="ann")
    until(service, one, "paused")
    held = why(service, one)
    resumed = ask(service, one, "resume")
    until(service, one, "waiting")
    ask(service, one, "signal", name="go")

    assert until(service, one, "completed")
    assert (before["reason"], before["command"]) == ("signal", f"flow-manager signal {one} go")
    assert (paused.status_code, paused.json()) == (202, {"execution_id": one, "accepted": True})
    assert (held["reason"], held["sentence"]) == ("pause", "ann has paused it: look first.")
    assert resumed.status_code == 202
    assert why(service, one)["sentence"] == "It has ended as completed."


def test_rerun_with_another_input_and_with_a_result(service: Service) -> None:
    one = start(service, FLOPS, n=1)
    assert until(service, one, "failed")

    again = ask(service, one, "rerun", from_task="task1", input={"n": 2})
    assert again.status_code == 202
    time.sleep(0.1)
    until(service, one, "failed")
    given = {"outcome": "success", "message": "by hand", "data": {"ok": True}}
    assert ask(service, one, "rerun", from_task="task2", result=given, by="ann").status_code == 202

    body = until(service, one, "completed")
    assert body["output"] == {"n": 2}
    assert [entry.get("given_by") for entry in body["execution_history"]] == [None] * 4 + ["ann"]


def test_skip_and_fork(service: Service) -> None:
    one = start(service, document(task("wait", {"for": "1h"}), task("nothing")))

    skipped = ask(service, one, "skip", data={"early": True}, by="ann")
    body = until(service, one, "completed")
    forked = ask(service, one, "fork", from_task="task2")

    assert skipped.status_code == 202
    assert [entry["status"] for entry in body["execution_history"]] == ["cancelled", "success", "success"]
    assert forked.status_code == 202
    other = forked.json()["execution_id"]
    assert other != one
    assert forked.headers["Location"] == f"/v1/executions/{other}"
    assert until(service, other, "completed")["forked_from"] == one


@pytest.mark.parametrize(
    ("verb", "body", "status", "kind"),
    [
        ("pause", {}, 409, "state-forbids"),
        ("resume", {}, 409, "state-forbids"),
        ("retry", {}, 409, "state-forbids"),
        ("skip", {}, 409, "state-forbids"),
        ("rerun", {}, 422, "invalid-request"),
        ("rerun", {"from_task": "taks1"}, 422, "invalid-request"),
        ("rerun", {"from_task": "task1", "input": 1}, 422, "invalid-request"),
        ("fork", {"from_task": "nowhere"}, 422, "invalid-request"),
        ("skip", {"outcome": "fine"}, 422, "invalid-request"),
        ("pause", {"why": "x"}, 422, "invalid-request"),
        ("pause", {"reason": "x" * 300}, 422, "invalid-request"),
    ],
)
def test_what_cannot_be_is_refused(
    service: Service, verb: str, body: dict[str, Any], status: int, kind: str
) -> None:
    one = start(service, document(task("nothing")))
    until(service, one, "completed")

    answer = ask(service, one, verb, **body)

    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")
    if status == 422:
        assert answer.json()["errors"][0]["pointer"]


def test_whoever_waits_for_children_is_told_to_cancel_them_and_can_then_be_rerun(service: Service) -> None:
    child = document(task("signal", {"name": "go"}), flow_id="child")["flow"]
    one = start(service, document(task("flow", {"flow": child}), flow_id="parent"))
    asked = why(service, one)

    refused = [ask(service, one, "rerun", from_task="task1"), ask(service, one, "skip")]
    listed = service.client.get(f"/v1/executions/{one}/children").json()["children"]
    for each in listed:
        assert ask(service, each["execution_id"], "cancel").status_code == 202
    until(service, one, "failed")
    again = ask(service, one, "rerun", from_task="task1", result={"data": {"by": "hand"}})

    address = f"/v1/executions/{one}/children"
    assert asked["reason"] == "children"
    assert address in asked["moved_by"]
    assert [(each.status_code, each.json()["type"]) for each in refused] == [
        (409, "/problems/state-forbids")
    ] * 2
    assert all(f"{address} lists them: cancel those" in each.json()["detail"] for each in refused)
    assert len(listed) == 1
    assert again.status_code == 202
    assert until(service, one, "completed")


@pytest.mark.parametrize("verb", ["pause", "resume", "retry", "skip", "fork"])
def test_nobody_is_not_found(service: Service, verb: str) -> None:
    assert ask(service, NOBODY, verb).status_code == 404
    assert service.client.get(f"/v1/executions/{NOBODY}/why").status_code == 404


def test_a_sound_store_has_nothing_to_mend(service: Service) -> None:
    answer = service.client.post("/v1/doctor:repair", json={})

    assert answer.json() == {"mended": [], "sound": True, "violations": []}


def command(service: Service, *words: str) -> str:
    """What a command prints."""
    typed = [sys.executable, "-m", "flow_manager", *words, "--url", str(service.client.base_url)]
    done = subprocess.run(
        typed, cwd=service.folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_operator_can_type_all_of_it(service: Service) -> None:
    one = start(service, document(task("signal", {"name": "go"}), task("flop")))

    command(service, "pause", one, "--reason", "look first", "--by", "ann")
    until(service, one, "paused")
    told = command(service, "why", one)
    command(service, "resume", one)
    until(service, one, "waiting")
    command(service, "skip", one, "--data", '{"payload": 1}')
    until(service, one, "failed")
    command(service, "retry", one)
    forked = command(service, "fork", one, "--from-task", "task2").split(" ")[0]
    until(service, one, "failed")
    command(service, "rerun", one, "task2", "--result", '{"ok": true}', "--by", "ann")

    assert "ann has paused it: look first." in told
    assert until(service, one, "completed")["execution_history"][-1]["given_by"] == "ann"
    assert until(service, forked, "failed")["forked_from"] == one
