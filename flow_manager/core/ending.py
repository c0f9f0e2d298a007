"""The end of an execution: how it is decided, and what has to be undone before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flow_manager.core.attempts import Attempt
from flow_manager.core.decision import DecideAgain, Decision, Finish
from flow_manager.core.definition import Flow, Task
from flow_manager.core.events import ExecutionEnded, ExecutionEnding
from flow_manager.core.expressions import ExpressionError
from flow_manager.core.results import TaskError
from flow_manager.core.scope import scope_of
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.view import View


def complete(flow: Flow, view: View, now: datetime) -> Decision:
    """The flow has reached its end."""
    if flow.output is None:
        return Decision((ExecutionEnded(now),), Finish(ExecutionStatus.COMPLETED))
    try:
        output = flow.output.evaluate(scope_of(flow, view, now))
    except ExpressionError as error:
        return fail(flow, view, now, expression_failed("the output of the flow", error))
    return end_as(flow, view, now, ExecutionStatus.COMPLETED, None, output)


def fail(flow: Flow, view: View, now: datetime, error: TaskError | None) -> Decision:
    """The execution has failed."""
    return end_as(flow, view, now, ExecutionStatus.FAILED, error)


def end_as(
    flow: Flow,
    view: View,
    now: datetime,
    status: ExecutionStatus,
    error: TaskError | None,
    output: Any = None,
) -> Decision:
    """End with this status; if that is a bad end, after everything that can be undone has been."""
    if status is not ExecutionStatus.COMPLETED and has_something_to_undo(flow, view):
        return Decision((ExecutionEnding(now, status, error, output=output),), DecideAgain())
    return Decision((ExecutionEnded(now, status, error, output),), Finish(status))


def has_something_to_undo(flow: Flow, view: View) -> bool:
    return flow.compensates and next(to_undo(flow, view), None) is not None


def to_undo(flow: Flow, view: View) -> Iterator[Attempt]:
    """The recorded successes that have a compensation and have not had it, the last one first; and the
    attempts that did not succeed, but some of whose children may have."""
    for entry in reversed(view.attempts):
        if (
            not entry.compensates
            and not entry.given_by
            and (entry.run, entry.attempt) not in view.compensated
        ):
            task = flow.tasks[entry.task]
            undoes_children = task.child is not None and task.child.compensates
            if entry.status == "success":
                if task.compensate_with is not None or undoes_children:
                    yield entry
            elif undoes_children and task.compensate_with is None and _may_have_completed(task, entry):
                yield entry


def _may_have_completed(task: Task, entry: Attempt) -> bool:
    """Whether a child may have completed under an attempt that did not succeed."""
    return entry.completed > 0 or (task.type == "for_each" and entry.status in ("failure", "timeout"))


def expression_failed(where: str, error: ExpressionError) -> TaskError:
    """The error of an execution in which an expression could not be evaluated."""
    details = {"where": where, "expression": error.expression, "reason": error.detail}
    return TaskError(error.code, f"{where} could not be evaluated: {error.detail}", False, details)
