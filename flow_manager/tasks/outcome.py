"""What came of an attempt: a task's return value or exception, as a value to record."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from flow_manager.core.results import (
    PermanentTaskError,
    RetryTask,
    TaskError,
    TaskExecutionResult,
    TaskStatus,
)
from flow_manager.core.values import find_fault
from flow_manager.ports.worker import AttemptResult

MOST_ERROR_TEXT: Final = 4096
"""Characters of an error message that are kept per attempt."""


def from_return(value: Any, most_bytes: int) -> AttemptResult:
    """The result of a body that returned `value`: a dict, a `TaskExecutionResult` or nothing."""
    if value is None:
        return AttemptResult("success", data={})
    if isinstance(value, dict):
        result = TaskExecutionResult(data=value)
    elif isinstance(value, TaskExecutionResult):
        result = value
    else:
        kind = type(value).__name__
        return _invalid(f"a task returns a dict, a TaskExecutionResult or nothing, not {kind}")
    fault = find_fault(result.data, most_bytes)
    if fault is not None:
        detail = f"{fault.detail} (at {fault.pointer})"
        error = TaskError(fault.code, detail, retryable=False, details={"pointer": fault.pointer})
        return AttemptResult("failure", detail, None, error)
    return _from_result(result)


def _from_result(result: TaskExecutionResult) -> AttemptResult:
    try:
        status = TaskStatus(result.status)
    except ValueError:
        known = ", ".join(TaskStatus)
        return _invalid(f"a TaskExecutionResult has one of the statuses {known}, not {str(result.status)[:64]!r}")
    message = _storable(str(result.message))
    data = result.data
    if status is TaskStatus.SUCCESS:
        return AttemptResult("success", message, data)
    return AttemptResult(status.value, message, data, result.error or TaskError("task.failed", message))


def from_exception(error: BaseException) -> AttemptResult:
    """The result of a body that raised."""
    text = _storable(str(error)) or type(error).__name__
    if isinstance(error, RetryTask):
        details = None if error.after is None else {"retry_after": error.after}
        return _failure(TaskError("task.failed", text, details=details))
    if isinstance(error, PermanentTaskError):
        return _failure(TaskError(error.code, text, retryable=False))
    if isinstance(error, SystemExit | KeyboardInterrupt | asyncio.CancelledError | GeneratorExit):
        text = f"the task body raised {type(error).__name__} {text}".strip()
    return _failure(TaskError("task.failed", text, details={"exception": type(error).__name__}))


def from_timeout(seconds: float) -> AttemptResult:
    """The result of a body that was still running when its time was up."""
    message = f"the attempt did not end within {seconds:g} s"
    return AttemptResult("timeout", message, None, TaskError("task.timeout", message))


def _invalid(message: str) -> AttemptResult:
    return _failure(TaskError("task.output_invalid", message, retryable=False))


def _failure(error: TaskError) -> AttemptResult:
    return AttemptResult("failure", error.message, None, error)


def _storable(text: str) -> str:
    """The text without what cannot be stored as UTF-8, and no longer than is kept."""
    kept = text[:MOST_ERROR_TEXT]
    return kept if kept.isascii() and "\0" not in kept else _cleaned(kept)


def _cleaned(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
