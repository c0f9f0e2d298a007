"""The view: an execution as its history tells it so far.

`View.apply` is the only way a view changes, and the history is the only thing it is made of:
a crash, a wait and a plain next step all continue from the same fold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, auto
from typing import Any, Self

from flow_manager.core.attempts import Attempt, format_time
from flow_manager.core.children import ParentLink
from flow_manager.core.definition import Outcome
from flow_manager.core.events import (
    AttemptCancelled,
    AttemptEnded,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionEnding,
    ExecutionQuarantined,
    ExecutionStarted,
    RetryScheduled,
    Routed,
    SignalReceived,
    TaskSkipped,
    Wait,
)
from flow_manager.core.results import TaskError
from flow_manager.core.states import MOVING, STATUS_OF, ExecutionStatus, Wake, WakeReason


class Phase(IntEnum):
    """Where an execution stands between two steps; `decide` has one answer for each."""

    NEW = auto()
    READY = auto()
    ATTEMPT_OPEN = auto()
    WAITING = auto()
    ATTEMPT_ENDED = auto()
    ATTEMPT_LOST = auto()
    CANCELLED = auto()
    RETRY_WAIT = auto()
    ROUTED = auto()
    QUARANTINED = auto()
    ENDED = auto()


@dataclass(slots=True)
class View:
    """An execution so far. `last_seq` is the number of the last event folded in (the first is 1)."""

    execution_id: str
    flow_id: str = ""
    status: ExecutionStatus = ExecutionStatus.RUNNING
    phase: Phase = Phase.NEW
    started_at: datetime | None = None
    ended_at: datetime | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    parent: ParentLink | None = None
    flow_version: int = 0
    """Of the published flow; 0 if it was started with the document itself."""
    begins_at: datetime | None = None
    """When its time begins to run: its start, if it was not to begin later."""
    error: TaskError | None = None
    output: Any = None
    wake: Wake | None = None
    last_seq: int = 0

    attempts: list[Attempt] = field(default_factory=list)
    results: dict[str, Attempt] = field(default_factory=dict)
    """The last ended attempt of each task."""

    task: str = ""
    """The task of the current run; after `Routed`, the task chosen."""
    run: int = 0
    attempt: int = 0
    outcome: Outcome = "success"
    """The outcome of the last attempt that ended."""
    failures: int = 0
    """Attempts of the current run that failed; lost ones do not count."""
    losses: int = 0
    """Attempts of the current run that were lost, perhaps by the task's own doing."""
    deaths: int = 0
    """Attempts of the current run that were lost, by whosever doing."""
    is_isolated: bool = False
    """Whether the last attempt ran in a process of its own, to find out who kills the worker."""
    run_started_at: datetime | None = None
    retry_due_at: datetime | None = None
    routed_by_failure: bool = False
    """Whether the last route was a failure target or no condition at all."""
    wait: Wait | None = None
    """What the open attempt waits for, if it has no body."""
    signal: SignalReceived | None = None
    """The signal that was taken up for the open attempt."""
    ending: ExecutionEnding | None = None
    """How it is to end, as soon as what is open has ended and what was done is undone."""
    compensates: int = 0
    """The run that the current run undoes, if it undoes one,"""
    compensates_attempt: int = 0
    """and the attempt of that run."""
    compensated: set[tuple[int, int]] = field(default_factory=set)
    """Run and attempt of everything for which a compensation has been started."""

    @classmethod
    def fold(cls, execution_id: str, events: Iterable[Event]) -> Self:
        view = cls(execution_id)
        for event in events:
            view.apply(event)
        return view

    def apply(self, event: Event) -> None:
        """Fold one event in."""
        _APPLY[type(event)](self, event)
        self.last_seq += 1

    @property
    def last_attempt(self) -> Attempt:
        return self.attempts[-1]

    @property
    def is_ended(self) -> bool:
        return self.phase is Phase.ENDED

    def waiting_for(self, wake: Wake) -> Self:
        """The same view, telling what the open execution waits for."""
        if self.phase is Phase.ENDED:  # opened again, and nothing has come of it yet
            self.phase, self.ended_at = Phase.READY, None
        self.wake = wake
        self.status = STATUS_OF[wake.reason]
        if self.ending is not None and self.status in MOVING:
            self.status = ExecutionStatus.COMPENSATING
        return self

    def to_json(self) -> dict[str, Any]:
        """The body of `POST /flow/execute` and `GET /flow/status/<id>`."""
        body: dict[str, Any] = {
            "execution_id": self.execution_id,
            "flow_id": self.flow_id,
            "status": self.status.value,
            "execution_history": [attempt.to_json() for attempt in self.attempts],
            "start_time": None if self.started_at is None else format_time(self.started_at),
            "end_time": None if self.ended_at is None else format_time(self.ended_at),
        }
        if self.labels:
            body["labels"] = dict(self.labels)
        if self.parent is not None:
            body["parent"] = {"execution_id": self.parent.execution_id, "run": self.parent.run}
        if self.error is not None:
            body["error"] = self.error.to_json()
        if self.output is not None:
            body["output"] = self.output
        if self.wake is not None and self.wake.reason is not WakeReason.CLAIM:
            body["waiting"] = {
                "reason": self.wake.reason.value,
                "due_at": format_time(self.wake.due_at),
                "detail": self.wake.detail,
            }
        return body


def _execution_started(view: View, event: ExecutionStarted) -> None:
    view.flow_id = event.flow_id
    view.input = event.input
    view.labels = event.labels
    view.parent = event.parent
    view.started_at = event.at
    view.flow_version = event.version
    view.begins_at = event.start_at or event.at


def _attempt_started(view: View, event: AttemptStarted) -> None:
    if event.run != view.run:
        view.run, view.failures, view.losses, view.deaths = event.run, 0, 0, 0
        view.run_started_at = event.at
        view.compensates, view.compensates_attempt = event.compensates, event.compensates_attempt
        if event.compensates:
            view.compensated.add((event.compensates, event.compensates_attempt))
    view.task, view.attempt, view.is_isolated = event.task, event.attempt, event.isolated
    view.wait, view.signal = event.wait, None
    view.phase = Phase.ATTEMPT_OPEN if event.wait is None else Phase.WAITING
    view.retry_due_at = None
    entry = Attempt(event.task, event.run, event.attempt, event.at)
    if event.wait is not None:
        entry.status = "waiting"
    if event.compensates:
        entry.compensates = event.compensates
    view.attempts.append(entry)


def _attempt_ended(view: View, event: AttemptEnded) -> None:
    entry = view.attempts[-1]
    entry.ended_at, entry.status, entry.message = event.at, event.outcome, event.message
    entry.data, entry.error = event.data, event.error
    view.outcome = event.outcome
    if not view.compensates:
        view.results[event.task] = entry
    view.failures += event.outcome != "success"
    view.phase = Phase.ATTEMPT_ENDED


def _task_skipped(view: View, event: TaskSkipped) -> None:
    view.run, view.attempt, view.task, view.outcome = event.run, 0, event.task, "success"
    entry = Attempt(event.task, event.run, 0, event.at, event.at, "skipped")
    view.attempts.append(entry)
    view.results[event.task] = entry
    view.phase = Phase.ATTEMPT_ENDED


def _attempt_cancelled(view: View, event: AttemptCancelled) -> None:
    entry = view.attempts[-1]
    entry.ended_at, entry.status, entry.completed = event.at, "cancelled", event.completed
    view.phase = Phase.CANCELLED


def _signal_received(view: View, event: SignalReceived) -> None:
    view.signal = event


def _attempt_lost(view: View, event: AttemptLost) -> None:
    entry = view.attempts[-1]
    entry.ended_at, entry.status, entry.message = event.at, "lost", event.reason
    entry.error = TaskError("task.lost", event.reason)
    view.losses += event.blame
    view.deaths += 1
    view.phase = Phase.ATTEMPT_LOST


def _attempt_released(view: View, event: AttemptReleased) -> None:
    entry = view.attempts[-1]
    entry.ended_at, entry.status = event.at, "released"
    view.attempt -= 1
    view.phase = Phase.READY


def _retry_scheduled(view: View, event: RetryScheduled) -> None:
    view.retry_due_at = event.due_at
    view.phase = Phase.RETRY_WAIT


def _routed(view: View, event: Routed) -> None:
    view.task = event.to
    view.attempt = 0
    view.routed_by_failure = not event.matched
    view.phase = Phase.ROUTED


def _execution_quarantined(view: View, _event: ExecutionQuarantined) -> None:
    view.status = ExecutionStatus.QUARANTINED
    view.phase = Phase.QUARANTINED


def _execution_ending(view: View, event: ExecutionEnding) -> None:
    view.ending = event
    if view.phase is Phase.ENDED:  # its parent wants undone what it did
        view.phase, view.ended_at = Phase.READY, None
    view.status = ExecutionStatus.COMPENSATING


def _execution_ended(view: View, event: ExecutionEnded) -> None:
    view.status, view.error, view.ended_at = event.status, event.error, event.at
    view.output = event.output
    view.phase = Phase.ENDED


_APPLY: dict[type, Any] = {
    ExecutionStarted: _execution_started,
    TaskSkipped: _task_skipped,
    AttemptStarted: _attempt_started,
    AttemptEnded: _attempt_ended,
    AttemptLost: _attempt_lost,
    AttemptCancelled: _attempt_cancelled,
    SignalReceived: _signal_received,
    AttemptReleased: _attempt_released,
    RetryScheduled: _retry_scheduled,
    Routed: _routed,
    ExecutionQuarantined: _execution_quarantined,
    ExecutionEnding: _execution_ending,
    ExecutionEnded: _execution_ended,
}
