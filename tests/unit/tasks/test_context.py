from __future__ import annotations

import hashlib
import logging
from typing import Any

import pytest

from flow_manager.core.results import TaskError, TaskExecutionResult, TaskStatus
from flow_manager.tasks.context import Cancellation, TaskContext
from tests.support.orders import ended, order


def context(**more: Any) -> TaskContext:
    return TaskContext(order("charge", more.pop("task_input", None), **more), Cancellation())


def test_a_body_is_told_who_it_is() -> None:
    told = context(attempt=2)

    assert (told.execution_id, told.flow_id, told.task_name) == ("e1", "shop", "charge")
    assert (told.run, told.attempt) == (3, 2)


def test_a_body_is_given_the_input_of_the_execution_and_of_its_task() -> None:
    assert context(task_input={"amount": 7}).input == {"order": 7}
    assert context(task_input={"amount": 7}).task_input == {"amount": 7}
    assert context().task_input == {}


def test_earlier_results_are_found_by_task_name_in_the_order_they_ended() -> None:
    told = context(earlier={"again": ended("again", 2, {"n": 2}), "fetch": ended("fetch", 1, {"n": 1})})

    assert list(told.results) == list(told) == ["fetch", "again"]
    assert told["fetch"] == told.results["fetch"] == told.get("fetch")
    assert told["fetch"] == TaskExecutionResult("fetch", TaskStatus.SUCCESS, "fetch ended", {"n": 1})
    assert told.previous == told["again"]
    assert len(told) == 2
    assert "fetch" in told.results


def test_a_failure_is_found_with_its_error() -> None:
    failed = ended("fetch", 1, None, "failure")
    failed.error = TaskError("http.503", "not there")

    result = context(earlier={"fetch": failed})["fetch"]

    assert (result.status, result.succeeded, result.error) == (TaskStatus.FAILURE, False, failed.error)


def test_the_first_task_has_nothing_before_it() -> None:
    told = context()

    assert told.previous is None
    assert told.get("fetch") is None
    assert told.get("fetch", 7) == 7
    with pytest.raises(KeyError, match="no task named 'fetch' has ended before this one"):
        told["fetch"]


def test_changing_what_was_handed_out_changes_nothing_else() -> None:
    earlier = {"fetch": ended("fetch", 1, {"rows": [1]})}
    told = context(task_input={"list": []}, earlier=earlier)

    told.input["order"] = 8
    told.task_input["list"].append(1)
    data = told["fetch"].data
    assert isinstance(data, dict)
    data["rows"].append(2)

    assert told["fetch"].data == {"rows": [1]}
    assert context().input == {"order": 7}
    assert told.input == {"order": 8}


def test_the_idempotency_key_is_that_of_the_task_run_and_not_of_the_attempt() -> None:
    assert context(attempt=1).idempotency_key == context(attempt=2).idempotency_key
    assert context().idempotency_key == hashlib.sha256(b"e1/3/charge").hexdigest()


def test_the_lines_of_a_body_carry_whose_they_are_beside_what_it_adds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "flow_manager.task")

    context(attempt=2).logger.info("charged %d", 7, extra={"card": "visa", "task": "mine"})

    [record] = caplog.records
    assert record.getMessage() == "charged 7"
    fields = {name: record.__dict__[name] for name in ("execution_id", "task", "attempt", "card")}
    assert fields == {"execution_id": "e1", "task": "charge", "attempt": 2, "card": "visa"}


def test_a_body_sees_that_nobody_waits_for_it() -> None:
    cancellation = Cancellation()
    told = TaskContext(order("charge"), cancellation)
    assert not told.is_cancelled

    cancellation.set()

    assert told.is_cancelled
