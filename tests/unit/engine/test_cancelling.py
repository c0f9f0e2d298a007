"""Cancellations on a real store: what runs is interrupted at once, and whoever cancels learns which won."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from flow_manager.core.events import AttemptCancelled, AttemptStarted, ExecutionEnded, ExecutionEnding
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.errors import ExecutionOver, ExecutionUnknown, TooMuchMail
from flow_manager.ports.worker import AttemptOrder, AttemptResult
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.documents import document, task
from tests.support.engine import Engine, engine
from tests.support.fakes import FAILURE, LOST, SUCCESS, FakeClock, FakeWorker

TYPES = frozenset(["a", "b", "c", "undo"])
CANCELLED = (ExecutionStatus.CANCELLED, "execution.cancelled")


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 40))


def with_undo(*tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A flow whose tasks of type `a` and `b` can be undone."""
    undoable = [each | {"compensate_with": "undo"} if each["type"] in ("a", "b") else each for each in tasks]
    flow = document(*undoable, **fields)
    flow["flow"]["tasks"].append({"name": "undo", "type": "undo"})
    return flow


def end(it: Engine, execution_id: str) -> tuple[ExecutionStatus, str | None]:
    view = it.view(execution_id)
    return view.status, None if view.error is None else view.error.code


# -- one cancellation


def test_a_running_body_is_interrupted_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            running = await it.held(document(task("a"), task("b")))

            await it.cancel(running, "no more")
            await it.settle()

            assert it.tasks(running) == ["task1:cancelled"]
            assert it.view(running).error == TaskError("execution.cancelled", "no more", retryable=False)
            assert end(it, running) == CANCELLED
            assert (it.store.open_executions(), it.orchestrator.running) == (0, 0)

    run(scenario())


@pytest.mark.parametrize(
    "waiting",
    [
        task("wait", {"for": "1h"}),
        task("signal"),
        task("approval", {"question": "Pay?"}),
        task("a", retry={"max_attempts": 2, "delay": "1h"}),
        task("missing"),
    ],
    ids=lambda each: each["type"],
)
def test_whatever_an_execution_waits_for_it_can_be_cancelled(tmp_path: Path, waiting: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db", FakeWorker({"task1": [FAILURE]})) as it:
            parked = await it.started(document(waiting))
            assert it.orchestrator.running == 0

            await it.cancel(parked)
            await it.go_on()

            assert end(it, parked) == CANCELLED
            assert it.store.open_executions() == 0

    run(scenario())


def test_an_execution_in_quarantine_can_be_cancelled(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db", FakeWorker({"task1": [LOST] * 9})) as it:
            guilty = await it.started(document(task("a")))
            assert it.view(guilty).status is ExecutionStatus.QUARANTINED

            await it.cancel(guilty)
            await it.go_on()

            assert end(it, guilty) == CANCELLED

    run(scenario())


def test_whoever_waits_for_an_execution_hears_that_it_was_cancelled(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            waiter = it.start(document(task("signal")))
            await it.settle()

            await it.cancel(waiter.execution_id)
            await it.go_on()

            assert waiter.view is not None
            assert waiter.view.status is ExecutionStatus.CANCELLED

    run(scenario())


def test_what_has_ended_or_never_was_cannot_be_cancelled(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            ended = await it.started(document(task("a")))

            with pytest.raises(ExecutionOver):
                await it.cancel(ended)
            with pytest.raises(ExecutionUnknown):
                await it.cancel("nonsense")

            assert end(it, ended) == (ExecutionStatus.COMPLETED, None)

    run(scenario())


# -- what was done is undone


def test_after_a_cancellation_the_compensations_run_in_reverse(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db", FakeWorker(task_types=TYPES)) as it:
            running = await it.held(with_undo(task("a"), task("b"), task("c")), "task3")

            await it.cancel(running)
            await it.go_on()

            assert it.tasks(running) == [
                "task1:success", "task2:success", "task3:cancelled", "undo:success", "undo:success",
            ]  # fmt: skip
            assert [entry.compensates for entry in it.view(running).attempts] == [0, 0, 0, 2, 1]
            assert end(it, running) == CANCELLED

    run(scenario())


def test_cancelling_again_and_again_costs_no_compensation_an_attempt(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db", FakeWorker(task_types=TYPES)) as it:
            for turns in range(60):
                running = await it.held(with_undo(task("a"), task("b"), task("c")), "task3")

                await it.cancel(running, "first")
                for _ in range(turns):
                    await asyncio.sleep(0)
                await asyncio.gather(*(sent(it, running) for _ in range(3)))
                await it.go_on()

                assert it.tasks(running)[2:] == ["task3:cancelled", "undo:success", "undo:success"]
                assert it.view(running).error == TaskError("execution.cancelled", "first", retryable=False)

    run(scenario())


def test_a_compensation_is_not_interrupted_by_a_cancellation(tmp_path: Path) -> None:
    async def scenario() -> None:
        worker = FakeWorker({"task2": [FAILURE]}, task_types=TYPES)
        async with engine(tmp_path / "a.db", worker) as it:
            undoing = await it.held(with_undo(task("a"), task("c")), "undo")
            assert it.view(undoing).status is ExecutionStatus.COMPENSATING

            await it.cancel(undoing)
            it.worker.gates["undo"].set()
            await it.settle()

            assert it.tasks(undoing) == ["task1:success", "task2:failure", "undo:success"]
            assert end(it, undoing) == (ExecutionStatus.FAILED, "task.failed")

    run(scenario())


def test_a_result_that_comes_in_the_moment_of_the_cancellation_is_undone_if_it_counts(tmp_path: Path) -> None:
    outcomes: Counter[tuple[str, ...]] = Counter()

    async def scenario() -> None:
        async with engine(tmp_path / "a.db", FakeWorker(task_types=TYPES)) as it:
            for turns in range(40):
                running = await it.held(with_undo(task("a"), task("signal")))
                cancelling = asyncio.ensure_future(it.cancel(running))
                for _ in range(turns):
                    await asyncio.sleep(0)
                it.worker.gates["task1"].set()
                await cancelling
                await it.go_on()
                assert end(it, running) == CANCELLED
                outcomes[tuple(it.tasks(running))] += 1

    run(scenario())
    assert set(outcomes) <= {
        ("task1:cancelled",),
        ("task1:success", "undo:success"),
        ("task1:success", "task2:cancelled", "undo:success"),
    }


# -- children


def test_the_children_of_a_cancelled_execution_are_interrupted_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            it.orchestrator.run_loops()
            it.worker.gates["task1"] = asyncio.Event()
            inner = document(task("a"), flow_id="inner")["flow"]
            middle = document(task("flow", {"flow": inner}), flow_id="middle")["flow"]
            parent = it.start(document(task("for_each", {"flow": middle, "items": [1, 2, 3]})))
            while len(it.worker.orders) < 3:
                await asyncio.sleep(0.001)

            await it.cancel(parent.execution_id)
            while it.store.open_executions():  # nobody opens the gate
                await asyncio.sleep(0.001)

            assert {one.status for one in it.store.executions()} == {ExecutionStatus.CANCELLED}
            assert list(it.store.violations()) == []

    run(scenario())


def test_children_that_completed_are_undone_with_their_parent(tmp_path: Path) -> None:
    async def scenario() -> None:
        worker = FakeWorker({"last": [FAILURE]}, task_types=TYPES)
        async with engine(tmp_path / "a.db", worker) as it:
            child = with_undo(task("a"), task("b"), flow_id="child")["flow"]
            items = {"flow": child, "items": [1, 2, 3]}
            parent = await it.started(document(task("for_each", items), task("c", name="last")))

            await it.go_on()

            assert end(it, parent) == (ExecutionStatus.FAILED, "task.failed")
            assert it.tasks(parent) == ["task1:success", "last:failure", "task1:success"]
            for child_of_it in it.store.children(parent):
                assert end(it, child_of_it.execution_id) == (
                    ExecutionStatus.CANCELLED,
                    "execution.compensated",
                )
                assert it.tasks(child_of_it.execution_id)[2:] == ["undo:success", "undo:success"]
            assert (it.store.open_executions(), list(it.store.violations())) == (0, [])

    run(scenario())


@pytest.mark.parametrize("items", [[], [1, 2]])
def test_a_list_of_which_nothing_completed_is_undone_at_once(tmp_path: Path, items: list[int]) -> None:
    async def scenario() -> None:
        worker = FakeWorker({"task1": [FAILURE, FAILURE], "last": [FAILURE]}, task_types=TYPES)
        async with engine(tmp_path / "a.db", worker) as it:
            child = with_undo(task("a"), flow_id="child")["flow"]
            each = task("for_each", {"flow": child, "items": items, "tolerate": 2}, name="each")
            parent = await it.started(document(each, task("c", name="last")))

            await it.go_on()

            assert end(it, parent) == (ExecutionStatus.FAILED, "task.failed")
            assert it.tasks(parent) == ["each:success", "last:failure", "each:success"]
            assert it.store.open_executions() == 0

    run(scenario())


# -- races


class InstantWorker(FakeWorker):
    """Gives its loop a few turns before each result."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    async def run(self, order: AttemptOrder) -> AttemptResult:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)
        return await super().run(order)


async def sent(it: Engine, execution_id: str) -> bool:
    """Whether a cancellation could be sent."""
    try:
        await it.cancel(execution_id)
    except ExecutionOver:
        return False
    return True


def test_of_a_cancellation_and_a_completion_one_wins_and_everybody_is_told_the_same(tmp_path: Path) -> None:
    chance, told = random.Random(7), Counter[bool]()

    async def scenario() -> None:
        store = SqliteStore(tmp_path / "a.db", "relaxed")
        async with engine(tmp_path / "a.db", InstantWorker(chance), store=store) as it:
            for _ in range(200):
                waiter = it.start(document(task("a"), task("b")))
                while not waiter.execution_id:
                    await asyncio.sleep(0)
                for _ in range(chance.randrange(chance.choice((12, 400)))):
                    await asyncio.sleep(0)

                was_sent = await sent(it, waiter.execution_id)
                await it.go_on()

                told[was_sent] += 1
                status = ExecutionStatus.CANCELLED if was_sent else ExecutionStatus.COMPLETED
                assert it.view(waiter.execution_id).status is status
                assert waiter.view is not None
                assert waiter.view.status is status
                history = it.store.history(waiter.execution_id)
                assert sum(isinstance(event, ExecutionEnded) for event in history) == 1
                assert any(isinstance(event, ExecutionEnding) for event in history) is was_sent
            assert (store.open_executions(), list(store.violations())) == (0, [])

    run(scenario())
    assert min(told[True], told[False]) > 10, told


def test_of_many_who_cancel_while_it_completes_all_are_told_the_truth(tmp_path: Path) -> None:
    chance = random.Random(11)

    async def scenario() -> None:
        store = SqliteStore(tmp_path / "a.db", "relaxed")
        async with engine(tmp_path / "a.db", InstantWorker(chance), store=store) as it:
            for _ in range(50):
                waiter = it.start(document(task("a"), task("b"), task("c")))
                while not waiter.execution_id:
                    await asyncio.sleep(0)
                answers = []
                for _ in range(5):
                    for _ in range(chance.randrange(100)):
                        await asyncio.sleep(0)
                    answers.append(asyncio.ensure_future(sent(it, waiter.execution_id)))
                told = await asyncio.gather(*answers)
                await it.go_on()

                is_cancelled = it.view(waiter.execution_id).status is ExecutionStatus.CANCELLED
                assert any(told) is is_cancelled
                assert told == sorted(told, reverse=True)

    run(scenario())


@pytest.mark.parametrize("order", ["the signal first", "the cancellation first"])
def test_a_signal_and_a_cancellation_at_once_end_as_cancelled(tmp_path: Path, order: str) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            for turns in range(50):
                waiting = await it.started(document(task("signal", {"name": "paid"}), task("signal")))
                first, second = it.send(waiting, "paid"), it.cancel(waiting)
                both = [first, second] if order == "the signal first" else [second, first]
                sending = asyncio.gather(*both)
                for _ in range(turns):
                    await asyncio.sleep(0)
                await it.orchestrator.poller.look()
                await sending
                await it.go_on()
                assert end(it, waiting) == CANCELLED

    run(scenario())


def test_a_cancellation_in_the_moment_of_the_claim_interrupts_as_well(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            for turns in range(30):
                waiting = await it.started(document(task("wait", {"for": 1}), task("b")))
                it.worker.gates["task2"] = asyncio.Event()
                it.clock.advance(1)

                looking = asyncio.ensure_future(it.orchestrator.poller.look())
                for _ in range(turns):
                    await asyncio.sleep(0)
                await it.cancel(waiting)
                await looking
                await it.go_on()  # nobody opens the gate

                assert end(it, waiting) == CANCELLED

    run(scenario())


def test_a_parent_that_is_cancelled_in_the_moment_its_child_ends_has_one_end(tmp_path: Path) -> None:
    chance, ends = random.Random(3), Counter[str]()

    async def scenario() -> None:
        store = SqliteStore(tmp_path / "a.db", "relaxed")
        async with engine(tmp_path / "a.db", InstantWorker(chance), store=store) as it:
            it.orchestrator.run_loops()
            child = document(task("a"), task("b"), flow_id="child")["flow"]
            for _ in range(60):
                waiter = it.start(document(task("flow", {"flow": child})))
                while not waiter.execution_id:
                    await asyncio.sleep(0)
                parent = waiter.execution_id
                for _ in range(chance.randrange(chance.choice((40, 1_500)))):
                    await asyncio.sleep(0)
                was_sent = await sent(it, parent)
                await waiter.told.wait()

                status = it.view(parent).status
                assert status is (ExecutionStatus.CANCELLED if was_sent else ExecutionStatus.COMPLETED)
                (child_of_it,) = store.children(parent)
                ends[f"{status}, {child_of_it.status}"] += 1
            assert (store.open_executions(), list(store.violations())) == (0, [])

    run(scenario())
    assert set(ends) <= {"cancelled, cancelled", "cancelled, completed", "completed, completed"}
    assert len(ends) > 1


# -- whatever happens


def test_a_cancellation_that_nobody_took_up_before_the_end_of_the_engine_is_taken_up_by_the_next(
    tmp_path: Path,
) -> None:
    clock = FakeClock()

    async def before() -> str:
        async with engine(tmp_path / "a.db", FakeWorker(task_types=TYPES), clock) as it:
            waiting = await it.started(with_undo(task("a"), task("signal")))
            await it.cancel(waiting, "no more")
            return waiting

    async def after(waiting: str) -> None:
        async with engine(tmp_path / "a.db", FakeWorker(task_types=TYPES), clock) as it:
            await it.go_on()
            assert it.tasks(waiting) == ["task1:success", "task2:cancelled", "undo:success"]
            assert end(it, waiting) == CANCELLED

    run(after(asyncio.run(before())))


def test_a_compensation_goes_on_after_the_end_of_the_engine(tmp_path: Path) -> None:
    clock = FakeClock()

    async def before() -> str:
        async with engine(tmp_path / "a.db", FakeWorker(task_types=TYPES), clock) as it:
            running = await it.held(with_undo(task("a"), task("b"), task("c")), "task3")
            it.worker.gates["undo"] = asyncio.Event()
            await it.cancel(running)
            while it.worker.orders[-1].task != "undo":
                await asyncio.sleep(0.001)
            return running

    async def after(running: str) -> None:
        async with engine(tmp_path / "a.db", FakeWorker(task_types=TYPES), clock) as it:
            await it.go_on()
            assert it.tasks(running)[2:] == [
                "task3:cancelled", "undo:released", "undo:success", "undo:success",
            ]  # fmt: skip
            assert end(it, running) == CANCELLED

    run(after(asyncio.run(before())))


def test_too_many_signals_are_refused_and_the_execution_can_still_be_cancelled(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = SqliteStore(tmp_path / "a.db", "relaxed")
        async with engine(tmp_path / "a.db", store=store) as it:
            waiting = await it.started(document(task("signal", {"name": "paid"})))
            await asyncio.gather(*(it.send(waiting, "other") for _ in range(2_000)))

            with pytest.raises(TooMuchMail):
                await it.send(waiting, "paid")
            await it.cancel(waiting)
            await it.go_on()

            assert end(it, waiting) == CANCELLED

    run(scenario())


def test_an_attempt_that_is_cancelled_before_its_body_starts_never_starts_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            bodies = Counter[str]()
            it.worker.on_run = lambda order: bodies.update([order.execution_id])
            for turns in range(60):
                waiter = it.start(document(task("a"), task("signal")))
                while not waiter.execution_id:
                    await asyncio.sleep(0)
                for _ in range(turns):
                    await asyncio.sleep(0)
                await it.cancel(waiter.execution_id)
                await it.go_on()
                history = it.store.history(waiter.execution_id)
                starts = sum(isinstance(event, AttemptStarted) and event.wait is None for event in history)
                cancelled = sum(isinstance(event, AttemptCancelled) for event in history)
                assert starts - cancelled <= bodies[waiter.execution_id] <= starts
                assert it.view(waiter.execution_id).status is ExecutionStatus.CANCELLED

    run(scenario())


def test_a_body_that_cannot_be_interrupted_does_not_hold_up_the_end(tmp_path: Path) -> None:
    class StubbornWorker(FakeWorker):
        async def run(self, order: AttemptOrder) -> AttemptResult:
            self.orders.append(order)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return SUCCESS  # whatever it was told
            return FAILURE

    async def scenario() -> None:
        async with engine(tmp_path / "a.db", StubbornWorker()) as it:
            waiter = it.start(document(task("a"), task("b")))
            while not it.worker.orders:
                await asyncio.sleep(0.001)

            await it.cancel(waiter.execution_id)
            await it.settle()

            assert end(it, waiter.execution_id) == CANCELLED
            assert len(it.worker.orders) == 1

    run(scenario())


def test_a_cancelled_execution_that_waits_for_its_child_tells_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        worker = FakeWorker(task_types=TYPES)
        async with engine(tmp_path / "a.db", worker) as it:
            child = with_undo(task("a"), task("signal"), flow_id="child")["flow"]
            parent = await it.started(document(task("flow", {"flow": child})))
            await it.go_on()
            it.worker.gates["undo"] = asyncio.Event()

            await it.cancel(parent)
            await it.look()
            looking = asyncio.ensure_future(it.look())
            while it.worker.orders[-1].task != "undo":
                await asyncio.sleep(0.001)

            view = it.view(parent)
            assert view.status is ExecutionStatus.COMPENSATING
            assert view.wake is not None
            assert view.wake.reason is WakeReason.CHILDREN
            it.worker.gates["undo"].set()
            await looking
            await it.go_on()
            assert end(it, parent) == CANCELLED

    run(scenario())
