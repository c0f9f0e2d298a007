"""The history of an execution: what has happened, in order, never changed.

Events are small frozen values. Their JSON form is what the store keeps and what
`GET /v1/executions/{id}/history` shows. A field may be added with a default; none is ever
renamed or given another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from flow_manager.core.definition import Outcome
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", gc=False):
    at: datetime


class ExecutionStarted(_Event, frozen=True, tag="execution_started"):
    """The execution was accepted with this input."""

    flow_id: str
    input: Mapping[str, Any] = {}
    labels: Mapping[str, str] = {}


class AttemptStarted(_Event, frozen=True, tag="attempt_started"):
    """Stored before the task body starts. `run` counts the task runs of the execution from 1.
    `isolated`: in a process of its own, because earlier attempts were lost together with theirs."""

    task: str
    run: int = 1
    attempt: int = 1
    isolated: bool = False


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


class ExecutionEnded(_Event, frozen=True, tag="execution_ended"):
    status: ExecutionStatus = ExecutionStatus.COMPLETED
    error: TaskError | None = None


Event = (
    ExecutionStarted
    | AttemptStarted
    | AttemptEnded
    | AttemptLost
    | AttemptReleased
    | RetryScheduled
    | Routed
    | ExecutionQuarantined
    | ExecutionEnded
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode_event(event: Event) -> str:
    """The JSON text of an event."""
    return _encoder.encode(event).decode()


def decode_event(text: str | bytes) -> Event:
    """The event of a JSON text. Raises `msgspec.DecodeError` if it is not one."""
    return _decoder.decode(text)
