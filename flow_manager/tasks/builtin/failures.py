"""How a built-in task says that it failed: with a code of its own."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from flow_manager.core.results import TaskError, TaskExecutionResult, TaskStatus

MOST_MISFITS = 5
"""Faults of an input that a message lists."""


class AttemptFailed(Exception):
    """Ends an attempt. It is caught within the task and becomes its result."""

    def __init__(self, code: str, message: str, *, retryable: bool = True, details: Any = None) -> None:
        super().__init__(message)
        self.error = TaskError(code, message, retryable, details)

    def result(self) -> TaskExecutionResult:
        return TaskExecutionResult(
            status=TaskStatus.FAILURE, message=self.error.message, data=None, error=self.error
        )


def bad_input(code: str, error: ValidationError) -> AttemptFailed:
    """The failure of an attempt whose input, now that its expressions have values, does not fit.

    The values themselves stay out of the message: one of them may be a secret.
    """
    misfits = error.errors(include_url=False, include_context=False, include_input=False)
    told = [f"{'.'.join(map(str, each['loc'])) or 'input'}: {each['msg']}" for each in misfits]
    more = len(told) - MOST_MISFITS
    ending = f"; and {more} more" if more > 0 else ""
    return AttemptFailed(code, "; ".join(told[:MOST_MISFITS]) + ending, retryable=False)
