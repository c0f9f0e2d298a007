"""The engine on a real store: one step after another, waits, losses, drains and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from flow_manager.core.events import AttemptReleased, ExecutionEnded, Routed
from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.engine.admission import EngineLimits
from flow_manager.errors import Overloaded, ShuttingDown
from tests.support.documents import document, task
from tests.support.engine import engine
from tests.support.fakes import FAILURE, LOST, SUCCESS, FakeClock, FakeWaiter, FakeWorker

THREE = document(task("a"), task("b"), task("c"))
RETRIED = document(task("a", retry={"max_attempts": 3, "delay": 10, "jitter": "none"}), task("b"))


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 20))


def test_tasks_run_one_after_another_and_each_is_recorded_before_the_next(tmp_path: Path) -> None:
    recorded_before: list[int] = []

    async def scenario() -> None:
        worker = FakeWorker()
        async with engine(tmp_path / "a.db", worker) as it:
            worker.on_run = lambda order: recorded_before.append(len(it.store.history(order.execution_id)))
            view = await it.execute(THREE)
            assert view.status is ExecutionStatus.COMPLETED
            assert worker.started == [("task1", 1), ("task2", 1), ("task3", 1)]
            assert list(it.store.history(view.execution_id)) == it.observer.events

    run(scenario())
    # started + attempt started; then ended, routed and started with every step
    assert recorded_before == [2, 5, 8]


def test_a_failure_is_routed_by_the_conditions(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db", FakeWorker({"task2": [FAILURE]})) as it:
            view = await it.execute(THREE)
            assert view.status is ExecutionStatus.FAILED
            assert view.error == FAILURE.error
            assert [entry.status for entry in view.attempts] == ["success", "failure"]

    run(scenario())


def test_a_retry_waits_without_being_driven_and_never_starts_early(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db", FakeWorker({"task1": [FAILURE, FAILURE]})) as it:
            waiter = it.start(RETRIED)
            await it.settle()
            parked = it.store.describe(waiter.execution_id)
            assert parked.wake is not None
            assert parked.wake.reason is WakeReason.DUE
            assert parked.wake.due_at == it.clock.now() + timedelta(seconds=10)

            it.clock.advance(9.999)
            nap = await it.look()
            assert len(it.worker.orders) == 1
            assert nap == pytest.approx(0.001)

            it.clock.advance(0.001)
            await it.look()
            it.clock.advance(20)
            await it.look()
            assert waiter.view is not None
            assert waiter.view.status is ExecutionStatus.COMPLETED
            assert it.worker.started == [("task1", 1), ("task1", 2), ("task1", 3), ("task2", 1)]

    run(scenario())


def test_a_flow_that_takes_too_long_fails_when_its_time_is_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        flow = document(task("a", retry={"max_attempts": 9, "delay": "1h"}), timeout="5m")
        async with engine(tmp_path / "a.db", FakeWorker({"task1": [FAILURE] * 9})) as it:
            waiter = it.start(flow)
            await it.settle()
            it.clock.advance(301)
            await it.look()
            assert waiter.view is not None
            assert waiter.view.error is not None
            assert waiter.view.error.code == "flow.timeout"

    run(scenario())


def test_a_task_whose_code_is_missing_waits_for_it_and_goes_on_after_a_start_that_has_it(
    tmp_path: Path,
) -> None:
    clock = FakeClock()

    async def without() -> str:
        async with engine(tmp_path / "a.db", FakeWorker(task_types=frozenset("a")), clock) as it:
            waiter = it.start(THREE)
            await asyncio.wait_for(waiter.told.wait(), 10)
            assert waiter.was_left
            view = it.store.describe(waiter.execution_id)
            assert view.wake is not None
            assert (view.wake.reason, view.wake.detail) == (WakeReason.CODE, "b")
            assert it.store.violations() == []
            return waiter.execution_id

    async def with_it(execution_id: str) -> None:
        async with engine(tmp_path / "a.db", FakeWorker(), clock) as it:
            await it.look()
            assert it.store.describe(execution_id).status is ExecutionStatus.COMPLETED
            assert it.worker.started == [("task2", 1), ("task3", 1)]

    execution_id = asyncio.run(without())
    run(with_it(execution_id))


def test_a_lost_worker_costs_no_retry_and_three_lost_ones_quarantine(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db", FakeWorker({"task1": [LOST, LOST], "task2": [LOST] * 3})) as it:
            waiter = it.start(THREE)
            await asyncio.wait_for(waiter.told.wait(), 10)
            view = it.store.describe(waiter.execution_id)
            assert view.status is ExecutionStatus.QUARANTINED
            assert it.worker.started == [("task1", n) for n in (1, 2, 3)] + [("task2", n) for n in (1, 2, 3)]
            assert it.store.violations() == []

    run(scenario())


@pytest.mark.parametrize(("on_lost", "starts"), [("retry", 2), ("unknown", 1)])
def test_a_drain_gives_back_what_runs_unless_it_must_never_start_twice(
    tmp_path: Path, on_lost: str, starts: int
) -> None:
    clock, bodies = FakeClock(), []

    async def first() -> str:
        worker = FakeWorker()
        worker.gates["task1"] = asyncio.Event()
        async with engine(tmp_path / "a.db", worker, clock) as it:
            waiter = it.start(document(task("a", on_lost=on_lost), task("b")))
            while not worker.orders:
                await asyncio.sleep(0.001)
            await it.orchestrator.drain(timedelta(0), asyncio.Event())
            assert waiter.was_left is (on_lost == "retry")
            assert it.store.violations() == []
            bodies.extend(worker.started)
            return waiter.execution_id

    async def second(execution_id: str) -> None:
        async with engine(tmp_path / "a.db", FakeWorker(), clock) as it:
            await it.look()
            bodies.extend(it.worker.started)
            history = it.store.history(execution_id)
            assert isinstance(history[-1], ExecutionEnded)
            assert any(isinstance(event, AttemptReleased) for event in history) is (on_lost == "retry")

    execution_id = asyncio.run(first())
    run(second(execution_id))
    assert [name for name, _ in bodies].count("task1") == starts
    assert {attempt for _, attempt in bodies} == {1}


def test_a_drain_lets_end_what_ends_within_the_grace(tmp_path: Path) -> None:
    async def scenario() -> None:
        worker = FakeWorker()
        gate = worker.gates["task1"] = asyncio.Event()
        async with engine(tmp_path / "a.db", worker) as it:
            waiter = it.start(THREE)
            while not worker.orders:
                await asyncio.sleep(0.001)
            draining = asyncio.ensure_future(it.orchestrator.drain(timedelta(seconds=30), asyncio.Event()))
            await asyncio.sleep(0.01)
            refused = it.start(THREE)
            gate.set()
            await draining
            view = it.store.describe(waiter.execution_id)
            assert [entry.status for entry in view.attempts] == ["success"]
            assert view.status is ExecutionStatus.WAITING
            assert isinstance(refused.error, ShuttingDown)

    run(scenario())


def test_what_finds_no_place_is_accepted_up_to_a_bound_and_runs_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        worker = FakeWorker()
        gate = worker.gates["task1"] = asyncio.Event()
        limits = EngineLimits(max_running=2, max_waiting=3)
        async with engine(tmp_path / "a.db", worker, limits=limits) as it:
            waiters = []
            for _ in range(7):
                waiters.append(it.start(THREE, FakeWaiter(waits=True)))
                await asyncio.sleep(0.02)
            refused = [waiter for waiter in waiters if isinstance(waiter.error, Overloaded)]
            assert len(refused) == 2
            assert len(worker.orders) == 2
            gate.set()
            await it.settle()
            for _ in range(4):
                await it.look()
            assert [waiter.view is not None for waiter in waiters] == [True] * 5 + [False] * 2

    run(scenario())


def test_a_history_that_cannot_be_read_stops_this_execution_and_no_other(tmp_path: Path) -> None:
    clock = FakeClock()

    async def first() -> list[str]:
        async with engine(tmp_path / "a.db", FakeWorker({"task1": [FAILURE] * 5}), clock) as it:
            waiters = [it.start(RETRIED) for _ in range(5)]
            await it.settle()
            return [waiter.execution_id for waiter in waiters]

    async def second() -> list[ExecutionStatus]:
        async with engine(tmp_path / "a.db", FakeWorker(), clock) as it:
            clock.advance(60)
            await it.look()
            assert it.store.violations() == []
            return [it.store.describe(each).status for each in executions]

    executions = asyncio.run(first())
    _damage(tmp_path / "a.db")
    statuses = asyncio.run(second())
    assert sorted(statuses) == sorted([ExecutionStatus.COMPLETED] * 4 + [ExecutionStatus.NEEDS_REPAIR])


def _damage(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(
        'UPDATE history SET events = \'{"type": "routed", "at": NaN\' '
        "WHERE seq = 3 AND execution_id = (SELECT min(execution_id) FROM history)"
    )
    connection.close()


def test_a_route_back_makes_a_new_task_run(tmp_path: Path) -> None:
    flow = document(task("a"), task("b"))
    flow["flow"]["conditions"].append(
        {"name": "again", "source_task": "task2", "outcome": "failure", "target_task_success": "task1"}
    )

    async def scenario() -> None:
        async with engine(tmp_path / "a.db", FakeWorker({"task2": [FAILURE, FAILURE, SUCCESS]})) as it:
            view = await it.execute(flow)
            assert [(entry.task, entry.run) for entry in view.attempts] == [
                (name, run) for run, name in enumerate(["task1", "task2"] * 3, 1)
            ]
            assert view.status is ExecutionStatus.COMPLETED
            assert isinstance(it.observer.events[-2], Routed)

    run(scenario())
