"""Bodies in processes of their own: for code that uses the CPU for long, or may crash.

Each attempt occupies a thread of the pool, which does the waiting, and a child, which does the
work. A child runs one attempt at a time, is used again, and ends when this process ends.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from asyncio import get_running_loop, to_thread
from collections import deque
from typing import Final

import msgspec

from flow_manager.ports.worker import AttemptOrder, AttemptResult
from flow_manager.tasks.child_process import START_PATIENCE, Child
from flow_manager.tasks.context import Cancellation
from flow_manager.tasks.messages import Run, TooLong
from flow_manager.tasks.outcome import from_loss, not_started, unreadable
from flow_manager.tasks.registry import TaskRegistry
from flow_manager.tasks.threads import Job, ThreadPool

KILL_PATIENCE: Final = 5.0
"""Seconds between asking a child to end and ending it."""
STOP_PATIENCE: Final = 2.0
"""Seconds for all threads of a stopped pool to end, when their children have been killed."""
CANCELLED: Final = "the attempt was cancelled before its body started"
MESSAGE_ROOM: Final = 1 << 20
"""Bytes of a message beside the data of a result: texts, and the lines of a log."""


class ProcessPool:
    """At most `size` children, started when needed. `most_result` is in bytes of JSON."""

    def __init__(
        self, registry: TaskRegistry, *, size: int, most_result: int, interpreter: str = sys.executable
    ) -> None:
        self._registry = registry
        self._most_result = most_result
        self._interpreter = interpreter
        self._threads = ThreadPool(size, "flow-manager-child")
        self._idle: deque[Child] = deque()
        self._children: set[Child] = set()
        self._is_stopped = False

    async def run(self, order: AttemptOrder, cancellation: Cancellation) -> AttemptResult:
        """Run one attempt. Its time starts when a child is ready for it; `cancellation` gets its
        heartbeats."""
        source = self._registry[order.task_type].source
        body = ChildBody(self, Run(source, order, self._most_result), cancellation)
        return await self._threads.run(body, order.timeout, order.time_left)

    async def stop(self) -> None:
        """End all children."""
        self._is_stopped = True
        self._threads.stop()
        await to_thread(self._end_all)

    def _end_all(self) -> None:
        for child in list(self._children):
            child.kill()
        self._threads.join(STOP_PATIENCE)
        while self._idle:
            self.give_up(self._idle.pop())

    def take(self) -> Child:
        """A child that waits for work, or a new one. Raises `OSError` if none can be started."""
        while self._idle:
            child = self._idle.pop()
            if child.is_alive:
                return child
            self.give_up(child)
        child = Child(self._interpreter, 2 * self._most_result + MESSAGE_ROOM)
        self._children.add(child)
        if self._is_stopped:
            self.give_up(child)
            raise OSError("the service is stopping")
        return child

    def put_back(self, child: Child) -> None:
        self._idle.append(child)

    def give_up(self, child: Child) -> int:
        """End a child; the answer is its exit code."""
        self._children.discard(child)
        return child.end()


class ChildBody(Job):
    """An attempt whose body runs in a child."""

    __slots__ = ("_cancellation", "_child", "_pool", "_request")

    def __init__(self, pool: ProcessPool, request: Run, cancellation: Cancellation) -> None:
        super().__init__()
        self._cancellation = cancellation
        self._pool = pool
        self._request = request
        self._child: Child | None = None

    def work(self) -> AttemptResult:
        result = None
        try:
            while result is None and not self.is_left:
                result = self._work_with(self._pool.take())
        except (OSError, ValueError) as error:
            return not_started(f"no process could be started for the task body: {error}")
        return result or not_started(CANCELLED)

    def _work_with(self, child: Child) -> AttemptResult | None:
        """The result; or None if the child turns out to have died while it waited for work."""
        child.own(self)
        self._child = child
        was_waiting = child.has_answered
        try:
            result, is_last = self._talk(child)
        except (EOFError, BrokenPipeError):
            manner = _manner(self._pool.give_up(child))
            return None if was_waiting and self.started_at is None else self._gone(manner)
        except (TooLong, msgspec.DecodeError) as error:
            self._pool.give_up(child)
            return unreadable(f"the process of the task body sent what is not a result: {error}")
        except TimeoutError:
            self._pool.give_up(child)
            return not_started(
                f"importing {self._request.source.module!r} took more than {START_PATIENCE:g} s"
            )
        except Exception as error:  # whatever it is, this child is not to be used or forgotten
            self._pool.give_up(child)
            if self.started_at is None:
                raise
            return from_loss(f"the process of the task body could not be understood: {error}")
        self._release(child, is_last)
        return result

    def _talk(self, child: Child) -> tuple[AttemptResult, bool]:
        request = self._request
        problem = child.prepare(request.order.task_type, request.source)
        if problem:
            return not_started(problem), False
        if self.is_left:
            return not_started(CANCELLED), False
        self.started_at = time.monotonic()
        self._cancellation.beat()
        ended = child.run(request, self._cancellation.beat)
        return ended.result, ended.is_last

    def _gone(self, manner: str) -> AttemptResult:
        if self.started_at is None:
            source = self._request.source
            return not_started(
                f"the process for the task body ended {manner} before it had imported {source}"
            )
        return from_loss(f"the process of the task body ended {manner}")

    def _release(self, child: Child, is_last: bool) -> None:
        child.own(None)  # first: whoever leaves this job from here on must not hit the next one
        if self.is_left or is_last:
            self._pool.give_up(child)
        else:
            self._pool.put_back(child)

    def cancel(self) -> None:
        self._signal(signal.SIGKILL)

    def time_out(self) -> None:
        self._signal(signal.SIGTERM)
        get_running_loop().call_later(KILL_PATIENCE, self._signal, signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._child is not None:  # otherwise the thread will look before it starts the body
            self._child.signal(number, self)


def _manner(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"by signal {signal.Signals(-code).name}"
    return f"by signal {-code}"
