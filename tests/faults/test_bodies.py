"""F08 and F19: what a task body does to itself is recorded, and nothing else suffers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.support.documents import document, task
from tests.support.service import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("bodies"), "--log-level", "error") as running:
        yield running


def last_entry(service: Service, task_type: str, input: dict[str, Any]) -> dict[str, Any]:
    body = service.execute(document(task(task_type, input, on_lost="unknown"), flow_id="body")).json()
    entry: dict[str, Any] = body["execution_history"][-1]
    return entry


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("exit", "unknown", "task.lost"),
        ("kill", "unknown", "task.lost"),
        ("sys.exit", "unknown", "task.lost"),
        ("base_exception", "failure", "task.failed"),
    ],
)
def test_a_body_that_ends_its_process_ends_its_attempt_and_nothing_else(
    service: Service, how: str, status: str, code: str
) -> None:
    assert service.process is not None
    before = service.process.pid, time.monotonic()

    entry = last_entry(service, "isolated", {"how": how})

    assert (entry["status"], entry["error"]["code"]) == (status, code)
    assert service.process.poll() is None
    assert service.process.pid == before[0]
    assert time.monotonic() - before[1] < 5.0


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("huge", "limit.output_size"),
        ("many", "task.output_invalid"),
        ("deep", "task.output_invalid"),
        ("nul", "task.output_invalid"),
        ("surrogate", "task.output_invalid"),
        ("nan", "task.output_invalid"),
        ("integer", "task.output_invalid"),
        ("bytes", "task.output_invalid"),
        ("object", "task.output_invalid"),
        ("list", "task.output_invalid"),
    ],
)
@pytest.mark.parametrize("task_type", ["return", "isolated"])
def test_a_result_that_cannot_be_stored_is_a_failure_that_says_where(
    service: Service, task_type: str, what: str, code: str
) -> None:
    entry = last_entry(service, task_type, {"what": what, "how": "what"})

    assert entry["status"] == "failure"
    assert entry["error"]["code"] == code
    assert entry["error"]["retryable"] is False
    assert what == "list" or entry["error"]["details"]["pointer"].startswith("#")


def test_the_service_keeps_its_size_when_an_isolated_body_returns_too_much(service: Service) -> None:
    assert service.process is not None
    process = psutil.Process(service.process.pid)
    last_entry(service, "isolated", {"how": "return"})
    before = process.memory_info().rss

    for what in ("huge", "many", "deep"):
        last_entry(service, "isolated", {"what": what, "how": "what"})

    assert process.memory_info().rss - before < 64 << 20
