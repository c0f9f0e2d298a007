"""A backend without an engine: it answers with what it was given, and records what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flow_manager.core.definition import Condition, Flow, Task
from flow_manager.core.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    Routed,
)
from flow_manager.core.report import Report
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.view import View
from flow_manager.core.why import Why, explain
from flow_manager.engine.clock import SystemClock
from flow_manager.engine.scheduling import ReadingSchedules
from flow_manager.errors import (
    ApprovalUnknown,
    ExecutionUnknown,
    FlowManagerError,
    FlowUnknown,
    Problem,
    ScheduleUnknown,
    ShuttingDown,
)
from flow_manager.ports.backend import (
    Answer,
    ChildSummary,
    Health,
    Question,
    Summary,
    TaskType,
    Violation,
)
from flow_manager.ports.capsules import Capsules
from flow_manager.ports.control import Control
from flow_manager.ports.figures import MetricsPage, NoMetrics
from flow_manager.ports.live import Changes, News
from flow_manager.ports.publishing import Publication, Version
from flow_manager.ports.scheduling import Fire, Queued, Schedules, StoredSchedule
from flow_manager.ports.search import Filter, Page
from flow_manager.ports.starting import Accepted, StartOptions, StartRequest
from flow_manager.ports.starting import Start as Started

EXECUTION = "0198c0de-0000-7000-8000-000000000001"
START = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)

DOCUMENT: dict[str, Any] = {
    "flow": {
        "id": "flow123",
        "name": "Data",
        "start_task": "fetch",
        "tasks": [{"name": "fetch", "description": "Fetch"}, {"name": "store", "description": "Store"}],
        "conditions": [
            {
                "name": "fetched",
                "description": "",
                "source_task": "fetch",
                "outcome": "success",
                "target_task_success": "store",
                "target_task_failure": "end",
            }
        ],
    }
}

FLOW = Flow(
    id="flow123",
    name="Data",
    start_task="fetch",
    tasks={"fetch": Task("fetch", "fetch"), "store": Task("store", "store")},
    conditions_from={"fetch": (Condition("fetched", "fetch", target_task_success="store"),)},
    description="",
    labels={},
    timeout=None,
    max_task_runs=1000,
    document="{}",
    digest="0" * 64,
)


def second(number: int) -> datetime:
    return START + timedelta(seconds=number)


COMPLETED: tuple[Event, ...] = (
    ExecutionStarted(at=second(0), flow_id="flow123", input={"n": 1}),
    AttemptStarted(at=second(0), task="fetch"),
    AttemptEnded(at=second(1), task="fetch", message="Data fetched successfully", data={"rows": 3}),
    Routed(at=second(1), task="fetch", to="store", condition="fetched"),
    AttemptStarted(at=second(1), task="store", run=2),
    AttemptEnded(at=second(2), task="store", run=2, message="Data stored successfully"),
    Routed(at=second(2), task="store", to="end"),
    ExecutionEnded(at=second(2)),
)

FAILED: tuple[Event, ...] = (
    ExecutionStarted(at=second(0), flow_id="flow123"),
    AttemptStarted(at=second(0), task="fetch"),
    AttemptEnded(
        at=second(1),
        task="fetch",
        outcome="failure",
        message="no answer",
        error=TaskError("task.failed", "no answer"),
    ),
    Routed(at=second(1), task="fetch", to="end", condition="fetched", matched=False, outcome="failure"),
    ExecutionEnded(at=second(1), status=ExecutionStatus.FAILED, error=TaskError("task.failed", "no answer")),
)

VALID = Report(errors=(), warnings=(), flow=FLOW)


def invalid(*problems: Problem, truncated: bool = False) -> Report:
    return Report(errors=problems, warnings=(), flow=None, truncated=truncated)


@dataclass(frozen=True)
class Start:
    """One call of `execute`."""

    input: Mapping[str, Any]
    labels: Mapping[str, str] | None
    wait: timedelta | None


class NoSchedules:
    """A store without schedules."""

    def get(self, schedule_id: str) -> StoredSchedule:
        raise ScheduleUnknown("no schedule has this id")

    def all(self, *, after: str, limit: int) -> Sequence[StoredSchedule]:
        return ()

    def fires(self, schedule_id: str, limit: int) -> Sequence[Fire]:
        return ()

    def flow(self, flow_id: str, version: int | None) -> tuple[str, bytes] | None:
        return None

    def due(self, now: datetime, limit: int) -> Sequence[StoredSchedule]:
        return ()

    def next_at(self) -> datetime | None:
        return None

    def queued(self, limit: int, but_of: Collection[str] = ()) -> Sequence[Queued]:
        return ()

    def with_other_zone_data(self, zone_data: str, limit: int) -> Sequence[StoredSchedule]:
        return ()


@dataclass
class FakeSearch:
    """Finds the execution of its backend, whatever is asked."""

    backend: FakeBackend
    asked: list[tuple[Filter, str | None, int]] = field(default_factory=list)
    cursor: str | None = None

    def page(self, wanted: Filter, cursor: str | None = None, limit: int = 50) -> Page:
        self.asked.append((wanted, cursor, limit))
        listed = self.backend.executions(limit=limit, status=wanted.status)
        is_ours = wanted.flow_id in (None, listed[0].flow_id)
        return Page(listed if is_ours else (), self.cursor)

    def counts(self) -> Mapping[ExecutionStatus, int]:
        return {**dict.fromkeys(ExecutionStatus, 0), ExecutionStatus.COMPLETED: 1}


@dataclass
class FakeLive:
    """Tells all events at once; then, until `ending` is set, nothing, again and again."""

    backend: FakeBackend
    told: list[Changes] = field(default_factory=list)
    after: list[int | str | None] = field(default_factory=list)

    def events(self, execution_id: str, after: int = 0) -> Iterator[News]:
        self.after.append(after)
        yield News(self.backend.history(execution_id)[after:], self.backend.ending.is_set())
        while not self.backend.ending.wait(0.01):
            yield News((), False)

    def changes(self, position: str | None = None) -> Iterator[Changes]:
        self.after.append(position)
        yield from self.told
        while not self.backend.ending.wait(0.01):
            yield Changes((), "boot-9")


class FakeFlows:
    """One published flow, `FLOW`, in one version. `error`, if set, is raised by every call."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.published: list[tuple[str, object, str | None]] = []
        self.newest = Version(FLOW.id, 1, FLOW.digest, FLOW.name, START)

    def publish(
        self, flow_id: str, document: object, *, expected: str | None = None, by: str = ""
    ) -> Publication:
        self._look_up(FLOW.id)
        self.published.append((flow_id, document, expected))
        return Publication(self.newest, is_new=True)

    def flows(self, *, limit: int = 50, after: str = "") -> Sequence[Version]:
        return [self.newest]

    def flow(self, flow_id: str) -> Version:
        return self._look_up(flow_id)

    def versions(self, flow_id: str, *, limit: int = 50, before: int | None = None) -> Sequence[Version]:
        return [self._look_up(flow_id)]

    def version(self, flow_id: str, version: int | None = None) -> Flow:
        return self.startable(flow_id, version)[1]

    def startable(self, flow_id: str, version: int | None = None) -> tuple[Version, Flow]:
        return self._look_up(flow_id, version), FLOW

    def document(self, flow_id: str, version: int) -> tuple[Version, bytes]:
        return self._look_up(flow_id, version), b"{}"

    def delete(self, flow_id: str, *, expected: str | None = None) -> None:
        self._look_up(flow_id)

    def _look_up(self, flow_id: str, version: int | None = None) -> Version:
        if self.error is not None:
            raise self.error
        if flow_id != FLOW.id or version not in (None, 1):
            raise FlowUnknown("no flow is published under this id")
        return self.newest


@dataclass
class FakeBackend:
    """Knows one execution, `EXECUTION`, of which `events` tell. `error`, if set, is raised by every call.

    While `ending` is not set, the execution goes on: `execute` waits for it as long as it was told to
    and answers with the first events alone.
    """

    events: Sequence[Event] = COMPLETED
    report: Report = VALID
    state: Health = field(default_factory=lambda: Health("ok", True, 0, {"kind": "fake"}))
    broken: Sequence[Violation] = ()
    types: Sequence[TaskType] = (TaskType("fetch", "thread", "Fetches data.", None, "shop.tasks:fetch"),)
    error: Exception | None = None
    ending: threading.Event = field(default_factory=threading.Event)
    started: threading.Event = field(default_factory=threading.Event)
    checked: list[object] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    listed: list[tuple[int, ExecutionStatus | None]] = field(default_factory=list)
    sent: list[tuple[str, str, Any, str]] = field(default_factory=list)
    """What was sent to the execution: kind, name or reason, payload, and by whom."""
    asked: Sequence[Question] = ()
    schedules: Schedules = field(default_factory=lambda: ReadingSchedules(NoSchedules(), SystemClock()))
    options: list[StartOptions] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    """Idempotency keys that were used before."""
    flows: FakeFlows = field(default_factory=lambda: FakeFlows())
    brood: Sequence[ChildSummary] = ()
    metrics: MetricsPage = field(default_factory=NoMetrics)
    exported: list[str] = field(default_factory=list)
    search: FakeSearch = field(init=False)
    live: FakeLive = field(init=False)

    def __post_init__(self) -> None:
        self.search, self.live = FakeSearch(self), FakeLive(self)
        self.ending.set()

    def validate(self, document: object) -> Report:
        self.checked.append(document)
        return self.report

    def execute(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        wait: timedelta | None = None,
    ) -> View:
        self._fail()
        self.starts.append(Start(input, labels, wait))
        self.started.set()
        has_ended = wait != timedelta(0) and self.ending.wait(None if wait is None else wait.total_seconds())
        return View.fold(EXECUTION, self.events if has_ended else self.events[:2])

    def start(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        options: StartOptions,
        *,
        labels: Mapping[str, str] | None = None,
        wait: timedelta | None = None,
    ) -> Started:
        self.options.append(options)
        view = self.execute(flow, input, labels=labels, wait=wait)
        return Started(view, is_new=options.key is None or options.key not in self.keys)

    def start_all(
        self, flow: Flow, requests: Sequence[StartRequest]
    ) -> Sequence[Accepted | FlowManagerError]:
        self._fail()
        return [Accepted(EXECUTION, is_new=True) for _ in requests]

    def signal(self, execution_id: str, name: str, payload: Any = None, *, by: str = "") -> None:
        self._look_up(execution_id)
        self.sent.append(("signal", name, payload, by))

    def cancel(self, execution_id: str, reason: str = "", *, by: str = "") -> None:
        self._look_up(execution_id)
        self.sent.append(("cancel", reason, None, by))

    def answer(self, token: str, answer: Answer) -> str:
        self.question(token)
        self.sent.append(("answer", token, {"approved": answer.approved, **answer.fields}, answer.by))
        return EXECUTION

    def question(self, token: str) -> Question:
        self._fail()
        for question in self.asked:
            if question.token == token:
                return question
        raise ApprovalUnknown("no question has this link")

    def questions(self, execution_id: str) -> Sequence[Question]:
        self._look_up(execution_id)
        return self.asked

    def why(self, execution_id: str) -> Why:
        return explain(self.describe(execution_id), START, START)

    def repair(self) -> Sequence[Violation]:
        return ()

    @property
    def control(self) -> Control:
        raise NotImplementedError

    def definition(self, execution_id: str) -> Flow:
        self._look_up(execution_id)
        return FLOW

    def children(self, execution_id: str) -> Sequence[ChildSummary]:
        self._look_up(execution_id)
        return self.brood

    @property
    def capsules(self) -> Capsules:
        return _FakeCapsules(self)

    def describe(self, execution_id: str) -> View:
        self._look_up(execution_id)
        return View.fold(execution_id, self.events)

    def history(self, execution_id: str) -> Sequence[Event]:
        self._look_up(execution_id)
        return self.events

    def follow(self, execution_id: str) -> Iterator[Event]:
        self._look_up(execution_id)
        yield from self.events

    def executions(self, *, limit: int = 50, status: ExecutionStatus | None = None) -> Sequence[Summary]:
        self._fail()
        self.listed.append((limit, status))
        return [Summary(EXECUTION, "flow123", ExecutionStatus.COMPLETED, second(0), second(2))]

    def task_types(self) -> Sequence[TaskType]:
        return self.types

    def health(self) -> Health:
        return self.state

    def violations(self) -> Sequence[Violation]:
        self._fail()
        return self.broken

    def stop(self) -> None:
        """From now on nothing new is accepted; what waits goes on waiting."""
        self.error = ShuttingDown("the service is stopping and accepts no new work")
        self.state = Health("stopping", False, 1, {"kind": "fake"})

    def close(self, grace: timedelta | None = None) -> None:
        self.ending.set()

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    def _look_up(self, execution_id: str) -> None:
        self._fail()
        if execution_id != EXECUTION:
            raise ExecutionUnknown("no execution has this id")


class _FakeCapsules:
    """Exports the one execution, without anything in it."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def export(self, execution_id: str, exported_at: datetime) -> Mapping[str, Any]:
        self._backend.describe(execution_id)
        self._backend.exported.append(execution_id)
        return {"format": "fake", "execution": execution_id}
