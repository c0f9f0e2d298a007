"""The native backend: the engine on a thread and an asyncio loop of its own.

Callers are plain threads. A call to execute crosses to the loop once and its answer crosses
back once; everything that only reads goes to the store's own connections and never to the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, Final

from flow_manager.core.definition import Flow
from flow_manager.core.events import Event
from flow_manager.core.mail import MailKind
from flow_manager.core.plain import shown
from flow_manager.core.starting import answer_name
from flow_manager.core.states import FOR_AN_OPERATOR
from flow_manager.core.view import View
from flow_manager.engine.batch import Batch
from flow_manager.engine.control import OperatorControl
from flow_manager.engine.inputs import accepted_input, awaits_signals, must_be_plain
from flow_manager.engine.loop_thread import LoopThread
from flow_manager.engine.orchestrator import FlowOrchestrator
from flow_manager.engine.pruner import Pruner
from flow_manager.engine.publishing import FlowPublisher
from flow_manager.engine.reading import ReadingBackend, TaskCatalogue
from flow_manager.engine.scheduled_starts import ScheduledStarts
from flow_manager.engine.scheduler import Scheduler
from flow_manager.engine.scheduling import NativeSchedules
from flow_manager.engine.terms import asked_of
from flow_manager.engine.waiters import Promise, Reply
from flow_manager.errors import (
    ApprovalOver,
    ExecutionOver,
    FlowManagerError,
    KeyConflict,
    OutcomeUnknown,
    ShuttingDown,
    SignalUnknown,
    StartedBefore,
    StoreError,
)
from flow_manager.ports.backend import Answer, Health, Violation
from flow_manager.ports.control import Control
from flow_manager.ports.figures import EngineFigures
from flow_manager.ports.retention import UNBOUNDED, Retention
from flow_manager.ports.starting import Accepted, Start, StartOptions, StartRequest
from flow_manager.ports.store import NewExecution, NewMail

START_PATIENCE: Final = 10.0
"""Seconds to wait for a start to become durable; after that its outcome is called unknown."""
SEND_PATIENCE: Final = 10.0
"""Seconds to wait until something that was sent is durable."""
MOST_INPUT: Final = 256 << 10
DEFAULT_GRACE: Final = timedelta(seconds=30)
FIRST_LOOK: Final = 0.01
"""Seconds between the first two looks at an execution that somebody else has started,"""
LAST_LOOK: Final = 0.5
"""and between later ones: each is twice as long as the one before."""
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
        self._control = OperatorControl(self, most_input)
        self._die = die
        self.pruner = Pruner(self.store, orchestrator.clock, retention)
        orchestrator.observe(self.live)
        orchestrator.audience.watch(self.live)
        self._lookups = ThreadPoolExecutor(1, "flow-manager-lookup")
        self._open = _Refreshed(self.store.open_executions, self._lookups)
        self._hurry = asyncio.Event()
        self._closing = threading.Lock()
        self._is_drained = False
        self._is_closed = False
        self._loop = LoopThread(die)
        schedules = self.store.schedules
        starts = ScheduledStarts(schedules, orchestrator.flows, most_input)
        self._scheduler = Scheduler(
            schedules,
            orchestrator.clock,
            starts,
            lambda: orchestrator.refusal() is not None,
            orchestrator.sent,
        )
        self.schedules = NativeSchedules(
            schedules, orchestrator.clock, starts, self._loop, self._schedules_changed
        )
        self.flows = FlowPublisher(
            self.store, self._flows, orchestrator.clock, self.validate, self._complete_on_store
        )
        self._loop.complete(self._begin())

    async def _begin(self) -> None:
        await self.store.open(self._orchestrator.clock.now(), self._die)
        self._orchestrator.run_loops(self._scheduler.run(), self.pruner.run())

    def _schedules_changed(self) -> None:
        self._scheduler.nudge()
        self._orchestrator.poller.nudge()

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

    def start(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        options: StartOptions,
        *,
        labels: Mapping[str, str] | None = None,
        wait: timedelta | None = None,
    ) -> Start:
        reply = Reply(waits=wait is None or wait > timedelta(0))
        try:
            self._start(flow, input, labels, reply, options)
            return Start(self._hear(reply, wait), is_new=True)
        except KeyConflict:
            raise
        except StartedBefore as known:
            return Start(self._after(known.execution_id, wait), is_new=False)

    def start_all(
        self, flow: Flow, requests: Sequence[StartRequest]
    ) -> Sequence[Accepted | FlowManagerError]:
        batch = Batch(flow, requests, self._orchestrator.clock.now(), self._most_input)
        return self._loop.complete(batch.start(self._orchestrator), START_PATIENCE)

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
        self,
        flow: Flow,
        input: Mapping[str, Any],
        labels: Mapping[str, str] | None,
        waiter: Reply | Promise,
        options: StartOptions | None = None,
    ) -> None:
        input = accepted_input(flow, input, self._most_input)
        asked = asked_of(flow, input, options, self._orchestrator.clock.now())
        labels = {**flow.labels, **(labels or {})}
        self._loop.call(self._orchestrator.start, flow, input, labels, waiter, asked)

    def _after(self, execution_id: str, wait: timedelta | None) -> View:
        """How an execution stands that somebody else has started, after its end or at most `wait`."""
        deadline = float("inf") if wait is None else time.monotonic() + wait.total_seconds()
        nap = FIRST_LOOK
        while True:
            view = self.describe(execution_id)
            is_left = view.wake is not None and view.wake.reason in FOR_AN_OPERATOR
            left = deadline - time.monotonic()
            if view.is_ended or is_left or left <= 0 or self._is_drained:
                return view
            time.sleep(min(nap, left))
            nap = min(2 * nap, LAST_LOOK)

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

    @property
    def control(self) -> Control:
        return self._control

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
        self.post(NewMail(execution_id, self.now(), kind, name, payload, by))

    def post(self, mail: NewMail) -> None:
        """Send; durable when this returns. Raises what `Store.send` raises."""
        self._loop.complete(self._orchestrator.send(mail), SEND_PATIENCE)

    def create(self, new: NewExecution) -> None:
        """Create an execution that is due at once. Raises what `execute` raises."""
        self._loop.complete(self._orchestrator.create(new), SEND_PATIENCE)

    def now(self) -> datetime:
        return self._orchestrator.clock.now()

    def _complete_on_store(self, make: Callable[[], Awaitable[Any]]) -> Any:
        """Ask the store for something, on the loop, and wait for its answer."""
        return self._loop.complete(_awaited(make), SEND_PATIENCE)

    # -- watching

    def follow(self, execution_id: str) -> Iterator[Event]:
        return self.live.follow(execution_id)

    def health(self) -> Health:
        orchestrator = self._orchestrator
        status = "stopping" if orchestrator.is_draining else "full" if orchestrator.is_full else "ok"
        return Health(status, status == "ok", self._open.value(), self.store.describe_store())

    def repair(self) -> Sequence[Violation]:
        found: list[Violation] = []
        self._loop.complete(self._orchestrator.doctor.mend_all(self.store.violations(), found))
        return found

    def figures(self) -> EngineFigures:
        """How the engine stands; from any thread. Raises what reading raises."""
        orchestrator, health, backlog = self._orchestrator, self.health(), self.store.outbox.backlog()
        dispatcher = orchestrator.dispatcher
        return EngineFigures(
            open=health.open_executions,
            running=orchestrator.running,
            waiting=orchestrator.poller.waiting,
            store_bytes=health.store.get("bytes", 0),
            store=self.store.figures(),
            lateness=orchestrator.poller.lateness,
            loop_lag=self._loop.lag,
            deliveries={} if dispatcher is None else dispatcher.counts,
            pending_deliveries=backlog.pending,
            parked_deliveries=backlog.parked,
        )

    # -- stopping

    def drain(self, grace: timedelta = DEFAULT_GRACE) -> None:
        """Accept nothing more; let running attempts end within `grace` and answer everybody who
        waits. Reading goes on until `close`."""
        with self._closing:
            if not self._is_drained:
                self._is_drained = True
                self._loop.complete(self._orchestrator.drain(grace, self._hurry))
                self.live.close()

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


async def _awaited(make: Callable[[], Awaitable[Any]]) -> Any:
    return await make()


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
