"""Bodies on the loop and in threads: what comes of them, and what they cannot do to the others."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from flow_manager.ports.worker import AttemptResult
from flow_manager.tasks.context import TaskContext
from flow_manager.tasks.processes import ProcessPool
from flow_manager.tasks.registry import TaskRegistry
from flow_manager.tasks.worker import TaskWorker
from tests.support.orders import order
from tests.support.process_tasks import UNSTORABLE, unstorable

MOST = 256 << 10

Scenario = Callable[[TaskWorker], Awaitable[None]]


class Bodies(TaskRegistry):
    """Tasks that do as their input says, and doors that a test opens for them."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()
        self.begun = threading.Semaphore(0)
        self.seen_cancelled: list[bool] = []
        for task in (self.thread, self.loop, self.block, self.block_async, self.stubborn, self.coroutine):
            self.register(task.__name__, task)

    def thread(self, context: TaskContext) -> Any:
        return act(context)

    async def loop(self, context: TaskContext) -> Any:
        await asyncio.sleep(0)
        return act(context)

    def coroutine(self, context: TaskContext) -> Any:
        return self.loop(context)

    def block(self, context: TaskContext) -> None:
        self.begun.release()
        assert self.opened.wait(20)
        self.seen_cancelled.append(context.is_cancelled)

    async def block_async(self, context: TaskContext) -> None:
        await asyncio.sleep(20)

    async def stubborn(self, context: TaskContext) -> None:
        for _ in range(2):
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                self.seen_cancelled.append(context.is_cancelled)


RAISED: dict[str, BaseException] = {
    "ValueError": ValueError("no such order"),
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "CancelledError": asyncio.CancelledError(),
}


def act(context: TaskContext) -> Any:
    wish = context.task_input
    if "raise" in wish:
        raise RAISED[wish["raise"]]
    return unstorable(wish["return"]) if "return" in wish else {"thread": threading.current_thread().name}


@pytest.fixture
def bodies() -> Iterator[Bodies]:
    made = Bodies()
    yield made
    made.opened.set()


def play(bodies: Bodies, scenario: Scenario, threads: int = 2) -> None:
    async def main() -> None:
        processes = ProcessPool(bodies, size=1, most_result=MOST)
        worker = TaskWorker(bodies, threads=threads, processes=processes, most_result=MOST)
        try:
            await scenario(worker)
        finally:
            bodies.opened.set()
            await worker.stop()

    asyncio.run(main())


def run_one(bodies: Bodies, task: str, wish: dict[str, Any] | None = None, **more: Any) -> AttemptResult:
    results: list[AttemptResult] = []

    async def scenario(worker: TaskWorker) -> None:
        results.append(await worker.run(order(task, wish, **more)))

    play(bodies, scenario)
    return results[0]


def test_a_plain_body_runs_in_a_thread_and_an_async_one_on_the_loop(bodies: Bodies) -> None:
    assert run_one(bodies, "thread").data == {"thread": "flow-manager-task-1"}
    assert run_one(bodies, "loop").data == {"thread": threading.current_thread().name}


@pytest.mark.parametrize("timeout", [None, 20.0])
@pytest.mark.parametrize("task", ["thread", "loop"])
@pytest.mark.parametrize("what", RAISED)
def test_whatever_a_body_raises_is_its_failure(
    bodies: Bodies, task: str, what: str, timeout: float | None
) -> None:
    result = run_one(bodies, task, {"raise": what}, timeout=timeout)

    assert (result.outcome, result.is_lost) == ("failure", False)
    assert result.error is not None
    assert result.error.details == {"exception": what}


def test_the_log_shows_where_a_body_raised(bodies: Bodies, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flow_manager.task")

    run_one(bodies, "thread", {"raise": "ValueError"})

    [record] = caplog.records
    assert record.__dict__["execution_id"] == "e1"
    assert 'raise RAISED[wish["raise"]]' in caplog.text


@pytest.mark.parametrize("task", ["thread", "loop"])
@pytest.mark.parametrize(("what", "code", "pointer"), UNSTORABLE)
def test_a_result_that_cannot_be_stored_is_a_failure_that_says_where(
    bodies: Bodies, task: str, what: str, code: str, pointer: str
) -> None:
    error = run_one(bodies, task, {"return": what}).error

    assert error is not None
    assert (error.code, error.retryable, error.details) == (code, False, {"pointer": pointer})


def test_a_plain_body_that_returns_a_coroutine_has_failed(bodies: Bodies) -> None:
    assert "async def" in run_one(bodies, "coroutine").message


def test_a_task_type_that_is_not_registered_is_a_failed_attempt(bodies: Bodies) -> None:
    error = run_one(bodies, "elsewhere").error

    assert error is not None
    assert error.code == "task.not_started"


@pytest.mark.parametrize("task", ["block", "block_async", "stubborn"])
def test_a_result_is_there_at_the_timeout_whatever_the_body_does(bodies: Bodies, task: str) -> None:
    took: list[float] = []

    async def scenario(worker: TaskWorker) -> None:
        began = time.monotonic()
        result = await worker.run(order(task, timeout=0.1))
        took.append(time.monotonic() - began)
        assert (result.outcome, result.message) == ("timeout", "the attempt did not end within 0.1 s")

    play(bodies, scenario)

    assert 0.1 <= took[0] < 1.0


@pytest.mark.parametrize("task", ["block", "block_async"])
def test_an_attempt_without_time_does_not_start(bodies: Bodies, task: str) -> None:
    assert run_one(bodies, task, timeout=0.0).outcome == "timeout"
    assert not bodies.begun.acquire(blocking=False)


def test_a_body_that_ignores_its_timeout_keeps_its_thread_and_the_log_names_it(
    bodies: Bodies, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(worker: TaskWorker) -> None:
        await worker.run(order("block", timeout=0.05))
        waiting = asyncio.ensure_future(worker.run(order("thread")))
        await asyncio.wait((waiting,), timeout=0.1)
        assert not waiting.done()

        bodies.opened.set()
        assert (await waiting).data == {"thread": "flow-manager-task-1"}

    play(bodies, scenario, threads=1)

    [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "the body of task charge goes on" in record.getMessage()
    assert "1 of 1 threads" in record.getMessage()
    assert bodies.seen_cancelled == [True]


def test_the_time_of_an_attempt_starts_with_its_body_and_not_in_the_queue(bodies: Bodies) -> None:
    async def scenario(worker: TaskWorker) -> None:
        first = asyncio.ensure_future(worker.run(order("block")))
        second = asyncio.ensure_future(worker.run(order("thread", timeout=0.1)))
        await asyncio.wait((second,), timeout=0.4)
        assert not second.done()

        bodies.opened.set()
        assert (await second).outcome == "success"
        assert (await first).outcome == "success"

    play(bodies, scenario, threads=1)


def test_a_cancelled_attempt_leaves_a_body_in_a_thread_behind(bodies: Bodies) -> None:
    async def scenario(worker: TaskWorker) -> None:
        attempt = asyncio.ensure_future(worker.run(order("block")))
        await asyncio.to_thread(bodies.begun.acquire, timeout=5)
        attempt.cancel()
        await asyncio.wait((attempt,), timeout=5)
        assert attempt.cancelled()

        bodies.opened.set()
        assert (await worker.run(order("thread"))).outcome == "success"

    play(bodies, scenario, threads=1)

    assert bodies.seen_cancelled == [True]


def test_an_attempt_that_is_cancelled_in_the_queue_never_starts(bodies: Bodies) -> None:
    async def scenario(worker: TaskWorker) -> None:
        attempts = [asyncio.ensure_future(worker.run(order("block"))) for _ in range(3)]
        await asyncio.to_thread(bodies.begun.acquire, timeout=5)
        for attempt in attempts[1:]:
            attempt.cancel()
        await asyncio.wait(attempts[1:], timeout=5)
        bodies.opened.set()
        assert (await attempts[0]).outcome == "success"
        assert (await worker.run(order("thread"))).outcome == "success"

    play(bodies, scenario, threads=1)

    assert bodies.seen_cancelled == [False]


@pytest.mark.parametrize("timeout", [None, 20.0])
def test_cancelling_an_attempt_on_the_loop_cancels_its_body(bodies: Bodies, timeout: float | None) -> None:
    async def scenario(worker: TaskWorker) -> None:
        attempt = asyncio.ensure_future(worker.run(order("block_async", timeout=timeout)))
        await asyncio.sleep(0.01)
        attempt.cancel()
        await asyncio.wait((attempt,), timeout=5)
        assert attempt.cancelled()

    play(bodies, scenario)


def test_a_thousand_bodies_share_a_few_threads(bodies: Bodies) -> None:
    async def scenario(worker: TaskWorker) -> None:
        results = await asyncio.gather(*(worker.run(order("thread", timeout=20.0)) for _ in range(1000)))
        assert {result.outcome for result in results} == {"success"}
        assert len({result.data["thread"] for result in results}) <= 4

    play(bodies, scenario, threads=4)


def test_an_idle_thread_is_used_before_another_is_started(bodies: Bodies) -> None:
    async def scenario(worker: TaskWorker) -> None:
        results = [await worker.run(order("thread")) for _ in range(10)]
        assert len({result.data["thread"] for result in results}) == 1

    play(bodies, scenario, threads=4)


def test_where_no_thread_can_be_started_the_attempt_has_failed(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def scenario(worker: TaskWorker) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            result = await worker.run(order("thread"))
        assert result.error is not None
        assert result.error.code == "task.not_started"
        assert (await worker.run(order("thread"))).outcome == "success"

    play(bodies, scenario)

    assert "can't start new thread" in caplog.text


def test_stopping_cancels_what_waits_and_tells_what_runs(bodies: Bodies) -> None:
    async def scenario(worker: TaskWorker) -> None:
        attempts = [asyncio.ensure_future(worker.run(order("block"))) for _ in range(2)]
        await asyncio.to_thread(bodies.begun.acquire, timeout=5)

        await worker.stop()
        await asyncio.wait(attempts, timeout=5)

        assert all(attempt.cancelled() for attempt in attempts)
        late = asyncio.ensure_future(worker.run(order("thread")))
        await asyncio.wait((late,), timeout=5)
        assert late.cancelled()

    play(bodies, scenario, threads=1)
