"""The facts of an execution: what its history tells so far, and how each event adds to that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import IntEnum, auto
from typing import Any, Final

import msgspec

from flow_manager.core.attempts import Attempt
from flow_manager.core.children import ParentLink
from flow_manager.core.definition import Outcome
from flow_manager.core.events import (
    AttemptCancelled,
    AttemptEnded,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    ExecutionEnded,
    ExecutionEnding,
    ExecutionPaused,
    ExecutionQuarantined,
    ExecutionRerun,
    ExecutionResumed,
    ExecutionRetried,
    ExecutionStarted,
    ResultGiven,
    RetryScheduled,
    Routed,
    SignalReceived,
    TaskSkipped,
    Wait,
)
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus, Wake


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


class Facts(msgspec.Struct):
    """An execution so far. `last_seq` is the number of the last event folded in (the first is 1)."""

    execution_id: str
    flow_id: str = ""
    status: ExecutionStatus = ExecutionStatus.RUNNING
    phase: Phase = Phase.NEW
    started_at: datetime | None = None
    ended_at: datetime | None = None
    input: Mapping[str, Any] = msgspec.field(default_factory=dict)
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    parent: ParentLink | None = None
    error: TaskError | None = None
    output: Any = None
    wake: Wake | None = None
    last_seq: int = 0
    told_at: datetime | None = None
    """The time of the last event."""

    attempts: list[Attempt] = msgspec.field(default_factory=list)
    results: dict[str, Attempt] = msgspec.field(default_factory=dict)
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
    compensated: set[tuple[int, int]] = msgspec.field(default_factory=set)
    """Run and attempt of everything for which a compensation has been started."""
    paused: ExecutionPaused | None = None
    """The pause that holds it, if one does."""
    timed_from: datetime | None = None
    """When its time limit begins to run: at its beginning, or when an operator had it go on."""
    forked_from: str = ""
    flow_version: int = 0
    """Of the published flow; 0 if it was started with the document itself."""

    @property
    def last_attempt(self) -> Attempt:
        return self.attempts[-1]

    @property
    def is_ended(self) -> bool:
        return self.phase is Phase.ENDED


def _execution_started(view: Facts, event: ExecutionStarted) -> None:
    view.flow_id = event.flow_id
    view.input = event.input
    view.labels = event.labels
    view.parent = event.parent
    view.forked_from = event.forked_from
    view.started_at = event.at
    view.flow_version = event.version
    view.timed_from = event.start_at or event.at


def _attempt_started(view: Facts, event: AttemptStarted) -> None:
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


def _attempt_ended(view: Facts, event: AttemptEnded) -> None:
    entry = view.attempts[-1]
    entry.ended_at, entry.status, entry.message = event.at, event.outcome, event.message
    entry.data, entry.error = event.data, event.error
    view.outcome = event.outcome
    if not view.compensates:
        view.results[event.task] = entry
    view.failures += event.outcome != "success"
    view.phase = Phase.ATTEMPT_ENDED


def _task_skipped(view: Facts, event: TaskSkipped) -> None:
    view.run, view.attempt, view.task, view.outcome = event.run, 0, event.task, "success"
    entry = Attempt(event.task, event.run, 0, event.at, event.at, "skipped")
    view.attempts.append(entry)
    view.results[event.task] = entry
    view.phase = Phase.ATTEMPT_ENDED


def _attempt_cancelled(view: Facts, event: AttemptCancelled) -> None:
    entry = view.attempts[-1]
    entry.ended_at, entry.status, entry.completed = event.at, "cancelled", event.completed
    view.phase = Phase.CANCELLED


def _signal_received(view: Facts, event: SignalReceived) -> None:
    view.signal = event


def _attempt_lost(view: Facts, event: AttemptLost) -> None:
    entry = view.attempts[-1]
    entry.ended_at, entry.status, entry.message = event.at, "lost", event.reason
    entry.error = TaskError("task.lost", event.reason)
    view.losses += event.blame
    view.deaths += 1
    view.phase = Phase.ATTEMPT_LOST


def _attempt_released(view: Facts, event: AttemptReleased) -> None:
    entry = view.attempts[-1]
    entry.ended_at, entry.status = event.at, "released"
    view.attempt -= 1
    view.phase = Phase.READY


def _retry_scheduled(view: Facts, event: RetryScheduled) -> None:
    view.retry_due_at = event.due_at
    view.phase = Phase.RETRY_WAIT


def _routed(view: Facts, event: Routed) -> None:
    view.task = event.to
    view.attempt = 0
    view.routed_by_failure = not event.matched
    view.phase = Phase.ROUTED


def _execution_quarantined(view: Facts, _event: ExecutionQuarantined) -> None:
    view.status = ExecutionStatus.QUARANTINED
    view.phase = Phase.QUARANTINED


def _execution_ending(view: Facts, event: ExecutionEnding) -> None:
    view.ending, view.paused = event, None
    if view.phase is Phase.ENDED:  # its parent wants undone what it did
        view.phase, view.ended_at = Phase.READY, None
    view.status = ExecutionStatus.COMPENSATING


def _execution_ended(view: Facts, event: ExecutionEnded) -> None:
    view.status, view.error, view.ended_at = event.status, event.error, event.at
    view.output = event.output
    view.phase = Phase.ENDED


def _execution_paused(view: Facts, event: ExecutionPaused) -> None:
    view.paused = event


def _execution_resumed(view: Facts, _event: ExecutionResumed) -> None:
    view.paused = None


def _execution_retried(view: Facts, event: ExecutionRetried) -> None:
    """The last task run goes on with another attempt; if it has its result, the flow routes again."""
    _open_again(view, event.at)
    view.failures = view.losses = view.deaths = 0
    view.retry_due_at = None
    if not view.attempts:
        view.phase = Phase.NEW
        return
    last = view.last_attempt
    view.task, view.run, view.attempt = last.task, last.run, last.attempt
    has_result = last.status in ("success", "skipped")
    view.phase = Phase.ATTEMPT_ENDED if has_result else Phase.READY


def _execution_rerun(view: Facts, event: ExecutionRerun) -> None:
    """The flow goes on at another task, as if it had been routed there."""
    _open_again(view, event.at)
    _close_attempt(view, event.at)
    if event.input is not None:
        view.input = event.input
    view.task, view.attempt = event.task, 0
    view.phase = Phase.ROUTED


def _result_given(view: Facts, event: ResultGiven) -> None:
    _open_again(view, event.at)
    _close_attempt(view, event.at)
    entry = Attempt(event.task, event.run, event.attempt, event.at, event.at, event.outcome, event.message)
    entry.data, entry.error, entry.given_by = event.data, event.error, event.by or "an operator"
    view.attempts.append(entry)
    view.task, view.run, view.attempt, view.outcome = event.task, event.run, event.attempt, event.outcome
    view.failures += event.outcome != "success"
    view.results[event.task] = entry
    view.phase = Phase.ATTEMPT_ENDED


def _open_again(view: Facts, at: datetime) -> None:
    """An operator has it go on, whether it had ended or not."""
    view.paused = view.ended_at = None
    view.timed_from = at
    if view.phase is Phase.ENDED:
        view.error = view.output = view.ending = None
    view.status = ExecutionStatus.RUNNING


def _close_attempt(view: Facts, at: datetime) -> None:
    """What was open is not waited for any more."""
    if view.attempts and view.last_attempt.ended_at is None:
        view.last_attempt.ended_at, view.last_attempt.status = at, "cancelled"
    view.wait = view.signal = view.retry_due_at = None


APPLY: Final[Mapping[type, Callable[[Any, Any], None]]] = {
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
    ExecutionPaused: _execution_paused,
    ExecutionResumed: _execution_resumed,
    ExecutionRetried: _execution_retried,
    ExecutionRerun: _execution_rerun,
    ResultGiven: _result_given,
    ExecutionEnding: _execution_ending,
    ExecutionEnded: _execution_ended,
}
