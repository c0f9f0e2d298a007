"""The gallery: the golden cases of every example pass, and each flow runs for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flow_manager.core.parser import FlowParser
from flow_manager.core.simulation.cases import run_cases
from tests.support.service import Service
from tests.support.stub_api import Answer, StubApi

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.json"))


def example(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return document


def route(body: dict[str, Any]) -> list[str]:
    """The tasks of the runs that were not skipped, each once however often it was tried."""
    entries = {entry["run"]: entry["task_name"] for entry in body["execution_history"]}
    return list(entries.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_golden_cases_of_an_example_pass(file: Path) -> None:
    flow = FlowParser().parse(file.read_bytes())

    results = run_cases(flow)

    assert len(results) >= 2
    assert [result.name for result in results if not result.passed] == []


def test_an_order_that_is_approved_is_shipped_and_one_that_is_not_is_undone(tmp_path: Path) -> None:
    order = example("order") | {"input": {"item": "table", "pieces": 1, "total": 2000}}
    with Service(tmp_path, task_modules=["examples.order_tasks"]) as service:
        ended = []
        for approved in (True, False):
            started = service.execute(order, prefer="respond-async").json()["execution_id"]
            service.await_status(started, "waiting")
            questions = service.client.get(f"/v1/executions/{started}").json()["questions"]
            answer = service.client.post(questions[0]["url"], json={"approved": approved, "by": "ada"})
            assert answer.status_code == 202
            ended.append(service.await_status(started, "completed", "failed"))

    shipped, undone = ended
    assert questions[0]["question"] == "Ship 1 x table for 2000?"
    assert (shipped["status"], shipped["output"]["parcel"]) == ("completed", shipped["execution_id"][-8:])
    assert (undone["status"], undone["error"]["code"]) == ("failed", "approval.rejected")
    assert route(undone) == ["reserve_stock", "charge_card", "approve", "refund_card", "release_stock"]


def test_the_poller_looks_until_the_job_is_done(tmp_path: Path) -> None:
    scripts = {
        "POST /jobs": [Answer(503), Answer(201, {"id": 7})],
        "GET /jobs/7": [Answer(200, {"id": 7, "state": "running"}), Answer(200, {"id": 7, "state": "done"})],
    }
    with StubApi(scripts) as api, http_service(tmp_path, api) as service:
        flow = example("api_poller") | {"input": {"base_url": api.url, "every": "100ms"}}
        body = service.execute(flow).json()

    assert (body["status"], body["output"]) == ("completed", {"job": {"id": 7, "state": "done"}})
    assert [asked for asked, _, _ in api.asked] == ["POST /jobs"] * 2 + ["GET /jobs/7"] * 2
    keys = {headers["idempotency-key"] for asked, headers, _ in api.asked if asked == "POST /jobs"}
    assert len(keys) == 1


def test_the_report_goes_on_without_one_region(tmp_path: Path) -> None:
    scripts = {
        "GET /figures/north": [Answer(200, {"revenue": 10})],
        "GET /figures/south": [Answer(200, {"revenue": "unknown"})],
        "GET /figures/west": [Answer(200, {"revenue": 32})],
    }
    with StubApi(scripts) as api, http_service(tmp_path, api) as service:
        flow = example("nightly_report") | {
            "input": {"regions": ["north", "south", "west"], "base_url": api.url}
        }
        body = service.execute(flow).json()

    assert body["status"] == "completed"
    assert body["output"] == {
        "figures": [{"region": "north", "revenue": 10}, {"region": "west", "revenue": 32}],
        "missing": 1,
    }
    assert route(body) == ["collect", "report", "warn"]


def test_the_model_is_asked_again_and_its_key_is_seen_nowhere(tmp_path: Path) -> None:
    key = "the-key-of-the-model"
    scripts = {"POST /chat": [Answer(429, {}, {"Retry-After": "0"}), Answer(200, {"answer": f"Hi, {key}"})]}
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "llm_key").write_text(key + "\n", encoding="utf-8")
    with StubApi(scripts) as api, http_service(tmp_path, api, FLOW_MANAGER_SECRETS=str(secrets)) as service:
        flow = example("llm_call") | {"input": {"base_url": api.url, "question": "Who are you?"}}
        body = service.execute(flow).json()
        history = service.client.get(f"/v1/executions/{body['execution_id']}/history").text

    assert (body["status"], route(body)) == ("completed", ["ask", "answer"])
    assert api.asked[-1][1]["authorization"] == f"Bearer {key}"
    assert body["execution_history"][-1]["data"] == {"text": "Hi, ***", "model": "large"}
    seen = [json.dumps(body), history, service.log_path.read_text(encoding="utf-8")]
    stored = [path.read_bytes() for path in tmp_path.glob("*.db*")]
    assert not any(key in text for text in seen)
    assert not any(key.encode() in content for content in stored)


def http_service(folder: Path, api: StubApi, **environment: str) -> Service:
    return Service(folder, environment={"FLOW_MANAGER_HTTP_ALLOW": api.address, **environment})
