"""Winding up: an execution that is to end lets go of what is open, undoes what it did, and ends.

Compensations are task runs like any other: durable, retried, recovered. They run in reverse, one
for each recorded success, and one that fails does not keep the others from running.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flow_manager.core.attempts import Attempt
from flow_manager.core.children import ToChildren
from flow_manager.core.decision import (
    Circumstances,
    DecideAgain,
    Decision,
    Finish,
    LookAtChildren,
    Park,
)
from flow_manager.core.definition import Flow, Outcome
from flow_manager.core.ending import to_undo
from flow_manager.core.events import (
    AttemptCancelled,
    AttemptEnded,
    AttemptStarted,
    ExecutionEnded,
    ExecutionEnding,
    Wait,
)
from flow_manager.core.results import TaskError
from flow_manager.core.starting import start_attempt
from flow_manager.core.states import FAR_AWAY, ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import Phase, View

CANCELLED: Final = "execution.cancelled"
COMPENSATED: Final = "execution.compensated"
NOT_UNDONE: Final = "task.not_undone"
FAILED_COMPENSATIONS: Final = "compensations_failed"
"""The member of an error's details that names the tasks that could not undo what was done."""


def cancel(view: View, given: Circumstances) -> Decision | None:
    """Begin to end, if somebody has asked for it; and tell the children."""
    wanted = "compensate" if view.is_ended else "cancel"
    mail = next((each for each in given.mail if each.kind == wanted), None)
    if mail is None:
        return None
    error = TaskError(CANCELLED, mail.name or "the execution was cancelled", retryable=False)
    if view.is_ended:
        error = TaskError(COMPENSATED, "what the execution did was undone with its parent", retryable=False)
    ending = ExecutionEnding(given.now, ExecutionStatus.CANCELLED, error, mail.number, mail.by)
    return Decision((ending,), DecideAgain(), (), to_open_children(view))


def to_open_children(view: View) -> ToChildren | None:
    """The word to those whom the open attempt waits for."""
    if view.phase is Phase.WAITING and view.wait is not None and view.wait.kind == "children":
        return ToChildren("cancel", view.run, view.attempt)
    return None


def wind_up(flow: Flow, view: View, given: Circumstances) -> Decision:
    """The next step towards the end; only for what a compensation does not do as any task does."""
    if view.phase is Phase.WAITING and view.wait is not None and view.wait.kind == "children":
        return _await_children(view, given)
    if view.phase in (Phase.ATTEMPT_OPEN, Phase.WAITING):
        return Decision((AttemptCancelled(given.now, view.task, view.run, view.attempt),), DecideAgain())
    undone = next(to_undo(flow, view), None)
    return _end(view, given) if undone is None else _undo(flow, view, undone, given)


def _await_children(view: View, given: Circumstances) -> Decision:
    """Of an attempt that is given up, or of one that is being undone."""
    run, attempt = view.run, view.attempt
    if view.compensates:
        run, attempt = view.compensates, view.compensates_attempt
    if given.children is None:
        return Decision((), LookAtChildren(run, attempt))
    if given.children.open:
        return Decision((), Park(Wake(WakeReason.CHILDREN, FAR_AWAY, view.task)))
    if view.compensates:
        return _undone(view, given, run, attempt)
    children = given.children
    completed = children.started - children.open - children.unsuccessful
    cancelled = AttemptCancelled(given.now, view.task, view.run, view.attempt, completed)
    return Decision((cancelled,), DecideAgain())


def _undone(view: View, given: Circumstances, run: int, attempt: int) -> Decision:
    """All children have undone what they did, or tell what they could not undo."""
    ends = None if given.children is None else given.children.ends
    if ends is None:
        return Decision((), LookAtChildren(run, attempt, with_ends=True))
    failed = [end for end in ends if end.error is not None and _not_undone(end.error)]
    error = None
    if failed:
        message = f"of {len(failed)} children not everything was undone, first of {failed[0].execution_id}"
        error = TaskError(NOT_UNDONE, message, retryable=False)
    outcome: Outcome = "success" if error is None else "failure"
    message = "" if error is None else error.message
    ended = AttemptEnded(given.now, view.task, view.run, view.attempt, outcome, message, None, error)
    return Decision((ended,), DecideAgain())


def _not_undone(error: TaskError) -> Any:
    return isinstance(error.details, Mapping) and error.details.get(FAILED_COMPENSATIONS)


def _undo(flow: Flow, view: View, undone: Attempt, given: Circumstances) -> Decision:
    task, now, run = flow.tasks[undone.task], given.now, view.run + 1
    if task.compensate_with is not None:
        name, what = task.compensate_with, (undone.run, undone.attempt)
        return start_attempt(flow, view, AttemptStarted(now, name, run, 1, False, None, *what), given)
    wait = Wait("children")
    started = AttemptStarted(now, task.name, run, 1, False, wait, undone.run, undone.attempt)
    # It may be that none had completed, and then nobody would ever tell: so it looks at once.
    wake = Wake(WakeReason.DUE, now)
    return Decision((started,), Park(wake), (), ToChildren("compensate", undone.run, undone.attempt))


def _end(view: View, given: Circumstances) -> Decision:
    ending = view.ending
    assert ending is not None
    error = _with_failures(view, ending.error)
    ended = ExecutionEnded(given.now, ending.status, error, ending.output)
    return Decision((ended,), Finish(ending.status))


def _with_failures(view: View, error: TaskError | None) -> TaskError | None:
    """The error of the execution, and what could not be undone."""
    last = {entry.compensates: entry for entry in view.attempts if entry.compensates}
    failed = [entry.task for entry in last.values() if entry.status != "success"]
    if not failed or error is None:
        return error
    details = {"error": error.details, FAILED_COMPENSATIONS: failed}
    message = f"{error.message}; not undone, since these failed: {', '.join(failed)}"
    return TaskError(error.code, message, error.retryable, details)
