"""The history of an execution: what has happened, in order, never changed.

Events are small frozen values. Their JSON form is what the store keeps and what
`GET /v1/executions/{id}/history` shows. A field may be added with a default; none is ever
renamed or given another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from flow_manager.core.children import ParentLink
from flow_manager.core.definition import Outcome
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", gc=False):
    at: datetime


class Wait(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an attempt without a body waits for: a time, a signal of the name `signal`, or children.
    `until` is when it is over, or too late, if ever; `count` is how many children there will be; the
    rest is what an approval asks, in which form, and whom."""

    kind: Literal["time", "signal", "approval", "children"]
    until: datetime | None = None
    signal: str = ""
    count: int = 0
    question: str = ""
    form: dict[str, Any] | None = None
    answer_by: tuple[str, ...] = ()


class ExecutionStarted(_Event, frozen=True, tag="execution_started"):
    """The execution was accepted with this input. `forked_from` is the execution whose results it goes on
    with, `version` that of the published flow, `start_at` the time before which it was not to begin."""

    flow_id: str
    input: Mapping[str, Any] = {}
    labels: Mapping[str, str] = {}
    parent: ParentLink | None = None
    forked_from: str = ""
    version: int = 0
    start_at: datetime | None = None


class TaskSkipped(_Event, frozen=True, tag="task_skipped"):
    """The `run_when` of a task was false: this run of it has no attempts, and routes as success."""

    task: str
    run: int = 1


class AttemptStarted(_Event, frozen=True, tag="attempt_started"):
    """Stored before the task body starts. `run` counts the task runs of the execution from 1.
    `isolated`: in a process of its own, because earlier attempts were lost together with theirs.
    `wait`: it has no body, and waits for this. `compensates` and
    `compensates_attempt`: what it undoes."""

    task: str
    run: int = 1
    attempt: int = 1
    isolated: bool = False
    wait: Wait | None = None
    compensates: int = 0
    compensates_attempt: int = 0


class AttemptEnded(_Event, frozen=True, tag="attempt_ended"):
    """The result of an attempt. The task run is over unless a retry follows."""

    task: str
    run: int = 1
    attempt: int = 1
    outcome: Outcome = "success"
    message: str = ""
    data: Any = None
    error: TaskError | None = None


class AttemptLost(_Event, frozen=True, tag="attempt_lost"):
    """The worker died, or lost its claim, after the attempt began and before its result was stored.
    `blame` says whether the task may have caused it, so that it counts towards quarantine."""

    task: str
    run: int = 1
    attempt: int = 1
    reason: str = ""
    blame: bool = True


class AttemptCancelled(_Event, frozen=True, tag="attempt_cancelled"):
    """The execution is to end, and so the attempt was told to stop. What it did is not known, but for
    how many of its children had completed."""

    task: str
    run: int = 1
    attempt: int = 1
    completed: int = 0


class SignalReceived(_Event, frozen=True, tag="signal_received"):
    """A signal was taken up by the task that waited for it. `number` is that of the mail."""

    name: str
    number: int
    payload: Any = None
    by: str = ""


class AttemptReleased(_Event, frozen=True, tag="attempt_released"):
    """A stopping worker gave the attempt back; it starts again under the same number."""

    task: str
    run: int = 1
    attempt: int = 1


class RetryScheduled(_Event, frozen=True, tag="retry_scheduled"):
    """Another attempt starts at `due_at`; the random part of the wait is in it."""

    task: str
    due_at: datetime
    run: int = 1
    attempt: int = 2


class Routed(_Event, frozen=True, tag="routed"):
    """The routing decision: the condition that chose (None if the task has none) and its choice."""

    task: str
    to: str
    condition: str | None = None
    matched: bool = True
    outcome: Outcome = "success"


class ExecutionQuarantined(_Event, frozen=True, tag="execution_quarantined"):
    """A task killed its worker too often; the execution waits for an operator."""

    task: str
    reason: str = ""


class _Intervention(_Event, frozen=True):
    """Something that an operator asked for: `by` whom and for which `reason`, as far as they said, with the
    mail of this `number`."""

    by: str = ""
    reason: str = ""
    number: int = 0


class ExecutionPaused(_Intervention, frozen=True, tag="execution_paused"):
    """An operator holds the execution: it does nothing before it is resumed, but be cancelled."""


class ExecutionResumed(_Intervention, frozen=True, tag="execution_resumed"):
    """It goes on where it was held."""


class ExecutionRetried(_Intervention, frozen=True, tag="execution_retried"):
    """An operator has the last task run go on with another attempt, at once; also of an execution that had
    ended. If that run had its result, the flow routes again from it."""


class ExecutionRerun(_Intervention, frozen=True, tag="execution_rerun"):
    """An operator has the flow go on at this task, with another `input` of the execution if there is one."""

    task: str = ""
    input: Mapping[str, Any] | None = None


class ResultGiven(_Intervention, frozen=True, tag="result_given"):
    """An operator gives the result of a task run in place of its body; or, at the beginning of a fork, it is
    that of the execution that was forked. What it stands for is not undone."""

    task: str = ""
    run: int = 1
    attempt: int = 1
    outcome: Outcome = "success"
    message: str = ""
    data: Any = None
    error: TaskError | None = None


class ExecutionEnding(_Event, frozen=True, tag="execution_ending"):
    """It is to end with this status: nothing else is started, and what was done is undone first.
    `number` is that of the mail that asked for it, `by` who sent it."""

    status: ExecutionStatus = ExecutionStatus.FAILED
    error: TaskError | None = None
    number: int = 0
    by: str = ""
    output: Any = None


class ExecutionEnded(_Event, frozen=True, tag="execution_ended"):
    status: ExecutionStatus = ExecutionStatus.COMPLETED
    error: TaskError | None = None
    output: Any = None


Event = (
    ExecutionStarted
    | TaskSkipped
    | AttemptStarted
    | AttemptEnded
    | AttemptLost
    | AttemptCancelled
    | SignalReceived
    | AttemptReleased
    | RetryScheduled
    | Routed
    | ExecutionQuarantined
    | ExecutionPaused
    | ExecutionResumed
    | ExecutionRetried
    | ExecutionRerun
    | ResultGiven
    | ExecutionEnding
    | ExecutionEnded
)

TAKING_UP: Final = (
    SignalReceived,
    ExecutionEnding,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionRetried,
    ExecutionRerun,
    ResultGiven,
)
"""Events that take mail up: their `number` is that of the mail, or 0."""
INTERVENTIONS: Final = (ExecutionPaused, ExecutionResumed, ExecutionRetried, ExecutionRerun, ResultGiven)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode_event(event: Event) -> str:
    """The JSON text of an event."""
    return _encoder.encode(event).decode()


def decode_event(text: str | bytes) -> Event:
    """The event of a JSON text. Raises `msgspec.DecodeError` if it is not one."""
    return _decoder.decode(text)
