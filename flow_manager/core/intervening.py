"""Interventions: what an operator asks of an execution, and whether it can be done as it stands.

Whoever asks looks first (`objection`), and sends what is asked with the number of the last event that was
seen. The store takes it only if nothing has happened since, so that the decision meets what was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from flow_manager.core.decision import Circumstances, DecideAgain, Decision
from flow_manager.core.definition import Flow, Outcome
from flow_manager.core.events import (
    Event,
    ExecutionPaused,
    ExecutionRerun,
    ExecutionResumed,
    ExecutionRetried,
    ResultGiven,
)
from flow_manager.core.mail import Mail, MailKind
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.view import Phase, View

_UNDONE: Final = "what the execution did was undone; fork it, or rerun it from its first task"
_WAITS_FOR_CHILDREN: Final = (
    "the task waits for children; GET /v1/executions/{}/children lists them: cancel those that are open, "
    "then the task ends, and the flow goes on from there or can be rerun"
)
GIVEN: Final = "task.given"
"""The code of a failure that an operator gave."""


class Given(msgspec.Struct, frozen=True):
    """A result that an operator gives in place of a body."""

    outcome: Outcome = "success"
    message: str = ""
    data: Any = None


class Rerun(msgspec.Struct, frozen=True):
    """Where the flow is to go on; with another input, or with a result in place of the task's body."""

    task: str
    input: Mapping[str, Any] | None = None
    result: Given | None = None


def intervene(view: View, given: Circumstances) -> Decision | None:
    """What an operator has asked for first, if anything."""
    for mail in given.mail:
        event_of = _EVENT_OF.get(mail.kind)
        if event_of is not None:
            return Decision((event_of(view, given, mail),), DecideAgain())
    return None


def _pause(_view: View, given: Circumstances, mail: Mail) -> Event:
    return ExecutionPaused(given.now, mail.by, mail.name, mail.number)


def _resume(_view: View, given: Circumstances, mail: Mail) -> Event:
    return ExecutionResumed(given.now, mail.by, mail.name, mail.number)


def _retry(_view: View, given: Circumstances, mail: Mail) -> Event:
    return ExecutionRetried(given.now, mail.by, mail.name, mail.number)


def _rerun(view: View, given: Circumstances, mail: Mail) -> Event:
    rerun = msgspec.convert(mail.payload, Rerun)
    if rerun.result is None:
        return ExecutionRerun(given.now, mail.by, mail.name, mail.number, rerun.task, rerun.input)
    return _given(given, mail, (rerun.task, view.run + 1, 1), rerun.result)


def _give(view: View, given: Circumstances, mail: Mail) -> Event:
    return _given(given, mail, (view.task, view.run, view.attempt + 1), msgspec.convert(mail.payload, Given))


def _given(given: Circumstances, mail: Mail, attempt_of: tuple[str, int, int], result: Given) -> Event:
    task, run, attempt = attempt_of
    error = None
    if result.outcome != "success":
        error = TaskError(GIVEN, result.message or "an operator gave this result", retryable=False)
    return ResultGiven(
        given.now,
        mail.by,
        mail.name,
        mail.number,
        task,
        run,
        attempt,
        result.outcome,
        result.message,
        result.data,
        error,
    )


_EVENT_OF: Final[Mapping[str, Callable[[View, Circumstances, Mail], Event]]] = {
    "pause": _pause,
    "resume": _resume,
    "retry": _retry,
    "rerun": _rerun,
    "give": _give,
}


def objection(kind: MailKind, flow: Flow, view: View, task: str = "") -> str | None:
    """Why an execution, as it stands, cannot do what is asked; None if it can."""
    if view.status is ExecutionStatus.NEEDS_REPAIR:
        return "what is stored of the execution cannot be read; `doctor` tells more"
    return _OBJECTION[kind](flow, view, task)


def _to_pause(_flow: Flow, view: View, _task: str) -> str | None:
    return "the execution has ended" if view.is_ended else None


def _to_resume(_flow: Flow, view: View, _task: str) -> str | None:
    return None if view.paused is not None and not view.is_ended else "the execution is not paused"


def _to_retry(_flow: Flow, view: View, _task: str) -> str | None:
    if view.is_ended:
        if view.status is ExecutionStatus.COMPLETED:
            return "the execution has completed; there is nothing to retry"
        return _kept(view) or _undone(view)
    if view.phase in (Phase.RETRY_WAIT, Phase.QUARANTINED):
        return None
    return "no task has failed that could be retried"


def _to_rerun(flow: Flow, view: View, task: str) -> str | None:
    if task != flow.start_task and _undone(view):
        return _undone(view)
    if view.ending is not None and not view.is_ended:
        return "the execution is about to end; wait for that"
    return (_kept(view) if view.is_ended else None) or _with_children(view)


def _to_give(flow: Flow, view: View, _task: str) -> str | None:
    if view.is_ended:
        return "the execution has ended; use rerun"
    is_waiting = view.phase in (Phase.WAITING, Phase.RETRY_WAIT, Phase.QUARANTINED, Phase.READY)
    if not is_waiting or view.task not in flow.tasks:
        return "no task waits whose result could be given"
    return _with_children(view)


def _kept(view: View) -> str | None:
    return None if view.parent is None else "its parent has gone on without it; rerun the parent"


def _undone(view: View) -> str | None:
    return _UNDONE if view.compensated else None


def _with_children(view: View) -> str | None:
    is_waiting = view.phase is Phase.WAITING and view.wait is not None and view.wait.kind == "children"
    return _WAITS_FOR_CHILDREN.format(view.execution_id) if is_waiting else None


_OBJECTION: Final[Mapping[str, Callable[[Flow, View, str], str | None]]] = {
    "pause": _to_pause,
    "resume": _to_resume,
    "retry": _to_retry,
    "rerun": _to_rerun,
    "give": _to_give,
}
