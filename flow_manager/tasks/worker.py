"""The worker of this process: async bodies on the loop, plain ones in threads, others in processes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Container, Coroutine
from typing import Any

from flow_manager.ports.worker import AttemptOrder, AttemptResult
from flow_manager.tasks.context import Cancellation, TaskContext
from flow_manager.tasks.outcome import (
    NOT_STARTED,
    from_exception,
    from_return,
    from_silence,
    from_timeout,
    misfit_of,
    not_started,
    raised,
)
from flow_manager.tasks.processes import ProcessPool
from flow_manager.tasks.registry import RegisteredTask, TaskRegistry
from flow_manager.tasks.threads import Job, ThreadPool

log = logging.getLogger(__name__)


class TaskWorker:
    """Implements `ports.worker.Worker` for the tasks of a registry.

    `threads` bounds the plain bodies that run at once, `processes` the isolated ones. A thread
    whose body ignores its timeout stays occupied until the body returns; that is logged.
    """

    def __init__(
        self, registry: TaskRegistry, *, threads: int, processes: ProcessPool, most_result: int
    ) -> None:
        self._registry = registry
        self._threads = ThreadPool(threads, "flow-manager-task")
        self._processes = processes
        self._most_result = most_result
        self._left: set[asyncio.Task[AttemptResult]] = set()

    @property
    def task_types(self) -> Container[str]:
        return self._registry

    def run(self, order: AttemptOrder) -> Awaitable[AttemptResult]:
        task = self._registry.get(order.task_type)
        if task is None:
            return _at_once(not_started(f"no task of type {order.task_type!r} is registered"))
        within = order.within
        if within is not None and within <= 0:
            return _at_once(from_timeout(within))
        if task.input_model is not None and not task.checks_its_input:
            misfit = misfit_of(task.input_model, order.task_input)
            if misfit is not None:
                return _at_once(misfit)
        cancellation = Cancellation()
        call = self._call(task, order, cancellation)
        return call if order.silence is None else self._listen(call, order.silence, cancellation)

    def _call(
        self, task: RegisteredTask, order: AttemptOrder, cancellation: Cancellation
    ) -> Coroutine[Any, Any, AttemptResult]:
        if order.isolated and task.runs != "process" and task.source.can_be_found_again:
            return self._isolate(task, order, cancellation)
        return self._run(task, order, cancellation)

    def _run(
        self, task: RegisteredTask, order: AttemptOrder, cancellation: Cancellation
    ) -> Coroutine[Any, Any, AttemptResult]:
        if task.runs == "thread":
            body = ThreadBody(self._threads, task, TaskContext(order, cancellation), self._most_result)
            return self._threads.run(body, order.timeout, order.time_left)
        if task.runs == "process":
            return self._processes.run(order, cancellation)
        call, within = self._await(task, TaskContext(order, cancellation)), order.within
        return call if within is None else self._await_within(call, within, cancellation)

    async def _listen(
        self, call: Coroutine[Any, Any, AttemptResult], silence: float, cancellation: Cancellation
    ) -> AttemptResult:
        """Wait for the body as long as its heart beats. Until it has started, it need not."""
        attempt = asyncio.get_running_loop().create_task(call)
        try:
            while not attempt.done():
                beat_at = cancellation.beat_at
                left = silence if beat_at is None else beat_at + silence - time.monotonic()
                if left <= 0:
                    self._leave(attempt, cancellation)
                    return from_silence(silence)
                await asyncio.wait((attempt,), timeout=left)
        except asyncio.CancelledError:
            self._leave(attempt, cancellation)
            raise
        return from_exception(asyncio.CancelledError()) if attempt.cancelled() else attempt.result()

    async def _isolate(
        self, task: RegisteredTask, order: AttemptOrder, cancellation: Cancellation
    ) -> AttemptResult:
        """In a child; or here, if the child cannot import what was made for this process."""
        result = await self._processes.run(order, cancellation)
        if result.error is None or result.error.code != NOT_STARTED:
            return result
        log.warning("task %s cannot be isolated: %s", order.task, result.message)
        return await self._run(task, order, cancellation)

    async def stop(self) -> None:
        for body in self._left:
            body.cancel()
        self._threads.stop()
        await self._processes.stop()

    async def _await(self, task: RegisteredTask, context: TaskContext) -> AttemptResult:
        """The edge of an attempt on the loop. A cancellation that came from outside goes through."""
        try:
            context.heartbeat()
            body: Callable[[TaskContext], Awaitable[Any]] = task.new_body()
            return from_return(await body(context), self._most_result)
        except BaseException as error:
            current = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and current is not None and current.cancelling():
                raise
            return raised(error, context)

    async def _await_within(
        self, body: Coroutine[Any, Any, AttemptResult], timeout: float, cancellation: Cancellation
    ) -> AttemptResult:
        """Wait for the body no longer than its timeout. One that does not stop is left behind, so
        that nothing it does or refuses to do can hold the execution."""
        attempt = asyncio.get_running_loop().create_task(body)
        try:
            await asyncio.wait((attempt,), timeout=timeout)
        except asyncio.CancelledError:
            if attempt.done() and not attempt.cancelled():
                return attempt.result()  # it came together with the cancellation, and counts
            self._leave(attempt, cancellation)
            raise
        if not attempt.done():
            self._leave(attempt, cancellation)
            return from_timeout(timeout)
        return from_exception(asyncio.CancelledError()) if attempt.cancelled() else attempt.result()

    def _leave(self, attempt: asyncio.Task[AttemptResult], cancellation: Cancellation) -> None:
        cancellation.set()
        attempt.cancel()
        self._left.add(attempt)  # the loop itself does not keep a task alive
        attempt.add_done_callback(self._left.discard)


class ThreadBody(Job):
    """An attempt whose body is a plain function, in a thread of this process."""

    __slots__ = ("_context", "_most_result", "_pool", "_task")

    def __init__(
        self, pool: ThreadPool, task: RegisteredTask, context: TaskContext, most_result: int
    ) -> None:
        super().__init__()
        self._pool = pool
        self._task = task
        self._context = context
        self._most_result = most_result

    def work(self) -> AttemptResult:
        """The edge of an attempt in a thread: whatever a body raises is its result."""
        self.started_at = time.monotonic()
        context = self._context
        context.heartbeat()
        try:
            return from_return(self._task.new_body()(context), self._most_result)
        except BaseException as error:
            return raised(error, context)

    def cancel(self) -> None:
        self._context.cancel()
        if self.started_at is not None:
            self._context.logger.warning(
                "the body of task %s goes on though nobody waits for it; its thread is not free until it "
                "returns (%s are held like this)",
                self._context.task_name,
                self._pool.held,
            )


async def _at_once(result: AttemptResult) -> AttemptResult:
    return result
