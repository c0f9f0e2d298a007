"""Between the core and the ports: a step as the store takes it, an attempt as a worker takes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from uuid_utils import uuid7

from flow_manager.core.children import ChildStart, ParentLink
from flow_manager.core.decide import deadline_of
from flow_manager.core.decision import Action, Finish, Park, Plan, RunAttempt
from flow_manager.core.definition import Flow
from flow_manager.core.events import Event, ExecutionStarted, decode_event
from flow_manager.core.starting import results_to_undo
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.core.webhooks import Webhooks
from flow_manager.ports.clock import Clock
from flow_manager.ports.store import Claim, Claimed, NewExecution, Step, Terms
from flow_manager.ports.worker import AttemptOrder


def step_of(claim: Claim, view: View, plan: Plan, action: Action, now: datetime, newest_mail: int) -> Step:
    """The step of a plan; `newest_mail` is the number of the newest mail that its writer knows."""
    events, wake = plan.events, wake_of(action, now)
    last_seq = view.last_seq - len(events)
    if wake is not None and wake.reason is WakeReason.CLAIM and not newest_mail:
        return Step(claim, last_seq, events, wake, view.status, now)
    return Step(
        claim,
        last_seq,
        events,
        wake,
        view.status,
        now,
        newest_mail,
        plan.taken if newest_mail else (),
        view.parent,
        children_of(view, plan.children, now) if plan.children else (),
        plan.to_children,
    )


def new_execution_of(
    flow: Flow,
    view: View,
    plan: Plan,
    wake: Wake | None,
    webhooks: Webhooks,
    terms: Terms | None = None,
) -> NewExecution:
    """The start of an execution, with the plan of its first step."""
    now = plan.events[0].at
    return NewExecution(
        view.execution_id,
        flow.id,
        flow.document,
        flow.digest,
        now,
        plan.events,
        wake,
        view.status,
        None,
        children_of(view, plan.children, now),
        webhooks.deliveries(flow, view, plan.events, wake),
        terms,
    )


def with_deliveries(step: Step, flow: Flow, view: View, webhooks: Webhooks) -> Step:
    """The step, and what is told of it."""
    if step.wake is not None and step.wake.reason is WakeReason.CLAIM:
        return step
    deliveries = webhooks.deliveries(flow, view, step.events, step.wake)
    return msgspec.structs.replace(step, outbox=deliveries) if deliveries else step


def order_of(flow: Flow, view: View, action: RunAttempt, clock: Clock) -> AttemptOrder:
    """What a worker is to run."""
    task = action.task
    time_left, deadline = None, deadline_of(flow, view)
    if deadline is not None:
        time_left = max(0.0, (deadline - clock.now()).total_seconds())
    return AttemptOrder(
        view.execution_id,
        view.flow_id,
        task.name,
        task.type,
        view.run,
        view.attempt,
        view.input,
        action.input,
        results_to_undo(view, action.undoes) if action.undoes else view.results,
        None if task.timeout is None else task.timeout.total_seconds(),
        time_left,
        None if task.heartbeat_timeout is None else task.heartbeat_timeout.total_seconds(),
        view.is_isolated,
    )


def view_of(claimed: Claimed) -> View:
    """The view of what is stored. Raises what decoding raises, and `ValueError` if something is missing."""
    view = View.fold(claimed.claim.execution_id, map(decode_event, claimed.history))
    if view.last_seq != claimed.last_seq:
        raise ValueError(f"{claimed.last_seq} events were recorded and {view.last_seq} found")
    return view


def children_of(view: View, starts: Sequence[ChildStart], now: datetime) -> tuple[NewExecution, ...]:
    """The executions of children, to be created together with a step of their parent."""
    depth = 1 if view.parent is None else view.parent.depth + 1
    return tuple(_child(view, start, now, depth) for start in starts)


def _child(view: View, start: ChildStart, now: datetime, depth: int) -> NewExecution:
    link = ParentLink(view.execution_id, start.run, start.attempt, start.index, depth)
    began = ExecutionStarted(now, start.flow.id, start.input, start.flow.labels, link)
    return due_execution(start.flow, began)


def due_execution(
    flow: Flow, began: ExecutionStarted, more: Sequence[Event] = (), terms: Terms | None = None
) -> NewExecution:
    """An execution that is created without being driven, and due at once; its first events are `began` and
    `more`."""
    wake = Wake(WakeReason.DUE, began.at)
    return NewExecution(
        str(uuid7()),
        flow.id,
        flow.document,
        flow.digest,
        began.at,
        [began, *more],
        wake,
        ExecutionStatus.RUNNING,
        began.parent,
        terms=terms,
    )


def wake_of(action: Action, now: datetime) -> Wake | None:
    """The wake reason that an action implies; none if the execution has ended."""
    if isinstance(action, Park):
        return action.wake
    if isinstance(action, Finish):
        return None
    return Wake(WakeReason.CLAIM, now)
