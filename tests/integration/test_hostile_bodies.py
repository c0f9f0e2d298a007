"""Bodies on the loop that cancel what is not theirs, and callers that give up: nobody else suffers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from flow_manager.core.definition import Flow
from flow_manager.core.parser import FlowParser
from flow_manager.core.states import ExecutionStatus
from flow_manager.engine.admission import EngineLimits
from flow_manager.engine.clock import SystemClock
from flow_manager.engine.native import NativeBackend
from flow_manager.engine.orchestrator import FlowOrchestrator
from flow_manager.errors import ShuttingDown, StoreFull
from flow_manager.ports.store import NewExecution
from flow_manager.stores.sqlite.store import SqliteStore
from flow_manager.tasks.context import TaskContext
from flow_manager.tasks.processes import ProcessPool
from flow_manager.tasks.registry import TaskRegistry
from flow_manager.tasks.worker import TaskWorker
from tests.support.documents import document, task

RESULTS = 1 << 18


async def cancel_self(context: TaskContext) -> dict[str, Any]:
    current = asyncio.current_task()
    assert current is not None
    current.cancel()
    return {}


async def cancel_and_wait(context: TaskContext) -> None:
    await cancel_self(context)
    await asyncio.sleep(10)


async def cancel_later(context: TaskContext) -> dict[str, Any]:
    current = asyncio.current_task()
    assert current is not None
    asyncio.get_running_loop().call_later(0.05, current.cancel)
    return {}


async def linger(context: TaskContext) -> dict[str, Any]:
    await asyncio.sleep(0.3)
    return {}


async def nothing(context: TaskContext) -> dict[str, Any]:
    return {}


def registered() -> TaskRegistry:
    registry = TaskRegistry()
    for body in (cancel_self, cancel_and_wait, cancel_later, linger, nothing):
        registry.register(body.__name__, body)
    return registry


def open_backend(store: SqliteStore) -> NativeBackend:
    registry = registered()
    processes = ProcessPool(registry, size=1, most_result=RESULTS)
    worker = TaskWorker(registry, threads=2, processes=processes, most_result=RESULTS)
    orchestrator = FlowOrchestrator(store, worker, SystemClock(), [], EngineLimits())
    return NativeBackend(orchestrator, registry, lambda error: None)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[NativeBackend]:
    backend = open_backend(SqliteStore(tmp_path / "a.db"))
    yield backend
    backend.close(timedelta(0))


def flow_of(*types: str) -> Flow:
    return FlowParser().parse(document(*(task(each) for each in types)))


def test_a_body_that_cancels_its_task_and_returns_has_its_result_recorded(backend: NativeBackend) -> None:
    view = backend.submit(flow_of("cancel_self", "nothing"), {}).result(10)

    assert view.status is ExecutionStatus.COMPLETED
    assert [entry.status for entry in view.attempts] == ["success", "success"]


def test_a_body_that_cancels_its_task_and_waits_has_failed_once(backend: NativeBackend) -> None:
    view = backend.submit(flow_of("cancel_and_wait"), {}).result(10)

    assert view.status is ExecutionStatus.FAILED
    assert [entry.status for entry in view.attempts] == ["failure"]


def test_a_late_cancellation_costs_an_attempt_and_leaves_nobody_waiting(backend: NativeBackend) -> None:
    view = backend.submit(flow_of("cancel_later", "linger", "nothing"), {}).result(10)

    assert view.is_ended
    assert backend.violations() == []


def test_a_future_that_somebody_cancels_harms_nobody(backend: NativeBackend) -> None:
    cancelled, other = (backend.submit(flow_of("linger"), {}) for _ in range(2))

    assert cancelled.cancel() is False
    assert other.result(10).status is ExecutionStatus.COMPLETED


def test_after_the_end_every_call_is_refused_at_once(tmp_path: Path) -> None:
    backend = open_backend(SqliteStore(tmp_path / "a.db"))
    futures: list[Any] = []
    refusals: list[Exception] = []

    def submit() -> None:
        while not refusals:
            try:
                futures.append(backend.submit(flow_of("nothing"), {}))
            except ShuttingDown as error:
                refusals.append(error)

    callers = [threading.Thread(target=submit) for _ in range(4)]
    for each in callers:
        each.start()
    time.sleep(0.1)
    backend.close(timedelta(0))
    for each in callers:
        each.join(10)

    began = time.monotonic()
    with pytest.raises(ShuttingDown):
        backend.execute(flow_of("nothing"), {})
    assert time.monotonic() - began < 1.0
    not_settled = [future for future in futures if not future.done()]
    assert not_settled == []


def test_a_closing_engine_does_not_wait_for_somebody_elses_lock(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    backend = open_backend(store)
    backend.execute(flow_of("nothing"), {})
    foreign = apsw.Connection(str(tmp_path / "a.db"))
    foreign.execute("BEGIN IMMEDIATE")
    backend.submit(flow_of("nothing"), {})

    began = time.monotonic()
    backend.close(timedelta(0))
    took = time.monotonic() - began
    foreign.execute("ROLLBACK")
    foreign.close()

    assert took < 10.0


class SlowlyFullStore(SqliteStore):
    """Says that it is full, but takes its time over it."""

    def start(self, new: NewExecution) -> Any:
        async def refuse() -> None:
            await asyncio.sleep(0.5)
            raise StoreFull("no space")

        return refuse()


def test_a_start_that_failed_is_told_as_such_even_after_the_callers_patience(tmp_path: Path) -> None:
    backend = open_backend(SlowlyFullStore(tmp_path / "a.db"))

    began = time.monotonic()
    with pytest.raises(StoreFull):
        backend.execute(flow_of("nothing"), {}, wait=timedelta(seconds=0.1))
    took = time.monotonic() - began
    backend.close(timedelta(0))

    assert took < 2.0


def test_a_definition_that_cannot_be_read_stops_its_execution_and_says_so(tmp_path: Path) -> None:
    backend = open_backend(SqliteStore(tmp_path / "a.db"))
    held = backend.execute(flow_of("linger", "nothing"), {}, wait=timedelta(0))
    backend.close(timedelta(0))
    connection = apsw.Connection(str(tmp_path / "a.db"))
    connection.execute("UPDATE definitions SET text = 'no flow'")
    connection.close()

    backend = open_backend(SqliteStore(tmp_path / "a.db"))
    deadline = time.monotonic() + 10
    while backend.describe(held.execution_id).status is not ExecutionStatus.NEEDS_REPAIR:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    healthy = backend.execute(flow_of("nothing"), {}).status
    backend.close(timedelta(0))

    assert healthy is ExecutionStatus.COMPLETED


def test_a_flow_does_not_outlive_its_time_while_a_task_waits_for_a_thread(tmp_path: Path) -> None:
    begun: list[str] = []
    gate = threading.Event()

    def block(context: TaskContext) -> None:
        begun.append(context.execution_id)
        gate.wait(10)

    registry = TaskRegistry()
    registry.register("block", block)
    processes = ProcessPool(registry, size=1, most_result=RESULTS)
    worker = TaskWorker(registry, threads=1, processes=processes, most_result=RESULTS)
    store = SqliteStore(tmp_path / "a.db")
    orchestrator = FlowOrchestrator(store, worker, SystemClock(), [], EngineLimits())
    backend = NativeBackend(orchestrator, registry, lambda error: None)
    first = backend.submit(flow_of("block"), {})
    timed = FlowParser().parse(document(task("block"), timeout=0.3))

    began = time.monotonic()
    view = backend.submit(timed, {}).result(10)
    took = time.monotonic() - began
    gate.set()
    first.result(10)
    backend.close(timedelta(0))

    assert view.error is not None
    assert view.error.code == "flow.timeout"
    assert took < 3.0
    assert view.execution_id not in begun
