"""The line of the log for each event: a sentence for people, and fields for machines."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from flow_manager.core.attempts import format_time
from flow_manager.core.events import (
    AttemptCancelled,
    AttemptEnded,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
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
)

Line = tuple[str, dict[str, Any]]
"""A sentence, and the fields that a machine reads beside it."""

MOST_TEXT: Final = 1_000
"""Characters of a message from outside that go into a line."""


def _execution_started(event: ExecutionStarted) -> Line:
    return "execution started", {"labels": dict(event.labels)} if event.labels else {}


def _task_skipped(event: TaskSkipped) -> Line:
    return f"task {event.task} skipped: its run_when is false", {"task": event.task, "run": event.run}


def _attempt_started(event: AttemptStarted) -> Line:
    words = f"task {event.task} started"
    fields: dict[str, Any] = {"task": event.task, "run": event.run, "attempt": event.attempt}
    if event.attempt > 1:
        words += f" (attempt {event.attempt})"
    if event.compensates:
        words += f", to undo run {event.compensates}"
        fields["compensates"] = event.compensates
    if event.wait is not None:
        words += f": waiting for {_WAITS[event.wait.kind]}"
        if event.wait.until is not None:
            fields["until"] = format_time(event.wait.until)
    return words, fields


_WAITS: Final = {
    "time": "a time",
    "signal": "a signal",
    "approval": "an answer",
    "children": "other executions",
}


def _attempt_ended(event: AttemptEnded) -> Line:
    fields: dict[str, Any] = {
        "task": event.task,
        "run": event.run,
        "attempt": event.attempt,
        "outcome": event.outcome,
    }
    words = f"task {event.task} ended: {event.outcome}"
    if event.message:
        words += f", {event.message[:MOST_TEXT]}"
    if event.error is not None:
        fields["error"] = event.error.code
    return words, fields


def _attempt_lost(event: AttemptLost) -> Line:
    fields = {"task": event.task, "run": event.run, "attempt": event.attempt, "error": "task.lost"}
    return f"task {event.task} was lost: {event.reason[:MOST_TEXT]}", fields


def _attempt_cancelled(event: AttemptCancelled) -> Line:
    fields = {"task": event.task, "run": event.run, "attempt": event.attempt}
    return f"task {event.task} was told to stop: the execution is to end", fields


def _signal_received(event: SignalReceived) -> Line:
    by = f" from {event.by[:MOST_TEXT]}" if event.by else ""
    return f"signal {event.name} received{by}", {"signal": event.name, "by": event.by}


def _attempt_released(event: AttemptReleased) -> Line:
    fields = {"task": event.task, "run": event.run, "attempt": event.attempt}
    return f"task {event.task} was given back; it starts again later", fields


def _retry_scheduled(event: RetryScheduled) -> Line:
    due_at = format_time(event.due_at)
    fields = {"task": event.task, "run": event.run, "attempt": event.attempt, "due_at": due_at}
    return f"task {event.task} is tried again at {due_at} (attempt {event.attempt})", fields


def _routed(event: Routed) -> Line:
    fields: dict[str, Any] = {"task": event.task, "outcome": event.outcome, "to": event.to}
    if event.condition is None:
        return f"task {event.task} has no condition: routing to {event.to}", fields
    fields |= {"condition": event.condition, "matched": event.matched}
    matched = "matched" if event.matched else "did not match"
    read = f"condition {event.condition} {matched} the outcome {event.outcome} of {event.task}"
    return f"{read}: routing to {event.to}", fields


def _execution_quarantined(event: ExecutionQuarantined) -> Line:
    return f"execution quarantined: {event.reason[:MOST_TEXT]}", {"task": event.task}


def _execution_paused(event: ExecutionPaused) -> Line:
    return f"execution paused{_asked(event)}", {"by": event.by}


def _execution_resumed(event: ExecutionResumed) -> Line:
    return f"execution resumed{_asked(event)}", {"by": event.by}


def _execution_retried(event: ExecutionRetried) -> Line:
    return f"execution retried{_asked(event)}", {"by": event.by}


def _execution_rerun(event: ExecutionRerun) -> Line:
    return f"execution goes on at task {event.task}{_asked(event)}", {"by": event.by, "task": event.task}


def _result_given(event: ResultGiven) -> Line:
    fields = {"by": event.by, "task": event.task, "run": event.run, "outcome": event.outcome}
    return f"result of task {event.task} given: {event.outcome}{_asked(event)}", fields


def _asked(event: Any) -> str:
    """Who asked, and why."""
    by = f" by {event.by[:MOST_TEXT]}" if event.by else ""
    return f"{by}: {event.reason[:MOST_TEXT]}" if event.reason else by


def _execution_ending(event: ExecutionEnding) -> Line:
    words = f"execution is to end: {event.status}"
    fields: dict[str, Any] = {"status": event.status.value, "by": event.by}
    if event.error is not None:
        words += f", {event.error.code}: {event.error.message[:MOST_TEXT]}"
        fields["error"] = event.error.code
    return words, fields


def _execution_ended(event: ExecutionEnded) -> Line:
    if event.error is None:
        return f"execution ended: {event.status}", {"status": event.status.value}
    words = f"execution ended: {event.status}, {event.error.code}: {event.error.message[:MOST_TEXT]}"
    return words, {"status": event.status.value, "error": event.error.code}


_LINE_OF: Final[dict[type, Callable[[Any], Line]]] = {
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


def line_of(event: Event) -> Line:
    return _LINE_OF[type(event)](event)


def level_of(event: Event) -> int:
    """The level of an event, as `logging` counts them."""
    return LEVELS.get(type(event)) or _level(event)


def _level(event: Event) -> int:
    """The level of an event whose kind alone does not tell it."""
    if isinstance(event, AttemptEnded):
        return logging.INFO if event.outcome == "success" else logging.WARNING
    return logging.WARNING if isinstance(event, ExecutionEnded) and event.error else logging.INFO


LEVELS: Final[dict[type, int]] = {
    ExecutionStarted: logging.INFO,
    AttemptStarted: logging.INFO,
    TaskSkipped: logging.INFO,
    AttemptCancelled: logging.INFO,
    SignalReceived: logging.INFO,
    ExecutionEnding: logging.WARNING,
    AttemptLost: logging.WARNING,
    AttemptReleased: logging.INFO,
    RetryScheduled: logging.INFO,
    Routed: logging.INFO,
    ExecutionQuarantined: logging.ERROR,
    ExecutionPaused: logging.WARNING,
    ExecutionResumed: logging.INFO,
    ExecutionRetried: logging.INFO,
    ExecutionRerun: logging.INFO,
    ResultGiven: logging.WARNING,
}
