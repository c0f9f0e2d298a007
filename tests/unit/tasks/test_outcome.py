from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.core.results import (
    PermanentTaskError,
    RetryTask,
    TaskError,
    TaskExecutionResult,
    TaskStatus,
)
from flow_manager.tasks.outcome import MOST_ERROR_TEXT, from_exception, from_return, from_timeout
from tests.support.process_tasks import UNSTORABLE, unstorable

MOST = 256 << 10


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Own(ValueError):
    pass


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, {}),
        ({}, {}),
        ({"a": [1, None, "ä"]}, {"a": [1, None, "ä"]}),
        (TaskExecutionResult(), {}),
        (TaskExecutionResult(data=None), None),
        (TaskExecutionResult(data={"a": 1}), {"a": 1}),
    ],
)
def test_a_body_that_returns_has_succeeded(value: Any, data: Any) -> None:
    result = from_return(value, MOST)

    assert (result.outcome, result.message, result.data, result.error) == ("success", "", data, None)


@pytest.mark.parametrize("status", [TaskStatus.FAILURE, "failure", TaskStatus.TIMEOUT, TaskStatus.UNKNOWN])
def test_a_result_says_its_status(status: Any) -> None:
    result = from_return(TaskExecutionResult("charge", status, "no money", {"left": 0}), MOST)

    assert (result.outcome, result.message, result.data) == (str(status), "no money", {"left": 0})
    assert result.error == TaskError("task.failed", "no money")


def test_a_result_may_bring_its_own_error() -> None:
    error = TaskError("bank.refused", "no money", retryable=False, details={"left": 0})

    result = from_return(TaskExecutionResult(status=TaskStatus.FAILURE, error=error), MOST)

    assert (result.message, result.error) == ("no money", error)


@pytest.mark.parametrize(("what", "code", "pointer"), UNSTORABLE)
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_value_that_cannot_be_stored_is_a_failure_that_says_where(
    what: str, code: str, pointer: str, is_wrapped: bool
) -> None:
    value = unstorable(what)

    result = from_return(TaskExecutionResult(data=value) if is_wrapped else value, MOST)

    assert (result.outcome, result.data) == ("failure", None)
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == (code, False)
    assert result.error.details == {"pointer": pointer}


@pytest.mark.parametrize("what", ["surrogate", "object", "huge", "nan", "deep"])
def test_details_that_cannot_be_stored_are_left_out_and_the_failure_stays(what: str) -> None:
    error = TaskError("bank.refused", "no", details=unstorable(what))

    result = from_return(TaskExecutionResult(status=TaskStatus.FAILURE, error=error), MOST)

    assert result.error == TaskError("bank.refused", "no")


@pytest.mark.parametrize("status", ["done", None, 7, "\ud800"])
def test_an_unknown_status_is_a_failure(status: Any) -> None:
    result = from_return(TaskExecutionResult(status=status), MOST)

    assert result.error is not None
    assert result.error.code == "task.output_invalid"
    assert "success, failure, timeout, unknown" in result.message


def test_a_coroutine_that_nobody_awaited_is_a_failure_that_says_what_to_write() -> None:
    async def forgotten() -> None: ...

    result = from_return(forgotten(), MOST)

    assert result.error is not None
    assert result.error.code == "task.output_invalid"
    assert "async def" in result.message


def test_what_is_recorded_is_not_the_object_that_the_body_keeps() -> None:
    kept: dict[str, Any] = {"rows": [1]}
    result = from_return(kept, MOST)

    kept["rows"].append(2)

    assert result.data == {"rows": [1]}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no such order"), "no such order"),
        (ValueError(), "ValueError"),
        (Own(""), "Own"),
        (ValueError("\ud800\0"), "\\ud800\\0"),
        (Wordless(), "Wordless, whose text cannot be read (RuntimeError)"),
        (KeyboardInterrupt(), "the task body raised KeyboardInterrupt"),
        (SystemExit(3), "the task body raised SystemExit: 3"),
        (GeneratorExit(), "the task body raised GeneratorExit"),
        (asyncio.CancelledError(), "the task body raised CancelledError"),
        (StopIteration(7), "7"),
    ],
)
def test_a_body_that_raises_has_failed_with_the_message(error: BaseException, message: str) -> None:
    result = from_exception(error)

    assert (result.outcome, result.message, result.data) == ("failure", message, None)
    assert result.error == TaskError("task.failed", message, details={"exception": type(error).__name__})


@given(st.text(st.characters(), max_size=MOST_ERROR_TEXT + 10) | st.just("\ud800" * 10_000))
def test_any_text_of_an_error_can_be_stored(text: str) -> None:
    message = from_exception(ValueError(text)).message

    assert "\0" not in message
    assert len(message.encode()) <= 6 * MOST_ERROR_TEXT


@pytest.mark.parametrize(
    ("after", "details"),
    [
        (None, None),
        (2, {"retry_after": 2.0}),
        (0.5, {"retry_after": 0.5}),
        (-1, None),
        (float("nan"), None),
        (float("inf"), None),
        ("soon", None),
    ],
)
def test_a_body_may_ask_to_be_tried_again(after: Any, details: Any) -> None:
    result = from_exception(RetryTask("busy", after=after))

    assert result.error == TaskError("task.failed", "busy", details=details)


@pytest.mark.parametrize(
    ("code", "recorded"),
    [
        ("bank.refused", "bank.refused"),
        ("http.503", "http.503"),
        ("Bank", "task.failed"),
        ("", "task.failed"),
        ("a..b", "task.failed"),
        ("a\n", "task.failed"),
        ("a" * 129, "task.failed"),
        (503, "task.failed"),
    ],
)
def test_a_body_may_fail_for_good_with_a_code_of_its_own(code: Any, recorded: str) -> None:
    assert from_exception(PermanentTaskError("no", code)).error == TaskError(recorded, "no", retryable=False)


def test_a_timeout_says_how_long_it_was() -> None:
    result = from_timeout(0.25)

    assert (result.outcome, result.message) == ("timeout", "the attempt did not end within 0.25 s")
    assert result.error == TaskError("task.timeout", result.message)
