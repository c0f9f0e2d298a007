from __future__ import annotations

import logging
import random
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from flow_manager.core.results import TaskExecutionResult, TaskStatus
from flow_manager.tasks.registry import REGISTRY

sample_tasks: Any = import_module("sample_tasks")


def executed(name: str, *earlier: TaskExecutionResult) -> TaskExecutionResult:
    results = {result.task_name: result for result in earlier}
    context: Any = SimpleNamespace(results=results, execution_id="e1", logger=logging.getLogger("sample"))
    result: TaskExecutionResult = REGISTRY[name].new_body()(context)
    return result


def test_the_three_tasks_hand_their_data_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_tasks, "FAILURE_RATE", 0.0)

    fetched = executed("task1")
    processed = executed("task2", fetched)
    stored = executed("task3", fetched, processed)

    assert [result.message for result in (fetched, processed, stored)] == [
        "Data fetched successfully",
        "Data processed successfully",
        "Data stored successfully",
    ]
    assert fetched.data is not None
    assert processed.data is not None
    assert stored.data is not None
    assert fetched.data["count"] == 5
    assert processed.data["total"] == sum(record["value"] for record in fetched.data["records"])
    assert stored.data["stored"] == processed.data


def test_fetching_fails_one_time_in_ten_and_the_same_times_with_the_same_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failures(seed: str) -> list[int]:
        monkeypatch.setattr(sample_tasks, "CHANCE", random.Random(seed))
        return [number for number in range(1000) if executed("task1").status is TaskStatus.FAILURE]

    monkeypatch.setattr(sample_tasks, "FAILURE_RATE", 0.1)

    assert failures("7") == failures("7") != failures("8")
    assert 70 <= len(failures("7")) <= 130
