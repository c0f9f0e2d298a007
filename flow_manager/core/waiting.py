"""What an attempt without a body waits for: a time, a signal, an answer, or children."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from flow_manager.core.attempts import format_time
from flow_manager.core.children import ChildEnd, Children, ToChildren
from flow_manager.core.decision import Circumstances, DecideAgain, Decision, LookAtChildren, Park
from flow_manager.core.definition import Flow, Outcome
from flow_manager.core.ending import expression_failed
from flow_manager.core.events import AttemptEnded, AttemptStarted, ExecutionEnding, SignalReceived, Wait
from flow_manager.core.expressions import ExpressionError
from flow_manager.core.results import TaskError
from flow_manager.core.starting import children_at, first, input_of, inputs_of_items, step_input
from flow_manager.core.states import FAR_AWAY, ExecutionStatus, Wake, WakeReason
from flow_manager.core.steps import ForEachInput
from flow_manager.core.values import find_fault
from flow_manager.core.view import View

MOST_RESULT: Final = 2 << 20
"""Bytes of JSON that the results of all children may have together: 200 for each of the most there are."""
_TOGETHER: Final = "the results of all children together"


def while_waiting(flow: Flow, view: View, given: Circumstances) -> Decision:
    """End the attempt if what it waited for has come, or has not come in time; else go on waiting."""
    assert view.wait is not None
    return _WAIT[view.wait.kind](flow, view, view.wait, given)


def _time(flow: Flow, view: View, wait: Wait, given: Circumstances) -> Decision:
    until = wait.until or given.now
    if given.now >= until:
        return _ended(view, given, "success", data={"until": format_time(until)})
    return Decision((), Park(Wake(WakeReason.DUE, first(until, flow, view))))


def _signal(flow: Flow, view: View, wait: Wait, given: Circumstances) -> Decision:
    kind = "answer" if wait.kind == "approval" else "signal"
    for mail in given.mail:
        if mail.kind == kind and mail.name == wait.signal:
            received = SignalReceived(given.now, mail.name, mail.number, mail.payload, mail.by)
            take = _answer if wait.kind == "approval" else _payload
            ended = take(view, given, received)
            return Decision((received, *ended.events), ended.action)
    if wait.until is not None and given.now >= wait.until:
        what = "an answer" if wait.kind == "approval" else f"the signal {wait.signal!r}"
        message = f"{what} did not come in time"
        error = TaskError(f"{wait.kind}.timeout", message, retryable=False)
        return _ended(view, given, "timeout", error=error)
    wake = Wake(WakeReason.SIGNAL, first(wait.until or FAR_AWAY, flow, view), wait.signal)
    return Decision((), Park(wake))


def _payload(view: View, given: Circumstances, received: SignalReceived) -> Decision:
    return _ended(view, given, "success", data={"payload": received.payload, "by": received.by})


def _answer(view: View, given: Circumstances, received: SignalReceived) -> Decision:
    payload: dict[str, Any] = received.payload
    data = {**payload, "by": received.by}
    if payload["approved"]:
        return _ended(view, given, "success", data=data)
    whom = f" by {received.by}" if received.by else ""
    error = TaskError("approval.rejected", f"the answer was no{whom}", retryable=False)
    return _ended(view, given, "failure", data=data, error=error)


def _children(flow: Flow, view: View, wait: Wait, given: Circumstances) -> Decision:
    task = flow.tasks[view.task]
    if given.children is None:
        return Decision((), LookAtChildren(view.run, view.attempt))
    children = given.children
    try:
        input = _for_each_input(flow, view, given) if task.type == "for_each" else None
    except ExpressionError as error:
        return _without_input(flow, view, given, children, error)
    tolerated = 0 if input is None else input.tolerate
    is_late = wait.until is not None and given.now >= wait.until
    has_failed = children.unsuccessful > tolerated
    is_given_up = has_failed or is_late
    if not is_given_up and input is not None and children.started < wait.count:
        last = min(wait.count, children.started + max(0, input.max_parallel - children.open))
        places = range(children.started, last)
        more = children_at(task, view.run, view.attempt, inputs_of_items(input), places)
        return Decision((), _park(flow, view, wait), more)
    if children.open:
        cancel = ToChildren("cancel", view.run, view.attempt) if is_given_up else None
        return Decision((), _park(flow, view, None if is_late else wait), (), cancel)
    if input is not None and children.bytes > MOST_RESULT:
        detail = f"{_TOGETHER} are more than {MOST_RESULT >> 10} KiB of JSON"
        return _ended(view, given, "failure", error=TaskError("limit.output_size", detail, False))
    if children.ends is None:
        return Decision((), LookAtChildren(view.run, view.attempt, with_ends=True))
    was_cancelled = any(end.status is ExecutionStatus.CANCELLED for end in children.ends)
    if is_late and (was_cancelled or children.started < wait.count):
        late = TaskError("task.timeout", "not all children ended in time")
        return _ended(view, given, "timeout", error=late)
    if input is None:
        return _of_one(view, given, children.ends[0])
    return _of_list(view, given, children.ends, has_failed)


def _for_each_input(flow: Flow, view: View, given: Circumstances) -> ForEachInput | None:
    """As it was when the attempt started: nothing that it is made of has changed since, but for secrets."""
    entry = view.last_attempt
    started = AttemptStarted(
        entry.started_at, entry.task, entry.run, entry.attempt, compensates=entry.compensates
    )
    model = step_input(flow.tasks[view.task], input_of(flow, view, started, given))
    return model if isinstance(model, ForEachInput) else None


def _without_input(
    flow: Flow, view: View, given: Circumstances, children: Children, error: ExpressionError
) -> Decision:
    """A list that cannot be read any more: what is open is cancelled, and then the execution fails."""
    if children.open:
        return Decision((), _park(flow, view, None), (), ToChildren("cancel", view.run, view.attempt))
    failed = expression_failed(f"the input of task {view.task!r}", error)
    if view.compensates:
        return _ended(view, given, "failure", error=failed)
    return Decision((ExecutionEnding(given.now, ExecutionStatus.FAILED, failed),), DecideAgain())


def _park(flow: Flow, view: View, wait: Wait | None) -> Park:
    """Until a child has ended; or the time is up, if there is one."""
    until = FAR_AWAY if wait is None or wait.until is None else wait.until
    return Park(Wake(WakeReason.CHILDREN, first(until, flow, view), view.task))


def _of_one(view: View, given: Circumstances, end: ChildEnd) -> Decision:
    data = _as_data(end)
    if end.status is ExecutionStatus.COMPLETED:
        return _ended(view, given, "success", data=data)
    return _ended(view, given, "failure", data=data, error=_child_failed(end))


def _of_list(view: View, given: Circumstances, ends: Sequence[ChildEnd], has_failed: bool) -> Decision:
    bad = [end for end in ends if end.status is not ExecutionStatus.COMPLETED]
    data = {"results": [_as_data(end) for end in ends], "failed": len(bad)}
    fault = find_fault(data, MOST_RESULT)
    if fault is not None:
        error = TaskError(fault.code, f"{_TOGETHER}: {fault.detail}", False)
        return _ended(view, given, "failure", error=error)
    if not has_failed:
        return _ended(view, given, "success", data=data)
    # Those that were cancelled for it are no cause.
    failed = [end for end in bad if end.status is ExecutionStatus.FAILED] or bad
    message = f"{len(failed)} of {len(ends)} children failed"
    details = {"first": {"index": failed[0].index, "error": _child_failed(failed[0]).to_json()}}
    error = TaskError("for_each.failed", message, details=details)
    return _ended(view, given, "failure", data=data, error=error)


def _as_data(end: ChildEnd) -> dict[str, Any]:
    return {
        "execution_id": end.execution_id,
        "status": end.status.value,
        "output": end.output,
        "error": None if end.error is None else end.error.to_json(),
    }


def _child_failed(end: ChildEnd) -> TaskError:
    if end.error is not None:
        message = f"child {end.execution_id}: {end.error.message}"
        return TaskError(end.error.code, message, end.error.retryable)
    return TaskError("flow.failed", f"child {end.execution_id} ended as {end.status.value}")


def _ended(
    view: View,
    given: Circumstances,
    outcome: Outcome,
    data: Any = None,
    error: TaskError | None = None,
) -> Decision:
    message = "" if error is None else error.message
    ended = AttemptEnded(given.now, view.task, view.run, view.attempt, outcome, message, data, error)
    return Decision((ended,), DecideAgain())


_WAIT: Final[dict[str, Callable[[Flow, View, Wait, Circumstances], Decision]]] = {
    "time": _time,
    "signal": _signal,
    "approval": _signal,
    "children": _children,
}
