"""The OpenAPI document against the running service."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import jsonschema_rs
import pytest

from flow_manager.api.operations import OPERATIONS
from tests.support.openapi_document import closed
from tests.support.service import ROOT, Service

CONFIG: Final = ROOT / "tests" / "support" / "schemathesis.toml"
UNKNOWN: Final = "0198c0de-0000-7000-8000-000000000001"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service")) as service:
        yield service


def run_schemathesis(service: Service, folder: Path, seconds: float, *options: str) -> None:
    """All checks of schemathesis, with answers that hold what is documented and nothing else."""
    document = folder / "openapi.json"
    document.write_text(json.dumps(closed(service.client.get("/openapi.json").json())))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)]
    checks = ["--checks", "all", "--continue-on-failure", "--no-color"]

    done = subprocess.run(
        [*command, "run", str(document), "--url", str(service.client.base_url), *checks, *options],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=seconds,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert f"Tested: {len(OPERATIONS)}" in done.stdout
    assert service.violations() == []
    assert "Traceback" not in service.log()


@pytest.mark.timeout(240)
def test_the_service_does_what_the_document_says(service: Service, tmp_path: Path) -> None:
    run_schemathesis(service, tmp_path, 220, "--max-examples", "10", "--seed", "1")


@pytest.mark.torture
def test_the_service_does_what_the_document_says_at_length(service: Service, tmp_path: Path) -> None:
    run_schemathesis(service, tmp_path, 3000, "--max-examples", "500")


# -- what nobody finds by chance

ASKING: Final[dict[str, Any]] = {
    "flow": {
        "id": "asking",
        "name": "Asking",
        "start_task": "ask",
        "tasks": [
            {"name": "ask", "type": "approval", "input": {"question": "Shall we?"}},
            {"name": "hear", "type": "signal", "input": {"name": "paid"}},
            {
                "name": "children",
                "type": "for_each",
                "input": {
                    "items": [1, 2],
                    "flow": {
                        "id": "child",
                        "name": "Child",
                        "start_task": "nothing",
                        "tasks": [{"name": "nothing"}],
                    },
                },
            },
            {"name": "break", "type": "flop", "input": {"permanent": True}, "run_when": "true"},
        ],
        "conditions": [
            {"name": "asked", "source_task": "ask", "target_task_success": "hear"},
            {"name": "heard", "source_task": "hear", "target_task_success": "children"},
            {"name": "counted", "source_task": "children", "target_task_success": "break"},
        ],
        "tests": [
            {
                "name": "nobody agrees",
                "mocks": {"ask": [{"data": {"approved": False}}]},
                "expect": {"status": "completed", "output": 1},
            }
        ],
    },
    "labels": {"team": "shop"},
}


class Checked:
    """The service, each of whose answers is held against the document."""

    def __init__(self, service: Service) -> None:
        self._client = service.client
        self._document = closed(service.client.get("/openapi.json").json())

    def __call__(self, method: str, path: str, template: str, status: int, body: Any = None) -> Any:
        headers = {"Prefer": "respond-async"} if template == "/flow/execute" else {}
        answer = self._client.request(method, path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        self._hold(answer, self._document["paths"][template][method.lower()]["responses"][str(status)])
        return answer.json()

    def _hold(self, answer: httpx.Response, documented: dict[str, Any]) -> None:
        schema = documented["content"][answer.headers["Content-Type"]]["schema"]
        validator = jsonschema_rs.validator_for({**schema, "components": self._document["components"]})
        assert [
            f"{error.instance_path}: {error.message}" for error in validator.iter_errors(answer.json())
        ] == []
        assert {name for name in documented["headers"] if name in ("Location", "X-Request-Id")} <= {
            name.title() for name in answer.headers
        }


def test_a_whole_life_is_told_as_documented(service: Service) -> None:
    ask = Checked(service)
    started = ask("POST", "/flow/execute", "/flow/execute", 202, ASKING)
    execution_id = started["execution_id"]
    at = f"/v1/executions/{execution_id}"
    whole = "/v1/executions/{execution_id}"
    service.await_status(execution_id, "waiting")

    question = ask("GET", at, whole, 200)["questions"][0]
    token = "/v1/approvals/{token}"
    ask("GET", question["url"], token, 200)
    ask("POST", question["url"], token, 422, {"approved": "yes"})
    ask("POST", question["url"], token, 202, {"approved": True})
    ask("POST", question["url"], token, 409, {"approved": True})
    ask("POST", f"{at}:signal", f"{whole}:signal", 422, {"name": "unheard_of"})
    ask("POST", f"{at}:signal", f"{whole}:signal", 202, {"name": "paid", "payload": [1]})
    service.await_status(execution_id)

    ended = ask("GET", f"/flow/status/{execution_id}", "/flow/status/{execution_id}", 200)
    assert ended["error"]["message"] == "no use trying again"
    children = ask("GET", f"{at}/children", f"{whole}/children", 200)["children"]
    assert len(children) == 2
    assert "parent" in ask("GET", f"/v1/executions/{children[0]['execution_id']}", whole, 200)
    assert ask("GET", f"{at}/history", f"{whole}/history", 200)["events"][0]["seq"] == 1
    ask("POST", f"{at}:cancel", f"{whole}:cancel", 409, {})


def test_one_that_is_cancelled_is_told_as_documented(service: Service) -> None:
    ask = Checked(service)
    execution_id = ask("POST", "/flow/execute", "/flow/execute", 202, ASKING)["execution_id"]
    whole = "/v1/executions/{execution_id}"

    ask("POST", f"/v1/executions/{execution_id}:cancel", f"{whole}:cancel", 202, {"reason": "no more"})

    assert service.await_status(execution_id, "cancelled")["error"]["message"] == "no more"
    ask("GET", f"/v1/executions/{execution_id}", whole, 200)
    ask("GET", f"/v1/executions/{UNKNOWN}", whole, 404)


def test_what_a_flow_would_do_is_told_as_documented(service: Service) -> None:
    ask = Checked(service)
    flow = ASKING["flow"]

    assert ask("POST", "/v1/flows:validate", "/v1/flows:validate", 200, ASKING)["routes"]
    ask("POST", "/flow/validate", "/flow/validate", 422, {**flow, "start_task": "asc"})
    assert ask("POST", "/v1/flows:test", "/v1/flows:test", 200, {"flow": flow})["cases"][0]["differences"]
    simulation = {"flow": flow, "history": True, "mocks": {"ask": [{"data": {"approved": True}}]}}
    simulated = ask("POST", "/v1/flows:simulate", "/v1/flows:simulate", 200, simulation)
    assert (simulated["status"], simulated["waiting"][0]["task"]) == ("waiting", "hear")
    assert simulated["events"]


def test_an_edited_flow_is_compared_as_documented(service: Service) -> None:
    ask = Checked(service)
    flow: dict[str, Any] = {
        "id": "edited",
        "name": "Edited",
        "start_task": "one",
        "tasks": [{"name": "one", "type": "nothing"}, {"name": "two", "type": "nothing"}],
        "conditions": [],
    }
    assert service.execute(flow).json()["status"] == "completed"
    edited = flow | {"conditions": [{"name": "on", "source_task": "one", "target_task_success": "two"}]}

    compared = ask("POST", "/v1/flows:whatif", "/v1/flows:whatif", 200, {"flow": edited})

    assert compared["executions"][0]["outcome"] == "needs"
    assert compared["summary"]["needed"] == [{"task": "two", "executions": 1}]


@pytest.mark.parametrize(
    "path", ["/", "/health", "/health/ready", "/v1/tasks", "/v1/doctor", "/v1/schema/flow", "/v1/executions"]
)
def test_what_takes_nothing_is_told_as_documented(path: str, service: Service) -> None:
    Checked(service)("GET", path, path, 200)
