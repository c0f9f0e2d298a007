"""The native backend: the engine on a thread and an asyncio loop of its own.

Callers are plain threads. A call to execute crosses to the loop once and its answer crosses
back once; everything that only reads goes to the store's own connections and never to the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final

from flow_manager.core.definition import Flow
from flow_manager.core.events import Event
from flow_manager.core.mail import MailKind
from flow_manager.core.plain import shown
from flow_manager.core.starting import answer_name
from flow_manager.core.view import View
from flow_manager.engine.following import Followers
from flow_manager.engine.inputs import accepted_input, awaits_signals, must_be_plain
from flow_manager.engine.loop_thread import LoopThread
from flow_manager.engine.orchestrator import FlowOrchestrator
from flow_manager.engine.pruner import Pruner
from flow_manager.engine.reading import ReadingBackend, TaskCatalogue
from flow_manager.engine.waiters import Promise, Reply
from flow_manager.errors import (
    ApprovalOver,
    ExecutionOver,
    OutcomeUnknown,
    ShuttingDown,
    SignalUnknown,
    StoreError,
)
from flow_manager.ports.backend import Answer, Health
from flow_manager.ports.retention import UNBOUNDED, Retention
from flow_manager.ports.store import NewMail

START_PATIENCE: Final = 10.0
"""Seconds to wait for a start to become durable; after that its outcome is called unknown."""
SEND_PATIENCE: Final = 10.0
"""Seconds to wait until something that was sent is durable."""
MOST_INPUT: Final = 256 << 10
DEFAULT_GRACE: Final = timedelta(seconds=30)
HEALTH_AGE: Final = 1.0
"""Seconds for which a count of the open executions is good enough for health."""
HEALTH_PATIENCE: Final = 0.05
"""Seconds that health waits for a new count before it tells the last one."""


class NativeBackend(ReadingBackend):
    """Implements `ports.backend.Backend`. It opens the orchestrator's store, and closes it.

    `most_input` bounds the input of an execution, in bytes of JSON; `retention` what has ended. `die` is
    called, from any thread, with a fault after which the process must not go on."""

    def __init__(
        self,
        orchestrator: FlowOrchestrator,
        catalogue: TaskCatalogue,
        die: Callable[[BaseException], None],
        most_input: int = MOST_INPUT,
        retention: Retention = UNBOUNDED,
    ) -> None:
        super().__init__(orchestrator.store, catalogue, orchestrator.secrets.values, orchestrator.flows)
        self._orchestrator = orchestrator
        self.store = orchestrator.store
        self._most_input = most_input
        self._die = die
        self.pruner = Pruner(self.store, orchestrator.clock, retention)
        self._followers = Followers()
        orchestrator.observe(self._followers)
        self._lookups = ThreadPoolExecutor(1, "flow-manager-lookup")
        self._open = _Refreshed(self.store.open_executions, self._lookups)
        self._hurry = asyncio.Event()
        self._closing = threading.Lock()
        self._is_drained = False
        self._is_closed = False
        self._loop = LoopThread(die)
        self._loop.complete(self._begin())

    async def _begin(self) -> None:
        await self.store.open(self._orchestrator.clock.now(), self._die)
        self._orchestrator.run_loops(self.pruner.run())

    # -- executing

    def execute(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        wait: timedelta | None = None,
    ) -> View:
        reply = Reply(waits=wait is None or wait > timedelta(0))
        self._start(flow, input, labels, reply)
        return self._hear(reply, wait)

    def submit(
        self, flow: Flow, input: Mapping[str, Any], *, labels: Mapping[str, str] | None = None
    ) -> Future[View]:
        """Start an execution without waiting for anything; the future settles when it has ended, or
        waits for an operator, with how it stands then. It raises what `execute` raises. For
        programs that keep many executions in flight from one thread."""
        promise = Promise(self.describe, self._lookups)
        self._start(flow, input, labels, promise)
        return promise.future

    def _start(
        self, flow: Flow, input: Mapping[str, Any], labels: Mapping[str, str] | None, waiter: Reply | Promise
    ) -> None:
        input = accepted_input(flow, input, self._most_input)
        self._loop.call(self._orchestrator.start, flow, input, {**flow.labels, **(labels or {})}, waiter)

    def _hear(self, reply: Reply, wait: timedelta | None) -> View:
        is_bounded = wait is not None and reply.waits
        view = reply.take(wait.total_seconds() if wait is not None and is_bounded else START_PATIENCE)
        view = view or reply.take_start(START_PATIENCE)
        if view is None and reply.execution_id is None:
            raise OutcomeUnknown("the start was not confirmed in time; whether it happened is not known")
        if view is None and wait is None and not reply.is_left:
            view = reply.take(None)
        return view or self._how_it_stands(reply)

    def _how_it_stands(self, reply: Reply) -> View:
        """The caller's patience is over before the execution is."""
        execution_id = reply.execution_id or ""
        if reply.waits:
            with contextlib.suppress(ShuttingDown):
                self._loop.call(self._orchestrator.forget, execution_id)
        try:
            return self.describe(execution_id)
        except ShuttingDown as error:
            raise OutcomeUnknown(f"execution {execution_id} was started; the service has stopped") from error

    # -- sending

    def signal(self, execution_id: str, name: str, payload: Any = None, *, by: str = "") -> None:
        must_be_plain("payload", payload, self._most_input)
        flow = self.definition(execution_id)
        if not awaits_signals(flow, name):
            raise SignalUnknown(f"no task of flow {flow.id!r} waits for a signal named {shown(name)}")
        self._send(execution_id, "signal", name, payload, by)

    def cancel(self, execution_id: str, reason: str = "", *, by: str = "") -> None:
        self._send(execution_id, "cancel", reason, None, by)

    def answer(self, token: str, answer: Answer) -> str:
        must_be_plain("answer", answer.fields, self._most_input)
        approvals = self._approvals()
        asking = approvals.read(token)
        payload = approvals.check(asking, self.describe(asking.execution_id), answer)
        name = answer_name(asking.run, asking.attempt)
        try:
            self._send(asking.execution_id, "answer", name, payload, answer.by)
        except ExecutionOver as error:  # it has ended since it was looked at
            raise ApprovalOver("nobody waits for this answer any more") from error
        return asking.execution_id

    def _send(self, execution_id: str, kind: MailKind, name: str, payload: Any, by: str) -> None:
        mail = NewMail(execution_id, self._orchestrator.clock.now(), kind, name, payload, by)
        self._loop.complete(self._orchestrator.send(mail), SEND_PATIENCE)

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
                self._loop.complete(self._orchestrator.drain(grace, self._hurry))

    def hurry(self) -> None:
        """End the grace of a drain that is under way, or will be."""
        with contextlib.suppress(ShuttingDown):
            self._loop.call(self._hurry.set)

    def close(self, grace: timedelta | None = None) -> None:
        self.drain(DEFAULT_GRACE if grace is None else grace)
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            self._lookups.shutdown()
            self._loop.complete(self._stop())
            self._loop.stop()

    async def _stop(self) -> None:
        await self._orchestrator.worker.stop()
        await self.store.stop()


class _Refreshed:
    """A number that is read anew when it is asked for and old. Whoever asks gets an answer soon,
    the last one if the store takes its time."""

    def __init__(self, read: Callable[[], int], readers: Executor) -> None:
        self._read = read
        self._readers = readers
        self._value = 0
        self._read_at = float("-inf")
        self._reading: Future[int] | None = None

    def value(self) -> int:
        if self._reading is None and time.monotonic() - self._read_at > HEALTH_AGE:
            with contextlib.suppress(RuntimeError):  # the service has stopped
                self._reading = self._readers.submit(self._read)
        reading = self._reading
        if reading is not None:
            with contextlib.suppress(TimeoutError, StoreError, ShuttingDown):
                self._value = reading.result(HEALTH_PATIENCE)
            if reading.done():
                self._reading, self._read_at = None, time.monotonic()
        return self._value
