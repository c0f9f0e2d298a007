"""The backend: all that the API, the command line and the library may ask of an engine.

The native engine implements it; an existing distributed engine can implement it as well. Every
call may be made from any thread and blocks its caller only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from flow_manager.core.attempts import format_time
from flow_manager.core.definition import Flow
from flow_manager.core.events import Event
from flow_manager.core.report import Report
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.steps import STEP_TYPES, description_of
from flow_manager.core.view import View
from flow_manager.core.why import Why
from flow_manager.ports.capsules import Capsules
from flow_manager.ports.control import Control
from flow_manager.ports.figures import MetricsPage
from flow_manager.ports.live import Live
from flow_manager.ports.publishing import Flows
from flow_manager.ports.search import DEFAULT_LISTED as DEFAULT_LISTED
from flow_manager.ports.search import MOST_LISTED as MOST_LISTED
from flow_manager.ports.search import Search
from flow_manager.ports.search import Summary as Summary
from flow_manager.ports.starting import Starter

if TYPE_CHECKING:
    from flow_manager.ports.scheduling import Schedules


@dataclass(frozen=True, slots=True)
class TaskType:
    """A registered task as `flow-manager tasks` shows it. `runs` is `async`, `thread` or
    `process`, or `engine` if it needs no code."""

    name: str
    runs: str
    description: str
    input_schema: Mapping[str, Any] | None
    origin: str
    """Where its code is: `module:QualifiedName`."""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "runs": self.runs,
            "description": self.description,
            "input_schema": self.input_schema,
            "origin": self.origin,
        }


def with_step_types(registered: Sequence[TaskType]) -> Sequence[TaskType]:
    """The registered task types and those that need no code, by name."""
    types = [
        TaskType(name, "engine", description_of(name), model.model_json_schema(), "built in")
        for name, model in STEP_TYPES.items()
    ]
    return sorted([*registered, *types], key=lambda task_type: task_type.name)


@dataclass(frozen=True, slots=True)
class ChildSummary:
    """A child as its parent knows it. `status` is None until it has ended."""

    run: int
    attempt: int
    index: int
    execution_id: str
    status: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "attempt": self.attempt,
            "index": self.index,
            "execution_id": self.execution_id,
            "status": self.status or "open",
        }


@dataclass(frozen=True, slots=True)
class Question:
    """What an execution asks. `token` is what whoever answers must show: it is good for this question
    only, once, and until `until`."""

    task: str
    question: str
    form: Mapping[str, Any] | None
    answer_by: Sequence[str]
    until: datetime | None
    token: str

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "question": self.question,
            "form": self.form,
            "answer_by": list(self.answer_by),
            "until": None if self.until is None else format_time(self.until),
            "url": f"/v1/approvals/{self.token}",
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question, and what the form holds."""

    approved: bool
    fields: Mapping[str, Any]
    by: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """`status` is `ok`, `stopping`, `full` (no space: reads only) or `read_only`."""

    status: str
    accepts_work: bool
    open_executions: int
    store: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Violation:
    """An execution for which a promise does not hold. `code` is stable, `detail` a sentence."""

    execution_id: str
    code: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        return {"execution_id": self.execution_id, "code": self.code, "detail": self.detail}


class Backend(Starter, Protocol):
    @property
    def flows(self) -> Flows:
        """The published flows."""

    metrics: MetricsPage
    """What it counts, for `/metrics`."""

    @property
    def capsules(self) -> Capsules:
        """Recorded executions as documents."""

    @property
    def search(self) -> Search: ...

    @property
    def live(self) -> Live: ...

    def validate(self, document: object) -> Report:
        """Check a parsed JSON document (wrapped in `flow` or bare) against the format, the
        graph rules and the registered tasks. Never raises for a bad document."""

    def execute(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        wait: timedelta | None = None,
    ) -> View:
        """Start an execution durably, wait until it has ended but no longer than `wait`, and
        tell how it stands. `wait=timedelta(0)` returns as soon as the start is durable, None
        waits without bound.

        Raises `Overloaded`, `ShuttingDown`, `StoreFull` or `StoreReadOnly` if nothing was
        started, `OutcomeUnknown` if that is not known."""

    def signal(self, execution_id: str, name: str, payload: Any = None, *, by: str = "") -> None:
        """Send a signal; durable when this returns. A task that does not wait for it yet finds it later.
        Raises `ExecutionUnknown`, `ExecutionOver`, `SignalUnknown`, `TooMuchMail`, `InvalidRequest`, and
        what `execute` raises."""

    def answer(self, token: str, answer: Answer) -> str:
        """Answer the question that the token is for; the answer is the id of its execution. Raises
        `ApprovalUnknown` for a token that nobody gave out, `ApprovalOver` for a question that was answered
        or is out of date, and what `signal` raises."""

    def questions(self, execution_id: str) -> Sequence[Question]:
        """What the execution asks somebody now. Raises `ExecutionUnknown`."""

    def question(self, token: str) -> Question:
        """The question that a token is for. Raises `ApprovalUnknown` and `ApprovalOver`."""

    def cancel(self, execution_id: str, reason: str = "", *, by: str = "") -> None:
        """Have an execution end soon as cancelled: what runs is interrupted, what was done is undone,
        children are cancelled. Raises `ExecutionUnknown`, `ExecutionOver` if it ended before, and what
        `execute` raises."""

    @property
    def control(self) -> Control:
        """What an operator can have an execution do."""

    def definition(self, execution_id: str) -> Flow:
        """The flow that it started with. Raises `ExecutionUnknown`."""

    def children(self, execution_id: str) -> Sequence[ChildSummary]:
        """The children of an execution, in the order of their start; the first thousand."""

    def describe(self, execution_id: str) -> View:
        """How an execution stands, with its history so far. Raises `ExecutionUnknown`."""

    def why(self, execution_id: str) -> Why:
        """Why it is not moving. Raises `ExecutionUnknown`."""

    def history(self, execution_id: str) -> Sequence[Event]:
        """All its events, in order; the first has number 1. Raises `ExecutionUnknown`."""

    def follow(self, execution_id: str) -> Iterator[Event]:
        """Its events from the first, each as soon as it is durable, until it has ended or
        parks for an operator. Raises `ExecutionUnknown`."""

    def executions(
        self, *, limit: int = DEFAULT_LISTED, status: ExecutionStatus | None = None
    ) -> Sequence[Summary]:
        """The newest executions first."""

    def task_types(self) -> Sequence[TaskType]:
        """The registered tasks, and those that need no code, by name."""

    def health(self) -> Health:
        """Whether it works; answers at once even if the store does not."""

    def violations(self) -> Sequence[Violation]:
        """Every promise about stored executions that does not hold; empty on a sound store."""

    def repair(self) -> Sequence[Violation]:
        """Mend what can be mended of all violations; the answer is what was. Raises what `execute` raises."""

    @property
    def schedules(self) -> Schedules: ...

    def close(self, grace: timedelta | None = None) -> None:
        """Drain and stop: running attempts get `grace` to end, their results are recorded, the
        rest is released without spending an attempt."""
