"""The decision: what happens next in an execution.

`decide` is a pure function of the flow, the view of the history so far, the time and a random
number. Its answer is a value: the events to record, and then one action. A crash, a wait, a
retry and a plain next step all come through here; there is no second path.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from datetime import datetime
from typing import Final

import msgspec

from flow_manager.core.conditions import ConditionEvaluator
from flow_manager.core.definition import END, Flow, Outcome, Task
from flow_manager.core.events import (
    AttemptEnded,
    AttemptLost,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionQuarantined,
    RetryScheduled,
    Routed,
)
from flow_manager.core.results import TaskError
from flow_manager.core.retries import retry_at
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import Phase, View

MOST_LOSSES: Final = 3
"""A task run whose attempts killed the worker this often is quarantined. The last of them runs in a
process of its own: what dies with that process is guilty, what dies with the service is not."""
MOST_DEATHS: Final = 10
"""A task run that lost its worker this often is quarantined, whoever is to blame."""


class RunAttempt(msgspec.Struct, frozen=True, gc=False):
    """Run the body of `task`; its start is the last event of the decision."""

    task: Task


class Park(msgspec.Struct, frozen=True, gc=False):
    """Let go of the execution until `wake`: it holds no thread and no memory meanwhile."""

    wake: Wake


class Finish(msgspec.Struct, frozen=True, gc=False):
    """The execution has ended."""

    status: ExecutionStatus


class DecideAgain(msgspec.Struct, frozen=True, gc=False):
    """The recorded events change the picture: fold them in and decide once more, in the same step."""


Action = RunAttempt | Park | Finish | DecideAgain


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Record `events`, in one transaction with the wake that `action` implies; then act."""

    events: tuple[Event, ...]
    action: Action


class Loss(msgspec.Struct, frozen=True):
    """How the worker of an open attempt was lost, and whether the task may be to blame.
    `of_service`: the whole service died, and not just a process of the task's own."""

    reason: str
    blame: bool = True
    of_service: bool = False


WORKER_DIED: Final = Loss("the worker died before the result was stored", of_service=True)


class Circumstances(msgspec.Struct, frozen=True, gc=False):
    """What a decision may know beyond the flow and its history.

    `chance` is a random number in [0, 1); `task_types` are the types whose code is at hand.
    Where no attempt may start (the service is stopping, or full), the execution is due again.
    `loss` tells of an attempt that is open though nobody runs it.
    """

    now: datetime
    chance: float
    task_types: Container[str]
    may_start: bool = True
    loss: Loss = WORKER_DIED


_evaluator = ConditionEvaluator()


def decide(flow: Flow, view: View, given: Circumstances) -> Decision:
    """What to record and do next."""
    if flow.timeout is not None and _timed_out(flow, view, given.now):
        return _fail(given.now, _flow_timeout(flow))
    return _DECIDE[view.phase](flow, view, given)


def deadline_of(flow: Flow, view: View) -> datetime | None:
    """When the whole execution times out, if it ever does."""
    if flow.timeout is None or view.started_at is None:
        return None
    return view.started_at + flow.timeout


def _after_start(flow: Flow, view: View, given: Circumstances) -> Decision:
    return _start_run(flow, flow.start_task, view.run + 1, given)


def _after_release(flow: Flow, view: View, given: Circumstances) -> Decision:
    return _start_again(flow, view, given)


def _after_routing(flow: Flow, view: View, given: Circumstances) -> Decision:
    if view.task == END:
        return _end(flow, view, given.now)
    return _start_run(flow, view.task, view.run + 1, given)


def _after_attempt(flow: Flow, view: View, given: Circumstances) -> Decision:
    task, outcome = flow.tasks[view.task], view.outcome
    if outcome in ("failure", "timeout"):
        due_at = retry_at(
            task.retry,
            view.last_attempt.error,
            failures=view.failures,
            first_started_at=view.run_started_at or given.now,
            now=given.now,
            chance=given.chance,
        )
        if due_at is not None:
            retry = RetryScheduled(given.now, task.name, due_at, view.run, view.attempt + 1)
            return Decision((retry,), Park(Wake(WakeReason.DUE, _first(due_at, deadline_of(flow, view)))))
    return _route(flow, view, task, given)


def _after_interruption(flow: Flow, view: View, given: Circumstances) -> Decision:
    """An attempt is open though nobody runs it: its worker died."""
    task = flow.tasks[view.task]
    reason = given.loss.reason
    if task.on_lost == "unknown":
        error = TaskError("task.lost", f"{reason}; whether the task took effect is unknown", retryable=False)
        lost = AttemptEnded(given.now, task.name, view.run, view.attempt, "unknown", reason, None, error)
        return Decision((lost,), DecideAgain())
    blame = given.loss.blame and not (given.loss.of_service and view.is_isolated)
    gone = AttemptLost(given.now, task.name, view.run, view.attempt, reason, blame)
    return Decision((gone,), DecideAgain())


def _after_loss(flow: Flow, view: View, given: Circumstances) -> Decision:
    if view.losses >= MOST_LOSSES or view.deaths >= MOST_DEATHS:
        quarantined = ExecutionQuarantined(given.now, view.task, _cause(view))
        return Decision((quarantined,), Park(Wake(WakeReason.QUARANTINE, given.now, _cause(view))))
    return _start_again(flow, view, given)


def _during_retry_wait(flow: Flow, view: View, given: Circumstances) -> Decision:
    due_at = view.retry_due_at or given.now
    if due_at > given.now:
        return Decision((), Park(Wake(WakeReason.DUE, _first(due_at, deadline_of(flow, view)))))
    return _start_again(flow, view, given)


def _in_quarantine(_flow: Flow, view: View, given: Circumstances) -> Decision:
    return Decision((), Park(Wake(WakeReason.QUARANTINE, given.now, _cause(view))))


def _cause(view: View) -> str:
    return f"task {view.task!r} lost its worker {view.deaths} times"


def _at_the_end(_flow: Flow, view: View, _given: Circumstances) -> Decision:
    return Decision((), Finish(view.status))


def _route(flow: Flow, view: View, task: Task, given: Circumstances) -> Decision:
    route = _evaluator.route(flow.conditions_from.get(task.name, ()), _counts_as(task, view.outcome))
    routed = Routed(given.now, task.name, route.to, route.condition, route.matched, view.outcome)
    return Decision((routed,), DecideAgain())


def _counts_as(task: Task, outcome: Outcome) -> Outcome:
    """What an outcome is to the conditions: an optional task never fails."""
    return "success" if task.optional else outcome


def _end(flow: Flow, view: View, now: datetime) -> Decision:
    """A failure is handled if a condition expected it; otherwise it fails the execution."""
    last = view.last_attempt
    if view.routed_by_failure and _counts_as(flow.tasks[last.task], view.outcome) != "success":
        return _fail(now, last.error)
    return Decision((ExecutionEnded(now),), Finish(ExecutionStatus.COMPLETED))


def _start_run(flow: Flow, name: str, run: int, given: Circumstances) -> Decision:
    if run > flow.max_task_runs:
        message = f"the execution has had all the {flow.max_task_runs} task runs it may have (max_task_runs)"
        return _fail(given.now, TaskError("limit.task_runs", message, retryable=False))
    return _start_attempt(flow.tasks[name], AttemptStarted(given.now, name, run), given)


def _start_again(flow: Flow, view: View, given: Circumstances) -> Decision:
    isolated = view.losses >= MOST_LOSSES - 1
    started = AttemptStarted(given.now, view.task, view.run, view.attempt + 1, isolated)
    return _start_attempt(flow.tasks[view.task], started, given)


def _start_attempt(task: Task, started: AttemptStarted, given: Circumstances) -> Decision:
    if not given.may_start:
        return Decision((), Park(Wake(WakeReason.DUE, given.now)))
    if task.type not in given.task_types:
        return Decision((), Park(Wake(WakeReason.CODE, given.now, task.type)))
    return Decision((started,), RunAttempt(task))


def _fail(now: datetime, error: TaskError | None) -> Decision:
    return Decision((ExecutionEnded(now, ExecutionStatus.FAILED, error),), Finish(ExecutionStatus.FAILED))


def _timed_out(flow: Flow, view: View, now: datetime) -> bool:
    deadline = deadline_of(flow, view)
    return deadline is not None and now >= deadline and view.phase not in _NOT_TIMED


_NOT_TIMED: Final = frozenset({Phase.ATTEMPT_OPEN, Phase.QUARANTINED, Phase.ENDED})
"""The end of an open attempt is recorded first; a quarantine is an operator's to end."""


def _flow_timeout(flow: Flow) -> TaskError:
    seconds = flow.timeout.total_seconds() if flow.timeout else 0.0
    return TaskError("flow.timeout", f"the execution did not end within {seconds:g} s", retryable=False)


def _first(due_at: datetime, deadline: datetime | None) -> datetime:
    return due_at if deadline is None else min(due_at, deadline)


_DECIDE: Final[dict[Phase, Callable[[Flow, View, Circumstances], Decision]]] = {
    Phase.NEW: _after_start,
    Phase.READY: _after_release,
    Phase.ATTEMPT_OPEN: _after_interruption,
    Phase.ATTEMPT_ENDED: _after_attempt,
    Phase.ATTEMPT_LOST: _after_loss,
    Phase.RETRY_WAIT: _during_retry_wait,
    Phase.ROUTED: _after_routing,
    Phase.QUARANTINED: _in_quarantine,
    Phase.ENDED: _at_the_end,
}
