"""The worker of this process: async bodies on the loop, plain ones in threads, others in processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flow_manager.ports.worker import AttemptOrder, AttemptResult
from flow_manager.tasks.context import Cancellation, TaskContext
from flow_manager.tasks.outcome import from_exception, from_return, from_timeout
from flow_manager.tasks.processes import ProcessPool
from flow_manager.tasks.registry import RegisteredTask, TaskRegistry

log = logging.getLogger(__name__)


class TaskWorker:
    """Implements `ports.worker.Worker` for the tasks of a registry.

    `threads` bounds the plain bodies that run at once, `processes` the isolated ones. A thread
    whose body ignores its timeout stays occupied until the body returns; that is logged.
    """

    def __init__(self, registry: TaskRegistry, *, threads: int, processes: ProcessPool, most_result: int) -> None:
        self._registry = registry
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="flow-manager-task")
        self._processes = processes
        self._most_result = most_result

    @property
    def task_types(self) -> Container[str]:
        return self._registry

    async def run(self, order: AttemptOrder) -> AttemptResult:
        task = self._registry[order.task.type]
        if task.runs == "process":
            return await self._processes.run(order)
        cancellation = Cancellation()
        context = new_context(order, cancellation)
        if task.runs == "thread":
            call = asyncio.get_running_loop().run_in_executor(self._pool, self._call, task, context)
            return await _bounded(call, order, cancellation)
        if order.timeout is None:
            return await self._await(task, context)
        attempt = asyncio.ensure_future(self._await(task, context))
        return await _bounded(attempt, order, cancellation)

    def _call(self, task: RegisteredTask, context: TaskContext) -> AttemptResult:
        """The edge of an attempt in a thread: whatever a body raises is its result."""
        try:
            return from_return(task.new_body()(context), self._most_result)
        except BaseException as error:
            return from_exception(error)

    async def _await(self, task: RegisteredTask, context: TaskContext) -> AttemptResult:
        """The edge of an attempt on the loop. A cancellation that came from outside goes through."""
        try:
            body: Callable[[TaskContext], Awaitable[Any]] = task.new_body()
            return from_return(await body(context), self._most_result)
        except BaseException as error:
            current = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and current is not None and current.cancelling():
                raise
            return from_exception(error)

    async def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        await self._processes.stop()


def new_context(order: AttemptOrder, cancellation: Cancellation) -> TaskContext:
    """The context of an attempt, made of its order."""
    return TaskContext(
        execution_id=order.execution_id,
        flow_id=order.flow_id,
        task_name=order.task.name,
        run=order.run,
        attempt=order.attempt,
        input=order.input,
        task_input=order.task.input,
        attempts=order.attempts,
        cancellation=cancellation,
    )


async def _bounded(
    attempt: asyncio.Future[AttemptResult], order: AttemptOrder, cancellation: Cancellation
) -> AttemptResult:
    """Wait for the attempt no longer than its timeout. A body that does not stop is left behind,
    so that nothing it does or refuses to do can hold the execution."""
    try:
        done, _ = await asyncio.wait((attempt,), timeout=order.timeout)
    except asyncio.CancelledError:
        _abandon(attempt, order, cancellation)
        raise
    if done:
        return attempt.result()
    _abandon(attempt, order, cancellation)
    return from_timeout(order.timeout or 0.0)


def _abandon(attempt: asyncio.Future[AttemptResult], order: AttemptOrder, cancellation: Cancellation) -> None:
    cancellation.set()
    if not attempt.cancel():
        return
    log.debug("told task %s of execution %s to stop", order.task.name, order.execution_id)


