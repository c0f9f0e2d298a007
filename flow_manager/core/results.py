"""What a task hands back: its status, its data, and a failure as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgspec

from flow_manager.core.plain import pointer_to
from flow_manager.core.schemas import Schema

MOST_MISFITS: Final = 10
"""Places of a result that are named when it does not fit."""


class TaskStatus(StrEnum):
    """The outcome of a task run. `failure` in a condition matches every outcome but success."""

    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    """Not run, because its `run_when` was false; routes as success. No body may return it."""


class TaskError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an attempt did not succeed. `code` is dotted lower case and never changes its meaning."""

    code: str
    message: str
    retryable: bool = True
    details: Any = None

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "details": self.details,
        }


@dataclass(slots=True)
class TaskExecutionResult:
    """The result of one execution of a task, as a task author writes it.

    `data` is any JSON object. `error` is filled in for a failure that has a code of its own.
    """

    task_name: str = ""
    status: TaskStatus = TaskStatus.SUCCESS
    message: str = ""
    data: Mapping[str, Any] | None = field(default_factory=dict)
    error: TaskError | None = None

    @property
    def succeeded(self) -> bool:
        return self.status is TaskStatus.SUCCESS


def output_misfit(schema: Schema, data: Any) -> TaskError | None:
    """The error of a result whose data does not fit; None if it does."""
    misfits = schema.misfits(data, most=MOST_MISFITS)
    if not misfits:
        return None
    where, detail = pointer_to(misfits[0].path), misfits[0].detail
    message = f"the result does not fit the output_schema of the task: {detail} (at {where})"
    details = {"misfits": [{"pointer": pointer_to(each.path), "detail": each.detail} for each in misfits]}
    return TaskError("task.output_invalid", message, retryable=False, details=details)


class RetryTask(Exception):
    """Raised by a task: this attempt failed; try again, after `after` seconds if given."""

    def __init__(self, message: str = "the task asked to be tried again", after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class PermanentTaskError(Exception):
    """Raised by a task: this attempt failed, and another would fail the same way."""

    def __init__(self, message: str, code: str = "task.failed") -> None:
        super().__init__(message)
        self.code = code
