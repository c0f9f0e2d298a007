"""The native backend: the engine on a thread and an asyncio loop of its own.

Callers are plain threads. A call to execute crosses to the loop once and its answer crosses
back once; everything that only reads goes to the store's own connections and never to the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, Final

from flow_manager.core.definition import Flow
from flow_manager.core.events import Event
from flow_manager.core.mail import MailKind
from flow_manager.core.plain import shown
from flow_manager.core.starting import answer_name
from flow_manager.core.view import View
from flow_manager.engine.control import OperatorControl
from flow_manager.engine.inputs import awaits_signals, must_be_plain
from flow_manager.engine.loop_thread import LoopThread
from flow_manager.engine.orchestrator import FlowOrchestrator
from flow_manager.engine.pruner import Pruner
from flow_manager.engine.publishing import FlowPublisher
from flow_manager.engine.reading import ReadingBackend, TaskCatalogue
from flow_manager.engine.refreshed import Refreshed
from flow_manager.engine.scheduled_starts import ScheduledStarts
from flow_manager.engine.scheduler import Scheduler
from flow_manager.engine.scheduling import NativeSchedules
from flow_manager.engine.starts import Starts
from flow_manager.errors import (
    ApprovalOver,
    ExecutionOver,
    FlowManagerError,
    ShuttingDown,
    SignalUnknown,
)
from flow_manager.ports.backend import Answer, Health, Violation
from flow_manager.ports.control import Control
from flow_manager.ports.figures import EngineFigures
from flow_manager.ports.retention import UNBOUNDED, Retention
from flow_manager.ports.starting import Accepted, Start, StartOptions, StartRequest
from flow_manager.ports.store import NewExecution, NewMail

SEND_PATIENCE: Final = 10.0
"""Seconds to wait until something that was sent is durable."""
MOST_INPUT: Final = 256 << 10
DEFAULT_GRACE: Final = timedelta(seconds=30)


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
        self._open = Refreshed(self.store.open_executions, self._lookups)
        self._hurry = asyncio.Event()
        self._closing = threading.Lock()
        self._is_drained = False
        self._is_closed = False
        self._loop = LoopThread(die)
        self._starts = Starts(orchestrator, self._loop, self.describe, self._lookups, most_input)
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
        return self._starts.execute(flow, input, labels, wait)

    def start(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        options: StartOptions,
        *,
        labels: Mapping[str, str] | None = None,
        wait: timedelta | None = None,
    ) -> Start:
        return self._starts.start(flow, input, options, labels, wait)

    def start_all(
        self, flow: Flow, requests: Sequence[StartRequest]
    ) -> Sequence[Accepted | FlowManagerError]:
        return self._starts.start_all(flow, requests)

    def submit(
        self, flow: Flow, input: Mapping[str, Any], *, labels: Mapping[str, str] | None = None
    ) -> Future[View]:
        """Start an execution without waiting for anything; the future settles when it has ended, or
        waits for an operator, with how it stands then. It raises what `execute` raises. For
        programs that keep many executions in flight from one thread."""
        return self._starts.submit(flow, input, labels)

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
        slot = self._control.slot_to_undo(execution_id)
        self.post(NewMail(execution_id, self.now(), "cancel", reason, None, by, slot=slot))

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
