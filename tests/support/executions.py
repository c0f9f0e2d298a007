"""Executions to put into a store, without an engine: three tasks, one after another; and what is
sent to them, and their children."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec
from uuid_utils import uuid7

from flow_manager.core.children import ParentLink
from flow_manager.core.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    Routed,
)
from flow_manager.core.mail import MailKind
from flow_manager.core.results import TaskError
from flow_manager.core.states import FAR_AWAY, ExecutionStatus, Wake, WakeReason
from flow_manager.ports.store import Claim, NewExecution, NewMail, Step

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DEFINITION = '{"id":"stored"}'


def claimed(at: datetime = NOW) -> Wake:
    return Wake(WakeReason.CLAIM, at)


def due(after: float = 0.0) -> Wake:
    """Due so many seconds after now."""
    return Wake(WakeReason.DUE, NOW + timedelta(seconds=after))


def for_signal(name: str = "paid", until: datetime = FAR_AWAY) -> Wake:
    return Wake(WakeReason.SIGNAL, until, name)


def for_children(until: datetime = FAR_AWAY) -> Wake:
    return Wake(WakeReason.CHILDREN, until, "first")


def new_execution(
    wake: Wake | None = None,
    *,
    events: Sequence[Event] | None = None,
    status: ExecutionStatus = ExecutionStatus.RUNNING,
    definition: str = DEFINITION,
    flow_id: str = "stored",
) -> NewExecution:
    """By default its creator holds the claim; with a final status it has ended at once."""
    if status is ExecutionStatus.RUNNING and wake is None:
        wake = claimed()
    events = (started(flow_id), AttemptStarted(NOW, "first")) if events is None else events
    digest = sha256(definition.encode()).hexdigest()
    return NewExecution(str(uuid7()), flow_id, definition, digest, NOW, events, wake, status)


def started(flow_id: str = "stored") -> ExecutionStarted:
    return ExecutionStarted(NOW, flow_id, {"number": 1})


def next_events(run: int = 1, data: object = None) -> list[Event]:
    """The end of a task run, and the start of the next."""
    name, following = f"task{run}", f"task{run + 1}"
    return [
        AttemptEnded(NOW, name, run, 1, "success", "done", data),
        Routed(NOW, name, following, f"condition{run}"),
        AttemptStarted(NOW, following, run + 1),
    ]


def last_events(status: ExecutionStatus = ExecutionStatus.COMPLETED, output: Any = None) -> list[Event]:
    error = None if status is ExecutionStatus.COMPLETED else TaskError("task.failed", "no")
    return [AttemptEnded(NOW, "first", 1, 1, "success", "done"), ExecutionEnded(NOW, status, error, output)]


def step(
    claim: Claim, last_seq: int, events: Sequence[Event] | None = None, wake: Wake | None = None
) -> Step:
    """By default three events, after which the claim is kept."""
    wake = claimed() if wake is None else wake
    events = next_events() if events is None else events
    return Step(claim, last_seq, events, wake, ExecutionStatus.RUNNING, NOW)


def last_step(
    claim: Claim,
    last_seq: int,
    status: ExecutionStatus = ExecutionStatus.COMPLETED,
    *,
    parent: ParentLink | None = None,
    mail: int = 0,
    output: Any = None,
) -> Step:
    return Step(claim, last_seq, last_events(status, output), None, status, NOW, mail, (), parent)


def mail_to(
    execution_id: str,
    kind: MailKind = "signal",
    name: str = "paid",
    payload: Any = None,
    by: str = "",
    after: float = 0.0,
) -> NewMail:
    """Sent so many seconds after now."""
    return NewMail(execution_id, NOW + timedelta(seconds=after), kind, name, payload, by)


def cancel(execution_id: str, reason: str = "", after: float = 0.0) -> NewMail:
    return mail_to(execution_id, "cancel", reason, after=after)


def child_of(
    parent: str, index: int = 0, wake: Wake | None = None, *, run: int = 1, attempt: int = 1
) -> NewExecution:
    """By default due now, as the children are that an engine starts."""
    link = ParentLink(parent, run, attempt, index, 1)
    began = ExecutionStarted(NOW, "stored", {"index": index}, {}, link)
    child = new_execution(wake or due(), events=(began, AttemptStarted(NOW, "first")))
    return msgspec.structs.replace(child, parent=link)
