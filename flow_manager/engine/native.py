"""The native backend: the engine on a thread and an asyncio loop of its own, and the bridge to it.

Callers are plain threads. A call to execute crosses to the loop once and its answer crosses
back once; everything that only reads goes to the store's own connections and never to the loop.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, Final

from flow_manager.core.definition import Flow
from flow_manager.core.events import Event
from flow_manager.core.values import find_fault
from flow_manager.core.view import View
from flow_manager.engine.following import Followers
from flow_manager.engine.orchestrator import FlowOrchestrator
from flow_manager.engine.reading import ReadingBackend, TaskCatalogue
from flow_manager.engine.watchdog import Watchdog
from flow_manager.errors import InvalidRequest, OutcomeUnknown, Problem, ShuttingDown
from flow_manager.ports.backend import Health

log = logging.getLogger(__name__)

START_PATIENCE: Final = 10.0
"""Seconds to wait for a start to become durable; after that its outcome is called unknown."""
START_LOOK: Final = 0.02
"""Seconds between two looks whether a start is durable."""
MOST_INPUT: Final = 256 << 10
DEFAULT_GRACE: Final = timedelta(seconds=30)
HEALTH_AGE: Final = 1.0
"""Seconds for which a count of the open executions is good enough for health."""


class NativeBackend(ReadingBackend):
    """Implements `ports.backend.Backend`. It opens the orchestrator's store, and closes it.

    `most_input` bounds the input of an execution, in bytes of JSON; `die` is called, from any
    thread, with a fault after which the process must not go on."""

    def __init__(
        self,
        orchestrator: FlowOrchestrator,
        catalogue: TaskCatalogue,
        die: Callable[[BaseException], None],
        most_input: int = MOST_INPUT,
    ) -> None:
        super().__init__(orchestrator.store, catalogue)
        self._orchestrator = orchestrator
        self.store = orchestrator.store
        self._most_input = most_input
        self._die = die
        self._followers = Followers()
        orchestrator.observe(self._followers)
        self._open = _Remembered(HEALTH_AGE, self.store.open_executions)
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._is_woken = False
        self._hurry = asyncio.Event()
        self._closing = threading.Lock()
        self._is_drained = False
        self._is_closed = False
        self._loop = asyncio.new_event_loop()
        self._watchdog = Watchdog(self._loop)
        self._thread = threading.Thread(target=self._run, name="flow-manager-engine", daemon=True)
        self._thread.start()
        self._await(self._begin())

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._watchdog.start()
        try:
            while not self._turn():
                pass
        except BaseException as error:  # the edge of the loop: without its engine the process must not go on
            self._die(error)
        finally:
            self._loop.close()

    def _turn(self) -> bool:
        """Turn the loop until it is stopped. False if a task's own task left it by `sys.exit` or the
        like, which asyncio hands on to whoever turns the loop: that must not end the engine."""
        try:
            self._loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            log.warning("something that a task started on the loop raised %r; going on", error)
            return False
        return True

    async def _begin(self) -> None:
        await self.store.open(self._orchestrator.clock.now(), self._die)
        self._orchestrator.run_loops()

    # -- executing

    def execute(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        wait: timedelta | None = None,
    ) -> View:
        self._check_input(input)
        reply = _Reply(waits=wait is None or wait > timedelta(0))
        self._call(self._orchestrator.start, flow, input, {**flow.labels, **(labels or {})}, reply)
        return self._answer(reply, wait)

    def submit(
        self, flow: Flow, input: Mapping[str, Any], *, labels: Mapping[str, str] | None = None
    ) -> Future[View]:
        """Start an execution without waiting for anything; the future settles when it has ended, or
        waits for an operator, with how it stands then. It raises what `execute` raises. For
        programs that keep many executions in flight from one thread."""
        self._check_input(input)
        promise = _Promise(self.describe)
        self._call(self._orchestrator.start, flow, input, {**flow.labels, **(labels or {})}, promise)
        return promise.future

    def _check_input(self, input: Mapping[str, Any]) -> None:
        fault = find_fault(input, self._most_input)
        if fault is not None:
            where = "#/input" + fault.pointer[1:]
            code = "too-large" if fault.code == "limit.output_size" else "not-plain"
            problem = Problem(where, code, fault.detail)
            raise InvalidRequest("the input of the execution cannot be accepted", [problem])

    def _answer(self, reply: _Reply, wait: timedelta | None) -> View:
        is_bounded = wait is not None and reply.waits
        view = reply.take(wait.total_seconds() if wait is not None and is_bounded else START_PATIENCE)
        execution_id = reply.await_start(START_PATIENCE)
        if execution_id is None:
            raise OutcomeUnknown("the start was not confirmed in time; whether it happened is not known")
        if view is None and wait is None and not reply.is_left:
            view = reply.take(None)
        if view is not None:
            return view
        if reply.waits:
            self._call(self._orchestrator.forget, execution_id)
        return self.describe(execution_id)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call on the loop. Waking the loop costs both threads a change of hands, so only the first
        of several calls does: the loop takes all that have come by then."""
        self._calls.append((function, arguments))
        if self._is_woken:
            return
        self._is_woken = True
        try:
            self._loop.call_soon_threadsafe(self._take_calls)
        except RuntimeError as error:  # the loop is closed
            raise ShuttingDown("the service has stopped and accepts nothing") from error

    def _take_calls(self) -> None:
        self._is_woken = False
        while self._calls:
            function, arguments = self._calls.popleft()
            try:
                function(*arguments)
            except Exception:  # the edge of a call: the ones behind it must not wait for ever
                log.exception("a call to the engine failed")

    # -- watching

    def follow(self, execution_id: str) -> Iterator[Event]:
        return self._followers.follow(execution_id, self.store)

    def health(self) -> Health:
        orchestrator = self._orchestrator
        status = "stopping" if orchestrator.is_draining else "full" if orchestrator.is_full else "ok"
        return Health(status, status == "ok", self._open.value(), self.store.describe_store())

    # -- stopping

    def drain(self, grace: timedelta = DEFAULT_GRACE) -> None:
        """Accept nothing more; let running attempts end within `grace` and answer everybody who
        waits. Reading goes on until `close`."""
        with self._closing:
            if not self._is_drained:
                self._is_drained = True
                self._await(self._orchestrator.drain(grace, self._hurry))

    def hurry(self) -> None:
        """End the grace of a drain that is under way, or will be."""
        self._call(self._hurry.set)

    def close(self, grace: timedelta | None = None) -> None:
        self.drain(DEFAULT_GRACE if grace is None else grace)
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            self._watchdog.stop()
            self._await(self._stop())
            self._call(self._loop.stop)
            self._thread.join()

    async def _stop(self) -> None:
        await self._orchestrator.worker.stop()
        await self.store.stop()

    def _await(self, work: Coroutine[Any, Any, None]) -> None:
        done: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        done.result()


class _Reply:
    """The other end of `execute`: told by the orchestrator, read by the caller's thread."""

    __slots__ = ("_answers", "execution_id", "is_left", "waits")

    def __init__(self, *, waits: bool) -> None:
        self.waits = waits
        self.execution_id: str | None = None
        self.is_left = False
        self._answers: queue.SimpleQueue[View | Exception | None] = queue.SimpleQueue()

    def started(self, execution_id: str) -> bool:
        self.execution_id = execution_id
        if not self.waits:
            self._answers.put(None)
        return self.waits

    def ended(self, view: View) -> None:
        self._answers.put(view)

    def left(self, _execution_id: str) -> None:
        self.is_left = True
        self._answers.put(None)

    def failed(self, error: Exception) -> None:
        self._answers.put(error)

    def take(self, patience: float | None) -> View | None:
        """The ended execution; None if it goes on, or nothing was heard within `patience` seconds."""
        try:
            answer = self._answers.get(timeout=patience)
        except queue.Empty:
            return None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def await_start(self, patience: float) -> str | None:
        """The id of the execution, as soon as its start is durable. Hardly ever waits: only a store
        that stalls answers later than the caller's own patience."""
        deadline = time.monotonic() + patience
        while self.execution_id is None and time.monotonic() < deadline:
            time.sleep(START_LOOK)
        return self.execution_id


class _Promise:
    """The other end of `submit`."""

    __slots__ = ("_describe", "future")

    def __init__(self, describe: Callable[[str], View]) -> None:
        self.future: Future[View] = Future()
        self._describe = describe

    def started(self, execution_id: str) -> bool:
        return True

    def ended(self, view: View) -> None:
        self.future.set_result(view)

    def left(self, execution_id: str) -> None:
        self.future.set_result(self._describe(execution_id))

    def failed(self, error: Exception) -> None:
        self.future.set_exception(error)


class _Remembered:
    """A number that is read again when it is older than `age` seconds."""

    def __init__(self, age: float, read: Callable[[], int]) -> None:
        self._age = age
        self._read = read
        self._read_at = float("-inf")
        self._value = 0

    def value(self) -> int:
        if time.monotonic() - self._read_at > self._age:
            self._value, self._read_at = self._read(), time.monotonic()
        return self._value
