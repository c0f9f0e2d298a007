"""The decision: what happens next in an execution.

`decide` is a pure function of the flow, the view of the history so far, and what else a decision
may know (`core.decision.Circumstances`). Its answer is a value: the events to record, and then
one action. A crash, a wait, a retry and a plain next step all come through here; there is no
second path.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from flow_manager.core.conditions import ConditionEvaluator, ConditionFailed
from flow_manager.core.decision import (
    Action,
    Circumstances,
    DecideAgain,
    Decision,
    Finish,
    Park,
    Plan,
)
from flow_manager.core.definition import END, Flow, Outcome, Task
from flow_manager.core.ending import complete, end_as, expression_failed, fail
from flow_manager.core.events import (
    AttemptEnded,
    AttemptLost,
    AttemptStarted,
    Event,
    ExecutionEnding,
    ExecutionQuarantined,
    RetryScheduled,
    Routed,
)
from flow_manager.core.intervening import intervene
from flow_manager.core.results import TaskError, output_misfit
from flow_manager.core.retries import retry_at
from flow_manager.core.scope import scope_after
from flow_manager.core.starting import first, start_attempt, start_run
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.core.steps import LAST_STEPS
from flow_manager.core.view import Phase, View
from flow_manager.core.waiting import while_waiting
from flow_manager.core.winding_up import cancel, to_open_children, wind_up

MOST_LOSSES: Final = 3
"""A task run whose attempts killed the worker this often is quarantined. The last of them runs in a
process of its own: what dies with that process is guilty, what dies with the service is not."""
MOST_DEATHS: Final = 50
"""A task run that lost its worker this often is quarantined, whoever is to blame."""
FEW_EVENTS: Final = 4
"""Events of a step from which on it is asked whether there is still time: most steps have fewer."""
MOST_EVENTS_PER_STEP: Final = 200
"""Events of tasks without a body that may follow each other before others get their turn."""

_evaluator = ConditionEvaluator()


def next_action(
    flow: Flow,
    view: View,
    plan: Plan,
    given: Circumstances,
    has_time: Callable[[], bool] = lambda: True,
) -> Action:
    """Decide, fold the decision into `view`, and add what is to be recorded to `plan`, until there is
    something to do; or until the caller has no time left, and then it is due again at once."""
    while True:
        decision = checked(flow, decide(flow, view, plan.without_taken(given)))
        for event in decision.events:
            view.apply(event)
        plan.add(decision)
        if not isinstance(decision.action, DecideAgain):
            return decision.action
        number = len(plan.events)
        is_long = number >= MOST_EVENTS_PER_STEP or (number >= FEW_EVENTS and not has_time())
        if is_long and not view.is_ended:
            return Park(Wake(WakeReason.DUE, given.now))


def checked(flow: Flow, decision: Decision) -> Decision:
    """The same, but that a task without a body whose result does not fit its output_schema has failed."""
    for event in decision.events:
        if type(event) is AttemptEnded:
            events = tuple(_checked(flow, event) for event in decision.events)
            return msgspec.structs.replace(decision, events=events)
    return decision


def _checked(flow: Flow, event: Event) -> Event:
    if not isinstance(event, AttemptEnded) or event.outcome != "success":
        return event
    schema = flow.tasks[event.task].output_schema
    error = None if schema is None else output_misfit(schema, event.data)
    if error is None:
        return event
    return msgspec.structs.replace(event, outcome="failure", message=error.message, data=None, error=error)


def decide(flow: Flow, view: View, given: Circumstances) -> Decision:
    """What to record and do next."""
    if given.mail:
        asked = intervene(view, given) or (cancel(view, given) if view.ending is None else None)
        if asked is not None:
            return asked
    if view.paused is not None and not view.is_ended:
        return Decision((), Park(Wake(WakeReason.PAUSE, given.now, view.paused.reason)))
    if view.ending is not None and not view.is_ended:
        return _towards_the_end(flow, view, given)
    if flow.timeout is not None and _timed_out(flow, view, given.now):
        return _time_out(flow, view, given.now)
    return _DECIDE[view.phase](flow, view, given)


def deadline_of(flow: Flow, view: View) -> datetime | None:
    """When the whole execution times out, if it ever does; what undoes it has all the time it needs."""
    if flow.timeout is None or view.timed_from is None or view.ending is not None:
        return None
    return view.timed_from + flow.timeout


def _towards_the_end(flow: Flow, view: View, given: Circumstances) -> Decision:
    """A compensation goes on as any task does; everything else is wound up."""
    if not view.compensates or view.phase not in _UNDER_WAY:
        return wind_up(flow, view, given)
    if view.phase is Phase.ATTEMPT_ENDED:
        return _retry(flow.tasks[view.task], flow, view, given) or wind_up(flow, view, given)
    if view.phase is Phase.WAITING and flow.tasks[view.task].child is not None and _undoes_itself(view):
        return wind_up(flow, view, given)
    return _DECIDE[view.phase](flow, view, given)


_UNDER_WAY: Final = frozenset(
    {
        Phase.ATTEMPT_OPEN,
        Phase.ATTEMPT_ENDED,
        Phase.ATTEMPT_LOST,
        Phase.RETRY_WAIT,
        Phase.READY,
        Phase.WAITING,
        Phase.QUARANTINED,
    }
)


def _undoes_itself(view: View) -> bool:
    """Whether the current run waits for the children of an earlier run of the same task."""
    return any(entry.run == view.compensates and entry.task == view.task for entry in view.attempts)


def _after_start(flow: Flow, view: View, given: Circumstances) -> Decision:
    return start_run(flow, view, flow.start_task, given)


def _after_routing(flow: Flow, view: View, given: Circumstances) -> Decision:
    if view.task == END:
        return _end(flow, view, given.now)
    return start_run(flow, view, view.task, given)


def _after_attempt(flow: Flow, view: View, given: Circumstances) -> Decision:
    task = flow.tasks[view.task]
    if task.type in LAST_STEPS and view.attempt:
        return _end_early(flow, view, given.now)
    return _retry(task, flow, view, given) or _route(flow, view, task, given)


def _retry(task: Task, flow: Flow, view: View, given: Circumstances) -> Decision | None:
    if view.outcome not in ("failure", "timeout"):
        return None
    due_at = retry_at(
        task.retry,
        view.last_attempt.error,
        failures=view.failures,
        first_started_at=view.run_started_at or given.now,
        now=given.now,
        chance=given.chance,
    )
    if due_at is None:
        return None
    retry = RetryScheduled(given.now, task.name, due_at, view.run, view.attempt + 1)
    return Decision((retry,), Park(Wake(WakeReason.DUE, first(due_at, flow, view))))


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
        return Decision((), Park(Wake(WakeReason.DUE, first(due_at, flow, view))))
    return _start_again(flow, view, given)


def _in_quarantine(_flow: Flow, view: View, given: Circumstances) -> Decision:
    return Decision((), Park(Wake(WakeReason.QUARANTINE, given.now, _cause(view))))


def _cause(view: View) -> str:
    return f"task {view.task!r} lost its worker {view.deaths} times"


def _at_the_end(_flow: Flow, view: View, _given: Circumstances) -> Decision:
    return Decision((), Finish(view.status))


def _start_again(flow: Flow, view: View, given: Circumstances) -> Decision:
    isolated = view.losses >= MOST_LOSSES - 1
    started = AttemptStarted(
        given.now,
        view.task,
        view.run,
        view.attempt + 1,
        isolated,
        None,
        view.compensates,
        view.compensates_attempt,
    )
    return start_attempt(flow, view, started, given)


def _route(flow: Flow, view: View, task: Task, given: Circumstances) -> Decision:
    conditions = flow.conditions_from.get(task.name, ())
    try:
        route = _evaluator.route(
            conditions, _counts_as(task, view.outcome), lambda: scope_after(flow, view, given.now)
        )
    except ConditionFailed as failed:
        where = f"condition {failed.condition!r}"
        return fail(flow, view, given.now, expression_failed(where, failed.error))
    routed = Routed(given.now, task.name, route.to, route.condition, route.matched, view.outcome)
    return Decision((routed,), DecideAgain())


def _counts_as(task: Task, outcome: Outcome) -> Outcome:
    """What an outcome is to the conditions: an optional task never fails."""
    return "success" if task.optional else outcome


def _end(flow: Flow, view: View, now: datetime) -> Decision:
    """A failure is handled if a condition expected it; otherwise it fails the execution."""
    last = view.last_attempt
    if view.routed_by_failure and _counts_as(flow.tasks[last.task], view.outcome) != "success":
        return fail(flow, view, now, last.error)
    return complete(flow, view, now)


def _end_early(flow: Flow, view: View, now: datetime) -> Decision:
    """A `succeed` or `fail` task says how."""
    last = view.last_attempt
    if view.outcome == "success":
        return end_as(flow, view, now, ExecutionStatus.COMPLETED, None, last.data)
    return end_as(flow, view, now, ExecutionStatus.FAILED, last.error, last.data)


def _timed_out(flow: Flow, view: View, now: datetime) -> bool:
    deadline = deadline_of(flow, view)
    return deadline is not None and now >= deadline and view.phase not in _NOT_TIMED


_NOT_TIMED: Final = frozenset({Phase.ATTEMPT_OPEN, Phase.QUARANTINED, Phase.ENDED})
"""The end of an open attempt is recorded first; a quarantine is an operator's to end."""


def _time_out(flow: Flow, view: View, now: datetime) -> Decision:
    seconds = flow.timeout.total_seconds() if flow.timeout else 0.0
    error = TaskError("flow.timeout", f"the execution did not end within {seconds:g} s", retryable=False)
    if view.phase is not Phase.WAITING:
        return fail(flow, view, now, error)
    ending = ExecutionEnding(now, ExecutionStatus.FAILED, error)
    return Decision((ending,), DecideAgain(), (), to_open_children(view))


_DECIDE: Final[dict[Phase, Callable[[Flow, View, Circumstances], Decision]]] = {
    Phase.NEW: _after_start,
    Phase.READY: _start_again,
    Phase.ATTEMPT_OPEN: _after_interruption,
    Phase.WAITING: while_waiting,
    Phase.ATTEMPT_ENDED: _after_attempt,
    Phase.ATTEMPT_LOST: _after_loss,
    Phase.CANCELLED: _at_the_end,
    Phase.RETRY_WAIT: _during_retry_wait,
    Phase.ROUTED: _after_routing,
    Phase.QUARANTINED: _in_quarantine,
    Phase.ENDED: _at_the_end,
}
