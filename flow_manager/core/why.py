"""Why an execution is not moving: what it waits for, since when, and who or what will move it on.

One sentence for the API, the command line and the console alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from flow_manager.core.attempts import format_time
from flow_manager.core.plain import shown
from flow_manager.core.states import FAR_AWAY, ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import Phase, View

OVERDUE: Final = 1.0
"""Seconds after which something that is due should have been taken up."""


class Why(msgspec.Struct, frozen=True):
    """`until` is when time will move it on; `command` is what would force it, on the command line."""

    execution_id: str
    status: ExecutionStatus
    reason: WakeReason | None
    sentence: str
    since: datetime | None
    until: datetime | None = None
    moved_by: str = ""
    command: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "execution_id": self.execution_id,
            "status": self.status.value,
            "reason": None if self.reason is None else self.reason.value,
            "sentence": self.sentence,
            "since": None if self.since is None else format_time(self.since),
            "until": None if self.until is None else format_time(self.until),
            "moved_by": self.moved_by,
            "command": self.command,
        }


class _Answer(msgspec.Struct, frozen=True):
    """What is said of an execution beyond what holds for all."""

    sentence: str
    moved_by: str
    command: str | None = None


def explain(view: View, since: datetime | None, now: datetime) -> Why:
    """`since` is the time of its last event."""
    wake = view.wake
    if view.is_ended or wake is None:
        return Why(view.execution_id, view.status, None, _over(view), view.ended_at or since)
    answer = _ANSWERS[wake.reason](view, wake, now)
    until = wake.due_at if _is_timed(wake) else None
    command = answer.command and f"flow-manager {answer.command}"
    return Why(
        view.execution_id, view.status, wake.reason, answer.sentence, since, until, answer.moved_by, command
    )


def _is_timed(wake: Wake) -> bool:
    timed = (WakeReason.DUE, WakeReason.SIGNAL, WakeReason.CHILDREN)
    return wake.reason in timed and wake.due_at < FAR_AWAY


def _over(view: View) -> str:
    if view.status is ExecutionStatus.NEEDS_REPAIR:
        return "What is stored of it cannot be read; `flow-manager doctor` tells more."
    error = "" if view.error is None else f": {view.error.code}, {view.error.message}"
    return f"It has ended as {view.status.value}{error}."


def _claimed(view: View, _wake: Wake, _now: datetime) -> _Answer:
    if view.phase is Phase.ATTEMPT_OPEN:
        which = "" if view.attempt == 1 else f", attempt {view.attempt}"
        sentence = f"Task {shown(view.task)} is running{which}."
        return _Answer(sentence, "the task, when its body ends", f"cancel {view.execution_id}")
    return _Answer("The engine is deciding what comes next.", "the engine, at once")


def _due(view: View, wake: Wake, now: datetime) -> _Answer:
    if (now - wake.due_at).total_seconds() > OVERDUE:
        sentence = (
            f"It is due since {format_time(wake.due_at)} and has no place yet, or no service is running."
        )
        return _Answer(sentence, "the engine, when it has a place", None)
    when = f"at {format_time(wake.due_at)}"
    if view.phase is Phase.RETRY_WAIT:
        error = view.last_attempt.error
        cause = "" if error is None else f" ({error.code})"
        sentence = f"Task {shown(view.task)} has failed{cause} and is tried again {when}."
        return _Answer(sentence, f"the engine, {when}", f"retry {view.execution_id}")
    if view.phase is Phase.WAITING:
        return _Answer(f"Task {shown(view.task)} waits until {when[3:]}.", f"the engine, {when}", _skip(view))
    return _Answer("It is about to be taken up.", "the engine, at once")


def _for_signal(view: View, wake: Wake, _now: datetime) -> _Answer:
    deadline = "" if wake.due_at >= FAR_AWAY else f", until {format_time(wake.due_at)}"
    if view.wait is not None and view.wait.kind == "approval":
        whom = ", ".join(view.wait.answer_by) or "anybody who has the link"
        sentence = f"Task {shown(view.task)} asks {whom}: {shown(view.wait.question)}{deadline}."
        return _Answer(sentence, "the answer", _skip(view))
    sentence = f"Task {shown(view.task)} waits for the signal {shown(wake.detail)}{deadline}."
    return _Answer(sentence, "the signal", f"signal {view.execution_id} {wake.detail}")


def _for_children(view: View, _wake: Wake, _now: datetime) -> _Answer:
    sentence = f"Task {shown(view.task)} waits for other executions that it has started."
    moved_by = (
        f"the end of a child, also by cancelling it; /v1/executions/{view.execution_id}/children has them"
    )
    return _Answer(sentence, moved_by, f"cancel {view.execution_id}")


def _for_slot(_view: View, wake: Wake, _now: datetime) -> _Answer:
    sentence = f"As many executions as may go on at once under {shown(wake.detail)} are open."
    return _Answer(sentence, "the end of one of them")


def _for_code(_view: View, wake: Wake, _now: datetime) -> _Answer:
    sentence = f"The service that looked at it has no code for the task type {shown(wake.detail)}."
    return _Answer(sentence, "a start of the service with that code")


def _paused(view: View, _wake: Wake, _now: datetime) -> _Answer:
    by, why = "an operator", ""
    if view.paused is not None:
        by = view.paused.by or by
        why = f": {view.paused.reason}" if view.paused.reason else ""
    return _Answer(f"{by} has paused it{why}.", "an operator", f"resume {view.execution_id}")


def _in_quarantine(view: View, wake: Wake, _now: datetime) -> _Answer:
    sentence = f"It is in quarantine: {wake.detail}."
    return _Answer(sentence, "an operator", f"retry {view.execution_id}")


def _for_repair(_view: View, wake: Wake, _now: datetime) -> _Answer:
    return _Answer(f"It cannot go on: {wake.detail}.", "an operator", "doctor --repair")


def _skip(view: View) -> str:
    return f"skip {view.execution_id}"


_ANSWERS: Final[Mapping[WakeReason, Callable[[View, Wake, datetime], _Answer]]] = {
    WakeReason.CLAIM: _claimed,
    WakeReason.DUE: _due,
    WakeReason.SIGNAL: _for_signal,
    WakeReason.CHILDREN: _for_children,
    WakeReason.SLOT: _for_slot,
    WakeReason.CODE: _for_code,
    WakeReason.PAUSE: _paused,
    WakeReason.QUARANTINE: _in_quarantine,
    WakeReason.REPAIR: _for_repair,
}
