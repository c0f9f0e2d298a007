"""Everything that the brief shows, as a user would do it: `python app.py`, then each curl."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.ports import free_port
from tests.support.service import ROOT, wait_for

DOORS = ("app.py", "flow_engine.py", "task_executor.py", "models.py", "sample_tasks.py", "sample_flow.json")
JSON_BODY = ("-H", "Content-Type: application/json", "-d", "@sample_flow.json")


class Checkout:
    """A folder with the doors of the project in it, where `python app.py` can be run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "service.log"
        for name in DOORS:
            shutil.copy(ROOT / name, folder)

    @contextlib.contextmanager
    def running(self, failure_rate: float = 0.0) -> Iterator[Self]:
        port = free_port()
        self.url = f"http://localhost:{port}"
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "FLOW_MANAGER_PORT": str(port),
            "FLOW_MANAGER_SAMPLE_FAILURE_RATE": str(failure_rate),
        }
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "app.py"], cwd=self.folder, env=environment, stderr=log
            )
        wait_for(lambda: "listening on" in self.log.read_text() or None, self.log.read_text, process)
        try:
            yield self
        finally:
            process.terminate()
            assert process.wait(30) == 0

    def curl(self, path: str, *arguments: str) -> Any:
        done = subprocess.run(
            ["curl", "--silent", "--show-error", *arguments, self.url + path],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(done.stdout)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Checkout]:
    with Checkout(tmp_path).running() as checkout:
        yield checkout


def test_the_sample_flow_completes(service: Checkout) -> None:
    answer = service.curl("/flow/execute", "-X", "POST", *JSON_BODY)

    assert answer["status"] == "completed"
    assert answer["flow_id"] == "flow123"
    assert re.fullmatch(r"[0-9a-f-]{36}", answer["execution_id"])
    history = answer["execution_history"]
    assert [entry["task_name"] for entry in history] == ["task1", "task2", "task3"]
    assert {entry["status"] for entry in history} == {"success"}
    assert history[0]["message"] == "Data fetched successfully"
    assert history[0]["data"]["count"] == 5
    assert answer["start_time"] < answer["end_time"]


def test_a_failed_fetch_ends_the_flow_after_task1(tmp_path: Path) -> None:
    with Checkout(tmp_path).running(failure_rate=1.0) as service:
        answer = service.curl("/flow/execute", "-X", "POST", *JSON_BODY)

    assert answer["status"] == "failed"
    assert [entry["task_name"] for entry in answer["execution_history"]] == ["task1"]
    assert answer["execution_history"][0]["status"] == "failure"
    assert answer["error"]["message"].startswith("Failed to fetch data")


def test_the_status_of_an_execution_can_be_asked_for_later(service: Checkout) -> None:
    executed = service.curl("/flow/execute", "-X", "POST", *JSON_BODY)

    assert service.curl(f"/flow/status/{executed['execution_id']}") == executed


def test_a_flow_can_be_validated_without_executing_it(service: Checkout) -> None:
    answer = service.curl("/flow/validate", "-X", "POST", *JSON_BODY)

    assert (answer["valid"], answer["warnings"]) == (True, [])
    assert [route["status"] for route in answer["routes"]] == ["completed", "failed", "failed", "failed"]
    assert service.curl("/v1/executions")["executions"] == []


def test_the_health_check_tells_that_the_service_runs(service: Checkout) -> None:
    answer = service.curl("/health")

    assert answer["status"] == "ok"
    assert answer["version"]
    assert answer["store"]["kind"] == "sqlite"


def test_the_log_tells_every_start_end_condition_and_route(service: Checkout) -> None:
    executed = service.curl("/flow/execute", "-X", "POST", *JSON_BODY)

    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    told = [line["message"] for line in lines if line.get("execution_id") == executed["execution_id"]]
    assert told[0] == "execution started"
    assert "task task1 started" in told
    assert "task task1 ended: success, Data fetched successfully" in told
    assert "condition condition_task1_result matched the outcome success of task1: routing to task2" in told
    assert "task task3 has no condition: routing to end" in told
    assert told[-1] == "execution ended: completed"


CUSTOM_TASK = """
from task_executor import TaskExecutor, register_task
from models import TaskExecutionResult, TaskStatus

@register_task("my_custom_task")
class MyCustomTask(TaskExecutor):
    def execute(self, context):
        # Your task logic here
        return TaskExecutionResult(
            task_name="my_custom_task",
            status=TaskStatus.SUCCESS,
            message="Task completed",
            data={"result": "data"}
        )
"""

CUSTOM_FLOW = {
    "flow": {
        "id": "custom",
        "name": "Custom",
        "start_task": "my_custom_task",
        "tasks": [{"name": "my_custom_task", "description": "My custom task"}],
        "conditions": [],
    }
}


def test_a_custom_task_is_imported_in_app_py_and_used_by_name(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    (tmp_path / "my_custom_task.py").write_text(CUSTOM_TASK)
    app = (tmp_path / "app.py").read_text()
    (tmp_path / "app.py").write_text(
        app.replace("import sample_tasks", "import my_custom_task\nimport sample_tasks")
    )
    (tmp_path / "sample_flow.json").write_text(json.dumps(CUSTOM_FLOW))

    with checkout.running() as service:
        answer = service.curl("/flow/execute", "-X", "POST", *JSON_BODY)

    assert answer["status"] == "completed"
    assert answer["execution_history"][0]["message"] == "Task completed"
    assert answer["execution_history"][0]["data"] == {"result": "data"}
