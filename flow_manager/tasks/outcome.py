"""What came of an attempt: a task's return value or exception, as a value to record."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
from pydantic import BaseModel, ValidationError

from flow_manager.core.definition import Outcome
from flow_manager.core.results import (
    PermanentTaskError,
    RetryTask,
    TaskError,
    TaskExecutionResult,
    TaskStatus,
)
from flow_manager.core.steps import first_misfit
from flow_manager.core.values import find_fault
from flow_manager.ports.worker import AttemptResult
from flow_manager.tasks.context import TaskContext

MOST_ERROR_TEXT: Final = 4096
"""Characters of an error message that are kept per attempt."""
NOT_STARTED: Final = "task.not_started"
MOST_DETAILS: Final = 16 << 10
"""Bytes of JSON that the details of an error may have."""

_CODE: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
_LONGEST_CODE: Final = 128
_OUTCOME_OF: Final[dict[TaskStatus, Outcome]] = {
    TaskStatus.SUCCESS: "success",
    TaskStatus.FAILURE: "failure",
    TaskStatus.TIMEOUT: "timeout",
    TaskStatus.UNKNOWN: "unknown",
}


def from_return(value: Any, most_bytes: int) -> AttemptResult:
    """The result of a body that returned `value`: a dict, a `TaskExecutionResult` or nothing."""
    if value is None:
        return AttemptResult("success", data={})
    if isinstance(value, TaskExecutionResult):
        result = value
    elif isinstance(value, dict):
        result = TaskExecutionResult(data=value)
    else:
        return _not_a_result(value)
    if not result.data and (result.data is None or type(result.data) is dict):
        return _from_result(result, None if result.data is None else {})
    fault = find_fault(result.data, most_bytes)
    if fault is not None:
        return _invalid(fault.code, f"{fault.detail} (at {fault.pointer})", fault.pointer)
    # The body may keep what it returned, and change it while it is being recorded.
    return _from_result(result, orjson.loads(orjson.dumps(result.data)))


def from_exception(error: BaseException) -> AttemptResult:
    """The result of a body that raised."""
    name = type(error).__name__
    text = _text_of(error) or name
    if isinstance(error, RetryTask):
        return _failure(TaskError("task.failed", text, details=_wish(error.after)))
    if isinstance(error, PermanentTaskError):
        return _failure(TaskError(_code(error.code), text, retryable=False))
    if not isinstance(error, Exception) or isinstance(error, asyncio.CancelledError):
        text = f"the task body raised {name}" if text == name else f"the task body raised {name}: {text}"
    return _failure(TaskError("task.failed", text, details={"exception": storable(name)}))


def raised(error: BaseException, context: TaskContext) -> AttemptResult:
    """The same, with a line in the log that shows where it was raised: what is recorded does not."""
    if not isinstance(error, RetryTask | PermanentTaskError):
        context.logger.info("the body of task %s raised", context.task_name, exc_info=error)
    return from_exception(error)


def from_timeout(seconds: float) -> AttemptResult:
    """The result of a body that was still running when its time was up."""
    message = f"the attempt did not end within {seconds:g} s"
    return AttemptResult("timeout", message, None, TaskError("task.timeout", message))


def from_silence(seconds: float) -> AttemptResult:
    """The result of a body that gave no heartbeat for too long."""
    message = f"the task gave no heartbeat for {seconds:g} s"
    return AttemptResult("timeout", message, None, TaskError("task.heartbeat", message))


def from_loss(message: str) -> AttemptResult:
    """The result of a body whose process died under it."""
    return AttemptResult("unknown", message, None, TaskError("task.lost", message), is_lost=True)


def not_started(message: str) -> AttemptResult:
    """The result of an attempt whose body could not be started."""
    return _failure(TaskError(NOT_STARTED, storable(message)))


def misfit_of(model: type[BaseModel], task_input: Mapping[str, Any]) -> AttemptResult | None:
    """The result of an attempt whose input does not fit its task type; None if it does."""
    try:
        model.model_validate(dict(task_input))
    except ValidationError as error:
        text = f"the input of the task does not fit: {first_misfit(error)}"
    except Exception as error:  # a validator written by a task's author may raise anything
        text = f"the check of the input of the task raised {type(error).__name__}"
    else:
        return None
    return _failure(TaskError("task.input_invalid", storable(text), retryable=False))


def unreadable(message: str) -> AttemptResult:
    """The result of a body that spoilt the message with its result."""
    return _invalid("task.output_invalid", message)


def storable(text: str) -> str:
    """The text without what cannot be stored as UTF-8, and no longer than is kept."""
    kept = text[:MOST_ERROR_TEXT]
    if kept.isascii() and "\0" not in kept:
        return kept
    return kept.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _not_a_result(value: Any) -> AttemptResult:
    if inspect.iscoroutine(value):
        value.close()
        return _invalid("task.output_invalid", "the task returned a coroutine; write `async def execute`")
    kind = type(value).__name__
    message = f"a task returns a dict, a TaskExecutionResult or nothing, not {kind}"
    return _invalid("task.output_invalid", message, "#")


def _from_result(result: TaskExecutionResult, data: Any) -> AttemptResult:
    try:
        status = TaskStatus(result.status)
    except ValueError:
        known = ", ".join(TaskStatus)
        given = storable(repr(result.status)[:64])
        return _invalid(
            "task.output_invalid", f"a TaskExecutionResult has one of the statuses {known}, not {given}"
        )
    message = storable(str(result.message)) if result.message else ""
    if status is TaskStatus.SUCCESS:
        return AttemptResult("success", message, data)
    error = TaskError("task.failed", message) if result.error is None else _checked(result.error, message)
    return AttemptResult(_OUTCOME_OF[status], message or error.message, data, error)


def _checked(error: TaskError, message: str) -> TaskError:
    """An author's error, in the shape that is recorded. Details that cannot be are left out."""
    text = storable(str(error.message)) if error.message else message
    return TaskError(_code(error.code), text, bool(error.retryable), _details(error.details))


def _details(details: Any) -> Any:
    if find_fault({"details": details}, MOST_DETAILS) is not None:
        return None
    return orjson.loads(orjson.dumps(details))


def _code(code: object) -> str:
    """The code, or `task.failed` for one that is not dotted lower case."""
    if isinstance(code, str) and len(code) <= _LONGEST_CODE and _CODE.fullmatch(code):
        return str(code)
    return "task.failed"


def _wish(after: object) -> dict[str, float] | None:
    """The wait that a body asked for, unless no clock can keep it."""
    if not isinstance(after, int | float) or not math.isfinite(after) or after < 0:
        return None
    return {"retry_after": float(after)}


def _text_of(error: BaseException) -> str:
    try:
        return storable(str(error))
    except Exception as second:  # an exception of an author may not even have a text
        return f"{type(error).__name__}, whose text cannot be read ({type(second).__name__})"


def _invalid(code: str, message: str, pointer: str | None = None) -> AttemptResult:
    details = None if pointer is None else {"pointer": storable(pointer)}
    return _failure(TaskError(code, storable(message), retryable=False, details=details))


def _failure(error: TaskError) -> AttemptResult:
    return AttemptResult("failure", error.message, None, error)
