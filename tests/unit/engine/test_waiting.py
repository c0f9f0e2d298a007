"""Waits on a real store: what waits holds no thread and no memory, and goes on when its time has come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flow_manager.core.children import Children
from flow_manager.core.states import FAR_AWAY, ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.errors import StoreFull
from flow_manager.ports.store import Claim, Claimed, NewExecution, Step
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.documents import document, task
from tests.support.engine import Engine, engine
from tests.support.fakes import FAILURE, FakeClock, FakeWorker

WAITS = document(task("a"), task("wait", {"for": "1h"}), task("b"))
ASKS = document(
    task("signal", {"name": "paid", "timeout": "1h"}), task("b", {"sum": "${results.task1.data.payload.sum}"})
)
CHILD = document(task("a"), flow_id="child", output={"item": "${input.item}", "twice": "${input.item * 2}"})[
    "flow"
]
PARENT = document(task("flow", {"flow": CHILD, "input": {"item": "${input.item}"}}), task("b"))


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 40))


def for_each(items: Any, flow: dict[str, Any] = CHILD, **input: Any) -> dict[str, Any]:
    """A parent with a child for each item, and with their results as its output."""
    return document(
        task("for_each", {"flow": flow, "items": items, **input}),
        flow_id="parent",
        output={"results": "${results.task1.data.results}"},
    )


# -- a time


def test_a_wait_is_parked_without_a_trace_in_memory_and_is_never_early(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            waiting = await it.started(WAITS)
            until = it.clock.now() + timedelta(hours=1)
            assert it.orchestrator.running == 0
            assert it.view(waiting).wake == Wake(WakeReason.DUE, until)

            it.clock.advance(3599.5)
            nap = await it.look()
            assert it.tasks(waiting) == ["task1:success", "task2:waiting"]
            assert nap == pytest.approx(0.5)

            it.clock.advance(0.5)
            await it.go_on()
            assert it.tasks(waiting) == ["task1:success", "task2:success", "task3:success"]
            assert it.view(waiting).status is ExecutionStatus.COMPLETED

    run(scenario())


def test_a_thousand_that_wait_are_nothing_to_the_engine_and_all_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db", store=SqliteStore(tmp_path / "a.db", "relaxed")) as it:
            waiters = [it.start(WAITS) for _ in range(1_000)]
            await it.settle()
            assert it.orchestrator.running == 0
            assert len(asyncio.all_tasks()) < 10

            it.clock.advance(3600)
            await it.go_on()
            statuses = {it.view(waiter.execution_id).status for waiter in waiters}
            assert statuses == {ExecutionStatus.COMPLETED}
            assert len(it.worker.orders) == 2_000

    run(scenario())


def test_whoever_waits_for_an_execution_hears_of_its_end_after_all_its_waits(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            waiter = it.start(WAITS)
            await it.settle()
            assert not waiter.told.is_set()

            it.clock.advance(3600)
            await it.go_on()
            assert waiter.view is not None
            assert waiter.view.status is ExecutionStatus.COMPLETED

    run(scenario())


# -- a signal


def test_a_signal_wakes_whoever_waits_for_it_and_nobody_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            first, second = [await it.started(ASKS) for _ in range(2)]
            assert it.orchestrator.running == 0

            await it.send(first, "sent")
            await it.go_on()
            assert it.tasks(first) == ["task1:waiting"]

            await it.send(first, "paid", {"sum": 7})
            await it.go_on()
            assert it.tasks(first) == ["task1:success", "task2:success"]
            assert it.worker.orders[0].task_input == {"sum": 7}
            assert it.tasks(second) == ["task1:waiting"]

    run(scenario())


def test_a_signal_that_came_too_early_is_there_when_it_is_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            running = await it.held(document(task("a"), task("signal", {"name": "paid"}), task("b")))

            await it.send(running, "paid", 1)
            await it.send(running, "paid", 2)
            it.worker.gates["task1"].set()
            await it.go_on()

            view = it.view(running)
            assert view.status is ExecutionStatus.COMPLETED
            assert view.results["task2"].data["payload"] == 1

    run(scenario())


def test_signals_of_one_name_are_taken_by_one_wait_after_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            flow = document(*(task("signal", {"name": "paid"}) for _ in range(5)))
            waiting = await it.started(flow)

            await asyncio.gather(*(it.send(waiting, "paid", number) for number in range(4)))
            await it.go_on()
            assert it.tasks(waiting)[-1] == "task5:waiting"
            await it.send(waiting, "paid", 4)
            await it.go_on()

            payloads = [entry.data["payload"] for entry in it.view(waiting).attempts]
            assert payloads == [0, 1, 2, 3, 4]

    run(scenario())


def test_a_signal_that_does_not_come_in_time_is_a_timeout_that_can_be_routed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            waiting = await it.started(ASKS)

            it.clock.advance(3600)
            await it.go_on()

            view = it.view(waiting)
            assert view.error is not None
            assert (view.status, view.error.code) == (ExecutionStatus.FAILED, "signal.timeout")

    run(scenario())


@pytest.mark.parametrize(
    ("approved", "tasks"), [(True, ["task1:success", "task2:success"]), (False, ["task1:failure"])]
)
def test_an_answer_decides_an_approval(tmp_path: Path, approved: bool, tasks: list[str]) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            asking = await it.started(document(task("approval", {"question": "Pay?"}), task("b")))

            await it.send(asking, "approval/1/1", {"approved": approved}, kind="answer")
            await it.go_on()

            assert it.tasks(asking) == tasks

    run(scenario())


# -- children


def test_a_child_is_an_execution_of_its_own_and_its_end_is_the_result(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            waiter = it.start(PARENT, input={"item": 4})
            await it.settle()
            parent = waiter.execution_id
            assert it.view(parent).wake == Wake(WakeReason.CHILDREN, FAR_AWAY, "task1")

            await it.go_on()

            (child,) = it.store.children(parent)
            view = it.view(child.execution_id)
            assert (view.flow_id, view.input, view.output) == ("child", {"item": 4}, {"item": 4, "twice": 8})
            assert view.parent is not None
            assert view.parent.execution_id == parent
            assert it.view(parent).results["task1"].data == {
                "execution_id": child.execution_id, "status": "completed", "output": {"item": 4, "twice": 8},
                "error": None,
            }  # fmt: skip
            assert it.view(parent).status is ExecutionStatus.COMPLETED

    run(scenario())


def test_a_child_that_fails_fails_its_parent_with_its_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db", FakeWorker({"task1": [FAILURE]})) as it:
            parent = await it.started(PARENT, {"item": 4})

            await it.go_on()

            error = it.view(parent).error
            assert error is not None
            assert error.code == "task.failed"
            assert it.tasks(parent) == ["task1:failure"]

    run(scenario())


@pytest.mark.parametrize(("number", "parallel"), [(40, 1), (500, 7), (500, 500)])
def test_as_many_items_have_as_many_children_and_their_results_in_order(
    tmp_path: Path, number: int, parallel: int
) -> None:
    items, open_at_once = list(range(number)), 0

    async def scenario() -> None:
        nonlocal open_at_once
        store = SqliteStore(tmp_path / "a.db", "relaxed")
        async with engine(tmp_path / "a.db", store=store) as it:
            parent = await it.started(for_each("${input.items}", max_parallel=parallel), {"items": items})
            while it.store.agenda(it.clock.now()).due:
                open_at_once = max(open_at_once, it.store.open_executions() - 1)
                await it.look()

            output = it.view(parent).output
            assert [each["output"]["item"] for each in output["results"]] == items
            assert [each["output"]["twice"] for each in output["results"]] == [2 * item for item in items]
            assert len(it.store.history(parent)) == 5
            assert (it.store.open_executions(), list(it.store.violations())) == (0, [])

    run(scenario())
    assert open_at_once == parallel


def test_a_list_with_a_failure_that_is_not_tolerated_cancels_what_is_open(tmp_path: Path) -> None:
    async def scenario() -> None:
        worker = FakeWorker({"task1": [FAILURE]})
        waits = document(task("a"), task("wait", {"for": "1h"}), flow_id="child")["flow"]
        async with engine(tmp_path / "a.db", worker) as it:
            parent = await it.started(for_each([1, 2, 3, 4, 5], waits, max_parallel=3))

            await it.go_on()

            statuses = [child.status for child in it.store.children(parent)]
            assert sorted(map(str, statuses)) == ["cancelled", "cancelled", "failed"]
            error = it.view(parent).error
            assert error is not None
            assert error.code == "for_each.failed"
            assert it.store.open_executions() == 0

    run(scenario())


def test_children_of_children_end_from_the_inside_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            flow = document(task("a"), flow_id="depth0")["flow"]
            for depth in range(1, 6):
                flow = document(task("flow", {"flow": flow}), flow_id=f"depth{depth}")["flow"]
            outermost = await it.started({"flow": flow})

            await it.go_on()

            assert it.view(outermost).status is ExecutionStatus.COMPLETED
            assert len(it.store.executions()) == 6
            assert it.store.open_executions() == 0

    run(scenario())


def test_the_time_of_a_parent_ends_its_children(tmp_path: Path) -> None:
    async def scenario() -> None:
        waits = document(task("wait", {"for": "1d"}), flow_id="child")["flow"]
        async with engine(tmp_path / "a.db") as it:
            parent = await it.started(document(task("flow", {"flow": waits}), timeout="1h"))
            await it.go_on()

            it.clock.advance(3600)
            await it.go_on()

            error = it.view(parent).error
            assert error is not None
            assert error.code == "flow.timeout"
            assert [child.status for child in it.store.children(parent)] == ["cancelled"]

    run(scenario())


# -- whatever happens


class FullAtTimes(SqliteStore):
    """Says that it is full, every other time that it is asked about children or read again."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "relaxed")
        self.asked = 0

    def look_at_children(
        self, execution_id: str, run: int, attempt: int, with_ends: bool = False
    ) -> Awaitable[Children]:
        return self._at_times(super().look_at_children, execution_id, run, attempt, with_ends)

    def read_again(self, claim: Claim) -> Awaitable[Claimed]:
        return self._at_times(super().read_again, claim)

    async def _at_times(self, ask: Callable[..., Awaitable[Any]], *what: Any) -> Any:
        self.asked += 1
        if self.asked % 2:
            raise StoreFull("no space")
        return await ask(*what)


def test_a_full_store_is_waited_for_and_sends_nobody_to_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flow_manager.engine.execution.FULL_STORE_PATIENCE", 0.001)

    async def scenario() -> None:
        store = FullAtTimes(tmp_path / "a.db")
        async with engine(tmp_path / "a.db", store=store) as it:
            parent = await it.started(PARENT, {"item": 4})
            await it.go_on()
            assert it.view(parent).status is ExecutionStatus.COMPLETED

            running = await it.held(document(task("a")))
            await it.cancel(running)
            await it.settle()
            assert it.view(running).status is ExecutionStatus.CANCELLED

        assert store.asked >= 4

    run(scenario())


def with_undo(flow: dict[str, Any]) -> dict[str, Any]:
    """The same with a task that undoes, beside the way."""
    flow["flow"]["tasks"].append({"name": "undo", "type": "undo"})
    return flow


UNDOABLE = with_undo(document(task("b", compensate_with="undo"), flow_id="child"))["flow"]
EVERYTHING = with_undo(
    document(
        task("a", compensate_with="undo"),
        task("wait", {"for": 10}),
        task("signal", {"name": "paid"}, compensate_with="undo"),
        task("flow", {"flow": UNDOABLE}),
        task("for_each", {"flow": CHILD, "items": [1, 2, 3], "max_parallel": 2}),
        task("fail", {"code": "shop.closed"}),
    )
)


class MortalStore(SqliteStore):
    """The engine that writes to it ends with write number `last`: it dies before that is made, or right
    after; or it is closed meanwhile."""

    def __init__(self, path: Path, last: int, how: str) -> None:
        super().__init__(path, "relaxed")
        self._left = last
        self._how = how
        self.ends = asyncio.Event()

    def start(self, new: NewExecution) -> Awaitable[Claim]:
        return self._mortally(super().start, new)

    def commit(self, step: Step) -> Awaitable[Sequence[str]]:
        return self._mortally(super().commit, step)

    def claim_due(self, now: datetime, limit: int) -> Awaitable[Sequence[Claimed]]:
        return self._mortally(super().claim_due, now, limit)

    async def _mortally(self, write: Callable[..., Awaitable[Any]], *what: Any) -> Any:
        self._left -= 1
        if self._left < (self._how == "dies after it"):
            await self._end()
        answer = await write(*what)
        if self._left <= 0:
            await self._end()
        return answer

    async def _end(self) -> None:
        self.ends.set()
        if self._how != "is closed":  # nothing that it does any more reaches the store, nor the other way
            await asyncio.Event().wait()


async def life(it: Engine, store: MortalStore, how: str) -> None:
    """Of an engine, until it ends or nothing is left to do."""
    living, ending = asyncio.ensure_future(live(it)), asyncio.ensure_future(store.ends.wait())
    await asyncio.wait((living, ending), return_when=asyncio.FIRST_COMPLETED)
    if living.done():
        await living
    work = [] if how == "is closed" else it.orchestrator._running.values()
    for each in (living, ending, *work):
        each.cancel()
    await asyncio.wait((living, ending))


async def live(it: Engine) -> None:
    """Start the flow unless it is there, send what it waits for, and let time pass until it has ended."""
    if root_of(it.store) is None:
        await it.started(EVERYTHING)
    while it.store.open_executions():
        await it.go_on()
        root = root_of(it.store)
        assert root is not None
        if root.wake is not None and root.wake.reason is WakeReason.SIGNAL:
            await it.send(root.execution_id, "paid")
        it.clock.advance(5)


def root_of(store: SqliteStore) -> View | None:
    """The only execution that is nobody's child."""
    found = [one.execution_id for one in store.executions() if one.flow_id == "test"]
    return store.describe(found[0]) if found else None


async def lived(path: Path, last: int, how: str) -> tuple[View, int]:
    """How the flow ended if its first engine ended with write number `last`, and how many it took."""
    clock, worker, lives = FakeClock(), FakeWorker(task_types=frozenset(["a", "b", "undo"])), 0
    while True:
        lives += 1
        store = MortalStore(path, last if lives == 1 else 10_000, how)
        async with engine(path, worker, clock, store=store) as it:
            await life(it, store, how)
        reader = SqliteStore(path)
        assert list(reader.violations()) == []
        root, still_open = root_of(reader), reader.open_executions()
        await reader.stop()
        if root is not None and not still_open:
            return root, lives


@pytest.mark.parametrize("how", ["dies before it", "dies after it", "is closed"])
def test_everything_survives_the_end_of_the_engine_at_any_write(tmp_path: Path, how: str) -> None:
    async def scenario() -> None:
        expected, _ = await lived(tmp_path / "undisturbed.db", 10_000, how)
        assert expected.error is not None
        assert expected.error.code == "shop.closed"
        assert [entry.compensates for entry in expected.attempts if entry.compensates] == [4, 3, 1]
        last, lives = 0, 2
        while lives > 1:
            last += 1
            view, lives = await lived(tmp_path / f"{last}.db", last, how)
            assert view.error == expected.error
            assert done(view) == done(expected)
            assert len(view.attempts) <= len(expected.attempts) + 1
        assert last > 25

    run(scenario())


def done(view: View) -> list[tuple[str, int, str, int]]:
    """What was done, without what was lost or given back on the way."""
    kept = [entry for entry in view.attempts if entry.status not in ("lost", "released")]
    return [(entry.task, entry.run, entry.status, entry.compensates) for entry in kept]
