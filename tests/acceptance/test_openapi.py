"""The OpenAPI document against the running service."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import jsonschema_rs
import pytest

from flow_manager.api.operations import OPERATIONS
from flow_manager.api.operations_flows import EXAMPLE
from flow_manager.api.requests import EVENT_STREAM
from tests.support.openapi_document import closed
from tests.support.service import ROOT, Service, wait_for

CONFIG: Final = ROOT / "tests" / "support" / "schemathesis.toml"
UNKNOWN: Final = "0198c0de-0000-7000-8000-000000000001"
STREAMS: Final = [
    operation
    for operation in OPERATIONS
    if any(answer.content_type == EVENT_STREAM for answer in operation.answers.values())
]
"""They go on as long as one listens, so schemathesis is told to leave them out."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """It has the flow and the schedule that the document takes as examples."""
    with Service(tmp_path_factory.mktemp("service")) as service:
        service.client.put("/v1/flows/greeting", json=EXAMPLE["flow"]).raise_for_status()
        schedule = {"flow_id": "greeting", "cron": "30 2 * * *"}
        service.client.put("/v1/schedules/nightly", json=schedule).raise_for_status()
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
    assert f"Tested: {len(OPERATIONS) - len(STREAMS)}" in done.stdout
    assert service.violations() == []
    assert "Traceback" not in service.log()


@pytest.mark.timeout(240)
def test_the_service_does_what_the_document_says(service: Service, tmp_path: Path) -> None:
    run_schemathesis(service, tmp_path, 220, "--max-examples", "5", "--seed", "1")


@pytest.mark.torture
@pytest.mark.timeout(2700)
def test_the_service_does_what_the_document_says_at_length(service: Service, tmp_path: Path) -> None:
    run_schemathesis(service, tmp_path, 2600, "--max-examples", "500")


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

    def __call__(
        self, method: str, path: str, template: str, status: int, body: Any = None, **headers: str
    ) -> Any:
        if template == "/flow/execute":
            headers = {"Prefer": "respond-async"}
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self._client.request(method, path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        documented = self._document["paths"][template][method.lower()]["responses"][str(status)]
        if "content" not in documented:
            assert answer.content == b""
            return None
        self._hold(answer, documented)
        return answer.json()

    def _hold(self, answer: httpx.Response, documented: dict[str, Any]) -> None:
        schema = documented["content"][answer.headers["Content-Type"]]["schema"]
        validator = jsonschema_rs.validator_for({**schema, "components": self._document["components"]})
        assert [
            f"{error.instance_path}: {error.message}" for error in validator.iter_errors(answer.json())
        ] == []
        always = {name.lower() for name in documented["headers"]} & {"location", "x-request-id", "etag"}
        assert always <= answer.headers.keys()


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


PLAIN: Final[dict[str, Any]] = {
    "id": "plain",
    "name": "Plain",
    "start_task": "one",
    "tasks": [{"name": "one", "type": "nothing"}],
    "conditions": [],
}


def test_a_published_flow_is_told_as_documented(service: Service) -> None:
    ask = Checked(service)
    one, numbered = "/v1/flows/{flow_id}", "/v1/flows/{flow_id}/versions/{version}"
    changed = {**PLAIN, "description": "changed"}

    ask("PUT", "/v1/flows/plain", one, 201, PLAIN)
    ask("PUT", "/v1/flows/plain", one, 200, {"flow": PLAIN})
    ask("PUT", "/v1/flows/plain", one, 428, changed)
    ask("PUT", "/v1/flows/plain", one, 412, changed, If_Match='"1-0"')
    ask("PUT", "/v1/flows/plain", one, 422, {**PLAIN, "id": "other"}, If_Match="*")
    assert ask("PUT", "/v1/flows/plain", one, 201, changed, If_Match="*")["version"] == 2
    assert ask("GET", "/v1/flows/plain", one, 200)["flow"] == changed
    ask("GET", "/v1/flows/plain/versions/1", numbered, 200)
    ask("GET", "/v1/flows/plain/versions/3", numbered, 404)
    assert len(ask("GET", "/v1/flows/plain/versions", f"{one}/versions", 200)["versions"]) == 2
    assert "plain" in [flow["id"] for flow in ask("GET", "/v1/flows", "/v1/flows", 200)["flows"]]

    start, batch = f"{one}/executions", f"{one}/executions:batch"
    at = "/v1/flows/plain/executions"
    key = {"Idempotency_Key": "order-1"}
    started = ask("POST", at, start, 201, {"labels": {"team": "shop"}, "priority": "high"}, **key)
    ask("POST", at, start, 200, {"labels": {"team": "shop"}, "priority": "high"}, **key)
    assert ask("POST", at, start, 422, {}, **key)["execution_id"] == started["execution_id"]
    ask("POST", at, start, 400, {}, Idempotency_Key="a,b")
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    ask("POST", at, start, 202, {"start_at": later}, Prefer="respond-async")
    items = [{"labels": {"team": "shop"}}, {"key": "order-1"}, {"labels": {"?": "x"}}]
    assert ask("POST", f"{at}:batch", batch, 200, {"items": items})["refused"] == 2

    listed = "/v1/executions?flow_id=plain&version=2&label=team:shop&limit=1"
    page = ask("GET", listed, "/v1/executions", 200)
    assert (page["executions"][0]["labels"], len(page["executions"])) == ({"team": "shop"}, 1)
    ask("GET", f"{listed}&cursor={page['cursor']}", "/v1/executions", 200)
    ask("GET", "/v1/executions?cursor=x", "/v1/executions", 400)
    counts = ask("GET", "/v1/executions:counts", "/v1/executions:counts", 200)["counts"]
    assert counts["completed"] > 0

    ask("DELETE", "/v1/flows/plain", one, 412, If_Match='"1-0"')
    ask("DELETE", "/v1/flows/plain", one, 200)
    ask("POST", at, start, 404, {})


def test_a_schedule_is_told_as_documented(service: Service) -> None:
    ask = Checked(service)
    one, at = "/v1/schedules/{schedule_id}", "/v1/schedules/told"
    schedule = {"flow_id": "clock", "every": "1h", "input": {"name": "Ada"}}
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    moments = {"since": (until - timedelta(hours=3)).isoformat(), "until": until.isoformat()}

    ask("PUT", "/v1/flows/clock", "/v1/flows/{flow_id}", 201, {**PLAIN, "id": "clock"})
    ask("PUT", at, one, 201, schedule)
    ask("PUT", at, one, 200, schedule)
    ask("PUT", at, one, 412, schedule, If_None_Match="*")
    ask("PUT", at, one, 422, {**schedule, "cron": "x"})
    ask("GET", at, one, 200)
    ask("POST", f"{at}:pause", f"{one}:pause", 200, {})
    ask("POST", f"{at}:resume", f"{one}:resume", 200, {})
    ask("POST", f"{at}:trigger", f"{one}:trigger", 202, {})
    filled = ask("POST", f"{at}:backfill", f"{one}:backfill", 202, {**moments, "limit": 1})
    assert len(filled["started"]) == 1
    assert datetime.fromisoformat(filled["go_on_since"]) == until - timedelta(hours=2)
    ask("POST", f"{at}:backfill", f"{one}:backfill", 422, {"since": "x"})
    assert len(ask("GET", f"{at}/fires", f"{one}/fires", 200)["fires"]) == 2
    assert len(ask("GET", f"{at}/preview?count=3", f"{one}/preview", 200)["times"]) == 3
    ask("POST", "/v1/schedules:preview", "/v1/schedules:preview", 200, schedule)
    ask("POST", "/v1/schedules:preview", "/v1/schedules:preview", 422, {})
    assert ask("GET", "/v1/schedules", "/v1/schedules", 200)["schedules"]
    ask("DELETE", at, one, 412, If_Match='"9"')
    ask("DELETE", at, one, 204)
    ask("DELETE", at, one, 404)


def test_what_an_operator_does_is_told_as_documented(service: Service) -> None:
    ask = Checked(service)
    whole = "/v1/executions/{execution_id}"
    execution_id = ask("POST", "/flow/execute", "/flow/execute", 202, ASKING)["execution_id"]
    at = f"/v1/executions/{execution_id}"
    service.await_status(execution_id, "waiting")

    assert ask("GET", f"{at}/why", f"{whole}/why", 200)["reason"] == "signal"
    ask("POST", f"{at}:retry", f"{whole}:retry", 409, {})
    ask("POST", f"{at}:skip", f"{whole}:skip", 202, {"data": {"approved": True}, "by": "ada"})
    waits = f"/v1/executions?reason=signal&q={execution_id}"
    found = wait_for(
        lambda: service.client.get(waits).json()["executions"] or None,
        lambda: "it does not wait for its signal",
    )
    assert (found[0]["reason"], found[0]["labels"]) == ("signal", {"team": "shop"})
    ask("GET", waits, "/v1/executions", 200)
    ask("POST", f"{at}:pause", f"{whole}:pause", 202, {"reason": "look"})
    service.await_status(execution_id, "paused")
    assert any("given_by" in entry for entry in ask("GET", at, whole, 200)["execution_history"])
    ask("POST", f"{at}:resume", f"{whole}:resume", 202, {})
    ask("POST", f"{at}:rerun", f"{whole}:rerun", 202, {"from_task": "break"})
    service.await_status(execution_id, "failed")
    failed = f"/v1/executions?status=failed&q={execution_id}"
    assert ask("GET", failed, "/v1/executions", 200)["executions"][0]["error"]
    forked = ask("POST", f"{at}:fork", f"{whole}:fork", 202, {"from_task": "break"})["execution_id"]
    service.await_status(forked, "failed")
    told = ask("GET", f"/v1/executions/{forked}", whole, 200)
    assert told["forked_from"] == execution_id
    capsule = ask("GET", f"/v1/executions/{forked}/capsule", f"{whole}/capsule", 200)
    assert capsule["execution"]["forked_from"] == execution_id
    ask("POST", "/v1/doctor:repair", "/v1/doctor:repair", 200, {})


def test_what_is_done_with_many_is_told_as_documented(service: Service) -> None:
    ask = Checked(service)
    execution_id = ask("POST", "/flow/execute", "/flow/execute", 202, ASKING)["execution_id"]
    service.await_status(execution_id, "waiting")
    asked = {"action": "retry", "filter": {"q": execution_id}}

    bulk = "/v1/executions:bulk"
    assert ask("POST", bulk, bulk, 200, asked)["matched"] == 1
    refused = ask("POST", bulk, bulk, 200, {**asked, "dry_run": False})
    assert refused["refusals"][0]["execution_id"] == execution_id
    assert ask("POST", bulk, bulk, 200, {**asked, "action": "cancel", "dry_run": False})["accepted"] == 1
    ask("POST", bulk, bulk, 400, {**asked, "cursor": "x"})
    ask("POST", bulk, bulk, 422, {**asked, "filter": {}})


def test_streams_are_what_the_document_says(service: Service) -> None:
    execution_id = service.execute(PLAIN).json()["execution_id"]
    paths = service.client.get("/openapi.json").json()["paths"]
    documented = paths["/v1/executions/{execution_id}/events"]["get"]["responses"]
    at = f"/v1/executions/{execution_id}/events"

    told = service.client.get(at)
    last = told.text.rpartition("id: ")[2].partition("\n")[0]
    assert list(documented["200"]["content"]) == [told.headers["Content-Type"]]
    assert "event: execution_ended" in told.text
    over = service.client.get(at, headers={"Last-Event-ID": last})
    assert (over.status_code, over.content, "content" in documented["204"]) == (204, b"", False)
    assert service.client.get(at, headers={"Last-Event-ID": "x"}).status_code == 400
    with service.client.stream("GET", "/v1/executions:events") as changes:
        assert changes.headers["Content-Type"] == EVENT_STREAM


@pytest.mark.parametrize(
    "path", ["/", "/health", "/health/ready", "/v1/tasks", "/v1/doctor", "/v1/schema/flow", "/v1/executions"]
)
def test_what_takes_nothing_is_told_as_documented(path: str, service: Service) -> None:
    Checked(service)("GET", path, path, 200)
