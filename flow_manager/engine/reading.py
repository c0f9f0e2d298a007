"""A backend that only reads: for a store that cannot be written, and the reading half of the engine."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Protocol

import orjson
from pydantic import BaseModel

from flow_manager.core.definition import Flow
from flow_manager.core.events import Event
from flow_manager.core.parser import FlowParser
from flow_manager.core.report import Report
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.view import View
from flow_manager.core.why import Why, explain
from flow_manager.engine.approvals import Approvals
from flow_manager.engine.capsules import StoredCapsules
from flow_manager.engine.clock import SystemClock
from flow_manager.engine.flows import DigestCache, StoredFlows, weight_of
from flow_manager.engine.following import Followers
from flow_manager.engine.publishing import PublishedFlows
from flow_manager.engine.scheduling import ReadingSchedules
from flow_manager.engine.search import ExecutionSearch
from flow_manager.errors import ApprovalOver, FlowManagerError, StoreReadOnly
from flow_manager.ports.backend import (
    Answer,
    ChildSummary,
    Health,
    Question,
    Summary,
    TaskType,
    Violation,
    with_step_types,
)
from flow_manager.ports.capsules import Capsules
from flow_manager.ports.control import Control
from flow_manager.ports.figures import EngineFigures, MetricsPage, NoMetrics
from flow_manager.ports.scheduling import Schedules
from flow_manager.ports.starting import Accepted, Start, StartOptions, StartRequest
from flow_manager.ports.store import Reader

_NOTHING_SENT: Final = "the database cannot be written, so nothing can be sent; reading works"


class TaskCatalogue(Protocol):
    """The registered tasks, as far as a backend looks at them."""

    def input_models(self) -> Mapping[str, type[BaseModel] | None]: ...

    def task_types(self) -> Sequence[TaskType]: ...


class ReadingBackend:
    """Implements `ports.backend.Backend` for a store that cannot be written."""

    def __init__(
        self,
        reader: Reader,
        catalogue: TaskCatalogue,
        secrets: Container[str] | None = None,
        flows: StoredFlows | None = None,
    ) -> None:
        self._reader = reader
        self.capsules: Capsules = StoredCapsules(reader)
        self.search = ExecutionSearch(reader)
        self.live = Followers(reader)
        self._catalogue = catalogue
        self._parser = FlowParser(catalogue.input_models(), secrets)
        self._flows = flows or StoredFlows()
        self.flows = PublishedFlows(reader, self._flows)
        self._reports: DigestCache[Report] = DigestCache()
        self._reports_lock = threading.Lock()
        self.schedules: Schedules = ReadingSchedules(reader.schedules, SystemClock())
        self.metrics: MetricsPage = NoMetrics()
        """Whoever joins the parts puts another one here."""

    def validate(self, document: object) -> Report:
        """Reports are kept by the text of the document: a flow that is sent again and again is
        checked once. Registering another task makes earlier reports unfindable."""
        try:
            text = orjson.dumps(document)
        except (orjson.JSONEncodeError, RecursionError):
            return self._parser.check(document)
        known = f"{len(self._catalogue.input_models())}:{sha256(text).hexdigest()}"
        with self._reports_lock:
            report = self._reports.get(known)
        if report is None:
            report = self._parser.check(document)
            with self._reports_lock:
                self._reports.put(known, report, weight_of(text))
        return report

    def execute(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        wait: timedelta | None = None,
    ) -> View:
        raise StoreReadOnly("the database cannot be written, so nothing can be executed; reading works")

    def start(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        options: StartOptions,
        *,
        labels: Mapping[str, str] | None = None,
        wait: timedelta | None = None,
    ) -> Start:
        raise StoreReadOnly("the database cannot be written, so nothing can be started; reading works")

    def start_all(
        self, flow: Flow, requests: Sequence[StartRequest]
    ) -> Sequence[Accepted | FlowManagerError]:
        raise StoreReadOnly("the database cannot be written, so nothing can be started; reading works")

    def signal(self, execution_id: str, name: str, payload: Any = None, *, by: str = "") -> None:
        raise StoreReadOnly(_NOTHING_SENT)

    def cancel(self, execution_id: str, reason: str = "", *, by: str = "") -> None:
        raise StoreReadOnly(_NOTHING_SENT)

    def answer(self, token: str, answer: Answer) -> str:
        raise StoreReadOnly(_NOTHING_SENT)

    @property
    def control(self) -> Control:
        raise StoreReadOnly(_NOTHING_SENT)

    def questions(self, execution_id: str) -> Sequence[Question]:
        view = self.describe(execution_id)
        if view.is_ended or view.wait is None:
            return ()
        question = self._approvals().question_of(view)
        return () if question is None else (question,)

    def question(self, token: str) -> Question:
        approvals = self._approvals()
        asking = approvals.read(token)
        found = approvals.question_of(self.describe(asking.execution_id))
        if found is None or found.token != token:
            raise ApprovalOver("this question was answered already, or nobody waits for its answer any more")
        return found

    def definition(self, execution_id: str) -> Flow:
        digest, text = self._reader.definition(execution_id)
        return self._flows.of(digest, text)

    def children(self, execution_id: str) -> Sequence[ChildSummary]:
        return self._reader.children(execution_id)

    def _approvals(self) -> Approvals:
        return Approvals(self._reader.key())

    def describe(self, execution_id: str) -> View:
        return self._reader.describe(execution_id)

    def why(self, execution_id: str) -> Why:
        view = self.describe(execution_id)
        return explain(view, view.told_at, self.now())

    def now(self) -> datetime:
        """The time by which it is told what is overdue."""
        return datetime.now(UTC)

    def history(self, execution_id: str) -> Sequence[Event]:
        return self._reader.history(execution_id)

    def follow(self, execution_id: str) -> Iterator[Event]:
        yield from self.history(execution_id)

    def executions(self, *, limit: int = 50, status: ExecutionStatus | None = None) -> Sequence[Summary]:
        return self._reader.executions(limit=limit, status=status)

    def task_types(self) -> Sequence[TaskType]:
        return with_step_types(self._catalogue.task_types())

    def health(self) -> Health:
        return Health("read_only", False, self._reader.open_executions(), self._reader.describe_store())

    def figures(self) -> EngineFigures:
        """How the store stands; from any thread. Raises what reading raises."""
        health = self.health()
        return EngineFigures(open=health.open_executions, store_bytes=health.store.get("bytes", 0))

    def violations(self) -> Sequence[Violation]:
        return self._reader.violations()

    def repair(self) -> Sequence[Violation]:
        raise StoreReadOnly(_NOTHING_SENT)

    def close(self, grace: timedelta | None = None) -> None:
        self.live.close()
        self._reader.close()
