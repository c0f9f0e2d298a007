"""Bodies in processes of their own: for code that uses the CPU for long, or may crash.

Each attempt occupies a thread of the pool, which does the waiting, and a child, which does the
work. A child runs one attempt at a time, is used again, and ends when this process ends.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from asyncio import get_running_loop, to_thread
from collections import deque
from typing import Final

import msgspec

from flow_manager.ports.worker import AttemptOrder, AttemptResult
from flow_manager.tasks.messages import (
    Ended,
    Logged,
    Prepare,
    Ready,
    Run,
    TooLong,
    decode_answer,
    receive,
    send,
)
from flow_manager.tasks.outcome import from_loss, not_started, unreadable
from flow_manager.tasks.registry import TaskRegistry
from flow_manager.tasks.source import Source
from flow_manager.tasks.threads import Job, ThreadPool

log = logging.getLogger(__name__)

START_PATIENCE: Final = 60.0
"""Seconds for a child to start and import the module of a task."""
KILL_PATIENCE: Final = 5.0
"""Seconds between asking a child to end and ending it."""
STOP_PATIENCE: Final = 2.0
"""Seconds for all threads of a stopped pool to end, when their children have been killed."""
MESSAGE_ROOM: Final = 1 << 20
"""Bytes of a message beside the data of a result: texts, and the lines of a log."""

_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from flow_manager.tasks.child import main; main(int(sys.argv[2]))"
)
"""What a child executes: it finds modules where this process finds them. Through PYTHONPATH, the
programs that a body starts would do so as well."""


class Child:
    """A process for task bodies. One thread at a time talks to it; any may end what its owner asked for."""

    def __init__(self, interpreter: str, most_message: int) -> None:
        """Raises `OSError` if the process cannot be started."""
        level = logging.getLogger("flow_manager.task").getEffectiveLevel()
        path = json.dumps([os.path.abspath(folder) for folder in sys.path])
        # A session of its own: an interrupt from the terminal is not for it, and the programs that
        # a body has started can be ended with it.
        self._process = subprocess.Popen(
            [interpreter, "-P", "-c", _PROGRAM, path, str(level)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders = self._process.stdin.fileno()
        self._answers = self._process.stdout.fileno()
        self._most_message = most_message
        self._prepared: set[Source] = set()
        self._lock = threading.Lock()
        self._owner: Job | None = None
        self._is_over = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def prepare(self, source: Source) -> str:
        """Have it import the module of a task; the answer is what went wrong. Raises what `_ask` raises."""
        if source in self._prepared:
            return ""
        ready = self._ask(Prepare(source), until=time.monotonic() + START_PATIENCE)
        problem = ready.problem if isinstance(ready, Ready) else "the process answered something else"
        if not problem:
            self._prepared.add(source)
        return problem

    def run(self, request: Run) -> Ended:
        """Have it run one attempt. Raises what `_ask` raises."""
        ended = self._ask(request)
        if not isinstance(ended, Ended):
            raise TooLong("not the end of an attempt")
        return ended

    def _ask(self, request: Prepare | Run, until: float | None = None) -> Ready | Ended:
        """Raises `EOFError` or `BrokenPipeError` if it is gone, `TimeoutError`, and `TooLong` or
        `msgspec.DecodeError` if its answer cannot be right."""
        send(self._orders, request)
        while True:
            answer = decode_answer(receive(self._answers, most=self._most_message, until=until))
            if not isinstance(answer, Logged):
                return answer
            _log_again(answer)

    def own(self, job: Job | None) -> None:
        with self._lock:
            self._owner = job

    def signal(self, number: int, owner: Job | None) -> None:
        """Signal the process and all it has started, if it still works for this owner."""
        with self._lock:
            if self._owner is owner and not self._is_over:
                self._signal_all(number)

    def kill(self) -> None:
        """End it, whoever it works for."""
        with self._lock:
            if not self._is_over:
                self._signal_all(signal.SIGKILL)

    def end(self) -> int:
        """End it if it has not ended, and take leave of it; the answer is its exit code."""
        with self._lock:
            if not self._is_over:
                self._signal_all(signal.SIGKILL)
            self._is_over = True  # from here on, its number may belong to somebody else
        code = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        return code

    def _signal_all(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


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

    async def run(self, order: AttemptOrder) -> AttemptResult:
        """Run one attempt. Its time starts when a child is ready for it."""
        source = self._registry[order.task.type].source
        return await self._threads.run(ChildBody(self, Run(source, order, self._most_result)), order.timeout)

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

    __slots__ = ("_child", "_pool", "_request")

    def __init__(self, pool: ProcessPool, request: Run) -> None:
        super().__init__()
        self._pool = pool
        self._request = request
        self._child: Child | None = None

    def work(self) -> AttemptResult:
        try:
            child = self._pool.take()
        except (OSError, ValueError) as error:
            return not_started(f"no process could be started for the task body: {error}")
        child.own(self)
        self._child = child
        try:
            result, is_last = self._talk(child)
        except (EOFError, BrokenPipeError):
            return self._gone(_manner(self._pool.give_up(child)))
        except (TooLong, msgspec.DecodeError) as error:
            self._pool.give_up(child)
            return unreadable(f"the process of the task body sent what is not a result: {error}")
        except TimeoutError:
            self._pool.give_up(child)
            return not_started(
                f"importing {self._request.source.module!r} took more than {START_PATIENCE:g} s"
            )
        self._release(child, is_last)
        return result

    def _talk(self, child: Child) -> tuple[AttemptResult, bool]:
        request = self._request
        problem = child.prepare(request.source)
        if problem:
            return not_started(problem), False
        if self.is_left:
            return not_started("cancelled before it started"), False
        self.started_at = time.monotonic()
        ended = child.run(request)
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

    def leave(self, *, at_once: bool, left: int, threads: int) -> None:
        child = self._child
        if child is None:
            return  # the thread will look before it starts the body
        child.signal(signal.SIGKILL if at_once else signal.SIGTERM, self)
        if not at_once:
            get_running_loop().call_later(KILL_PATIENCE, child.signal, signal.SIGKILL, self)


def _manner(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"by signal {signal.Signals(-code).name}"
    return f"by signal {-code}"


class ChildTraceback(Exception):
    """Carries the text of a traceback from a child into a line of the log."""


def _log_again(line: Logged) -> None:
    logger = logging.getLogger(line.logger)
    if logger.isEnabledFor(line.level):
        trace = (ChildTraceback, ChildTraceback(f"\n{line.traceback}"), None) if line.traceback else None
        record = logger.makeRecord(line.logger, line.level, "", 0, line.message, (), trace, extra=line.fields)
        logger.handle(record)
