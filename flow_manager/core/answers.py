"""The answers of the HTTP API, as values.

The API publishes their schemas, and the client reads answers as these types. Members that may be absent
have a default. Whoever reads them ignores members that it does not know, so that members can be added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from flow_manager.core.events import Event
from flow_manager.core.results import TaskError
from flow_manager.core.states import ENDED, ExecutionStatus, WakeReason

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with its zone."""

AttemptStatus = Literal[
    "success",
    "failure",
    "timeout",
    "unknown",
    "running",
    "waiting",
    "skipped",
    "cancelled",
    "lost",
    "released",
]


class InputProblem(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a request: where it is (a JSON Pointer, or a query parameter, or a header), a code, a
    sentence, and what would be right."""

    code: str
    detail: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None
    hint: str | None = None
    line: int | None = None
    column: int | None = None
    offset: int | None = None


class PartProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem of a part of a request. `execution_id` and `execution`, its path, are told of a key that was
    used before."""

    type: str
    title: str
    status: int
    detail: str
    errors: Sequence[InputProblem] = ()
    execution_id: str = ""
    execution: str = ""


class ProblemDetails(PartProblem, frozen=True, kw_only=True):
    """A problem as RFC 9457 describes it: every answer of 4xx and 5xx."""

    instance: str = ""
    errors_truncated: bool = False


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a task run."""

    task_name: str
    status: AttemptStatus
    message: str
    data: Any
    run: int
    attempt: int
    start_time: Moment
    end_time: Moment | None
    duration_ms: float | None
    error: TaskError | None
    compensates: int = 0
    given_by: str = ""


class Parent(msgspec.Struct, frozen=True):
    """The execution that has started this one, and the number of the task run there."""

    execution_id: str
    run: int


class Waiting(msgspec.Struct, frozen=True):
    """What an open execution waits for. A `due_at` in the year 9999 stands for no time at all."""

    reason: WakeReason
    due_at: Moment
    detail: str


class OpenQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A question that an execution asks, and the path of its link."""

    task: str
    question: str
    form: Mapping[str, Any] | None
    answer_by: Sequence[str]
    until: Moment | None
    url: str

    @property
    def token(self) -> str:
        """What whoever answers must show."""
        return self.url.rpartition("/")[2]


class ExecutionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How an execution stands, without its attempts."""

    execution_id: str
    flow_id: str
    status: ExecutionStatus
    start_time: Moment | None
    end_time: Moment | None
    labels: Mapping[str, str] = {}
    parent: Parent | None = None
    forked_from: str = ""
    error: TaskError | None = None
    output: Any = None
    waiting: Waiting | None = None

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED


class Execution(ExecutionSummary, frozen=True, kw_only=True):
    """How an execution stands. `questions` are told by `GET /v1/executions/{execution_id}` alone."""

    execution_history: Sequence[HistoryEntry]
    questions: Sequence[OpenQuestion] = ()


class ExecutionLine(msgspec.Struct, frozen=True):
    """One line of a list of executions."""

    execution_id: str
    flow_id: str
    status: ExecutionStatus
    start_time: Moment
    end_time: Moment | None
    labels: Mapping[str, str] = {}
    error: str | None = None
    reason: WakeReason | None = None


class ExecutionList(msgspec.Struct, frozen=True):
    """Executions, the newest first; with a `cursor` there is more to look at."""

    executions: Sequence[ExecutionLine]
    cursor: str | None = None


class Counts(msgspec.Struct, frozen=True):
    """How many executions there are of each status."""

    counts: Mapping[ExecutionStatus, int]


class History(msgspec.Struct, frozen=True):
    """All events of an execution, in order. Over HTTP each has its number `seq` as well, from 1."""

    execution_id: str
    events: Sequence[Event]


class Child(msgspec.Struct, frozen=True):
    """A child as its parent knows it."""

    run: int
    attempt: int
    index: int
    execution_id: str
    status: Literal["open", "completed", "failed", "cancelled"]


class ChildList(msgspec.Struct, frozen=True):
    """The executions that an execution has started, in the order of their start."""

    children: Sequence[Child]


class Refused(msgspec.Struct, frozen=True):
    """An execution with which something could not be done, and why."""

    execution_id: str
    detail: str


class ActedOn(msgspec.Struct, frozen=True, kw_only=True):
    """What became of doing the same with many executions; a dry run only counts them. With a `cursor` there
    are more of them."""

    action: Literal["cancel", "pause", "resume", "retry"]
    dry_run: bool
    matched: int
    accepted: int = 0
    refused: int = 0
    refusals: Sequence[Refused] = ()
    cursor: str | None = None


class Accepted(msgspec.Struct, frozen=True):
    """What was sent is on disk."""

    execution_id: str
    accepted: bool


class TaskTypeLine(msgspec.Struct, frozen=True):
    """A registered task type, or one that needs no code."""

    name: str
    runs: Literal["async", "thread", "process", "engine"]
    description: str
    input_schema: Mapping[str, Any] | None
    origin: str


class TaskTypeList(msgspec.Struct, frozen=True):
    """The task types, by name."""

    tasks: Sequence[TaskTypeLine]


class ViolationLine(msgspec.Struct, frozen=True):
    """An execution for which a promise does not hold."""

    execution_id: str
    code: str
    detail: str


class Diagnosis(msgspec.Struct, frozen=True):
    """What the doctor has found."""

    sound: bool
    violations: Sequence[ViolationLine]


class Repaired(msgspec.Struct, frozen=True):
    """What was mended, and what is left."""

    mended: Sequence[ViolationLine]
    sound: bool
    violations: Sequence[ViolationLine]


class Reason(msgspec.Struct, frozen=True):
    """Why an execution is not moving."""

    execution_id: str
    status: ExecutionStatus
    reason: WakeReason | None
    sentence: str
    since: Moment | None
    until: Moment | None
    moved_by: str
    command: str | None


class ServiceHealth(msgspec.Struct, frozen=True):
    """What the service can do now."""

    status: Literal["ok", "stopping", "full", "read_only"]
    version: str
    accepts_work: bool
    open_executions: int
    store: Mapping[str, Any]


class Index(msgspec.Struct, frozen=True):
    """What is here: method and path of each endpoint, by name."""

    service: Literal["flow-manager"]
    version: str
    links: Mapping[str, str]
