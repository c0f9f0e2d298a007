"""Threads for bodies that block: jobs go in by a queue, and come back to the loop many at a time.

`run_in_executor` wakes the loop once per job and takes several locks for it; here, all jobs that
have ended by the time the loop looks are told with one wake-up.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Final

from flow_manager.ports.worker import AttemptResult
from flow_manager.tasks.outcome import from_exception, from_timeout, not_started

log = logging.getLogger(__name__)

LEAST_NAP: Final = 0.05
"""Seconds between two looks at whether a job has started."""


class Job(ABC):
    """One attempt that occupies a thread from its start to its end, whoever still waits for it."""

    __slots__ = ("future", "is_left", "started_at", "timer")

    future: asyncio.Future[AttemptResult]

    def __init__(self) -> None:
        self.started_at: float | None = None
        """Monotonic time at which the body began, set by `work`."""
        self.is_left = False
        """Whether nobody waits for it any more."""
        self.timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def work(self) -> AttemptResult:
        """In a thread: set `started_at`, run the body and tell what came of it. Never raises."""

    @abstractmethod
    def cancel(self) -> None:
        """On the loop, once: nobody waits any more. Tell the body to stop at once."""

    def time_out(self) -> None:
        """The same, because the time of the attempt is up."""
        self.cancel()


class ThreadPool:
    """At most `size` threads, started when needed. All calls come from one loop.

    They are daemons: a body that never ends does not keep the process from ending.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ended: deque[tuple[Job, AttemptResult | None]] = deque()
        self._threads: list[threading.Thread] = []
        self._in_flight: set[Job] = set()
        self._left: set[Job] = set()
        self._has_told = False
        self._is_stopped = False

    @property
    def held(self) -> str:
        """How many threads are held by bodies that nobody waits for, in words."""
        return f"{len(self._left)} of {self._size} threads"

    async def run(self, job: Job, timeout: float | None, time_left: float | None = None) -> AttemptResult:
        """Have the job done, and wait for it no longer than `timeout` seconds from its start, nor than
        `time_left` seconds from now. A job that has not started by then never does."""
        loop = asyncio.get_running_loop()
        job.future = loop.create_future()
        self._submit(job, loop)
        if timeout is not None:
            job.timer = loop.call_later(timeout, self._look, loop, job, timeout)
        last_call = None if time_left is None else loop.call_later(time_left, self._end, job, time_left)
        try:
            return await job.future
        except asyncio.CancelledError:
            if not job.future.cancelled():
                return job.future.result()  # it came together with the cancellation, and counts
            self._leave(job)
            job.cancel()
            raise
        finally:
            for timer in (job.timer, last_call):
                if timer is not None:
                    timer.cancel()

    def stop(self) -> None:
        """Cancel everything; every thread ends when its body has returned."""
        self._is_stopped = True
        for job in self._in_flight:
            job.future.cancel()
        for _ in self._threads:
            self._jobs.put(None)

    def join(self, patience: float) -> None:
        """Wait for the threads of a stopped pool to end, no longer than `patience` seconds."""
        until = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _submit(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        if self._is_stopped:
            job.future.cancel()
            return
        self._in_flight.add(job)
        if len(self._in_flight) > len(self._threads) < self._size:
            self._start_thread(loop)
        if self._threads:
            self._jobs.put(job)
        else:
            self._in_flight.remove(job)
            job.future.set_result(not_started("no thread could be started for the task body"))

    def _start_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        name = f"{self._name}-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._serve, args=(loop,), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the limit of the system; those that run have to do
            log.warning("no more than %d threads could be started for tasks: %s", len(self._threads), error)
        else:
            self._threads.append(thread)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while (job := self._jobs.get()) is not None:
            self._ended.append((job, self._done(job)))
            del job  # or an idle thread would keep the last result alive
            if not self._has_told:
                self._has_told = True
                try:
                    loop.call_soon_threadsafe(self._collect)
                except RuntimeError:  # the loop is closed: nobody is left to be told
                    return

    def _done(self, job: Job) -> AttemptResult | None:
        """The edge of a thread: a fault of ours must neither end it nor leave somebody waiting."""
        try:
            return None if job.is_left else job.work()
        except BaseException as error:
            log.exception("an attempt could not be worked on")
            return from_exception(error)

    def _collect(self) -> None:
        self._has_told = False  # first, so that a job that ends from here on wakes the loop again
        ended = self._ended
        while ended:
            job, result = ended.popleft()
            self._in_flight.discard(job)
            if job.is_left:
                self._left.discard(job)
            elif result is not None and not job.future.done():
                job.future.set_result(result)

    def _look(self, loop: asyncio.AbstractEventLoop, job: Job, timeout: float) -> None:
        """The time may be up. A job that has not started by now has all of it before it."""
        began = job.started_at
        wait = max(timeout, LEAST_NAP) if began is None else began + timeout - time.monotonic()
        if wait > 0:
            job.timer = loop.call_later(wait, self._look, loop, job, timeout)
        else:
            self._end(job, timeout)

    def _end(self, job: Job, seconds: float) -> None:
        """The time is up."""
        if not job.future.done():
            job.future.set_result(from_timeout(seconds))
            self._leave(job)
            job.time_out()

    def _leave(self, job: Job) -> None:
        job.is_left = True
        if job.started_at is not None:
            self._left.add(job)
