"""The orchestrator: starts executions, claims those that are due, and lets go of all in a drain.

Lives on the engine's loop; every method is called there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any

from uuid_utils import uuid7

from flow_manager.core.decide import next_action
from flow_manager.core.decision import Action, Circumstances, LookAtChildren, Park, Plan
from flow_manager.core.definition import Flow
from flow_manager.core.events import ExecutionStarted
from flow_manager.core.states import Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.core.webhooks import Webhooks
from flow_manager.engine.admission import Admission, EngineLimits
from flow_manager.engine.audience import Audience
from flow_manager.engine.dispatcher import Dispatcher
from flow_manager.engine.doctor import Doctor
from flow_manager.engine.drain import Drain
from flow_manager.engine.driving import Driver
from flow_manager.engine.execution import ClaimedExecution
from flow_manager.engine.flows import StoredFlows
from flow_manager.engine.poller import Poller
from flow_manager.engine.recording import new_execution_of, view_of, wake_of
from flow_manager.engine.rescuer import Rescuer
from flow_manager.engine.secrets import Secrets
from flow_manager.engine.terms import PLAIN, Asked
from flow_manager.engine.turns import turn_of
from flow_manager.engine.waiters import Waiter, Waiters
from flow_manager.errors import (
    FlowManagerError,
    OutcomeUnknown,
    ShuttingDown,
    StoreFull,
)
from flow_manager.ports.clock import Clock
from flow_manager.ports.observer import Observer
from flow_manager.ports.store import Claimed, NewExecution, NewMail, Store
from flow_manager.ports.worker import Worker

log = logging.getLogger(__name__)


class FlowOrchestrator:
    """Executes flows on a store, with a worker for the task bodies."""

    def __init__(
        self,
        store: Store,
        worker: Worker,
        clock: Clock,
        observers: Sequence[Observer],
        limits: EngineLimits,
        secrets: Secrets | None = None,
    ) -> None:
        self.secrets = secrets or Secrets()
        self.store = store
        self.worker = worker
        self.clock = clock
        self.audience = Audience(observers)
        self.observe, self.recorded = self.audience.add, self.audience.recorded
        self._admission = Admission(limits, clock)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._waiters = Waiters()
        self.flows = StoredFlows()
        self.poller = Poller(
            store, clock, self._admission, self._running.__len__, self._take_up, self._note_failure
        )
        self.rescuer = Rescuer(store, clock, self._running)
        self.doctor = Doctor(store, clock)
        self.attempted: Callable[[str, str, float], None] = lambda *_: None
        """Told of each body that has run: the task type, the outcome, and the seconds that it took."""
        self.webhooks = Webhooks()
        self.dispatcher: Dispatcher | None = None
        """Sends what executions have to tell; without one it waits in the outbox."""
        self._driver = Driver(self, self._waiters, self._note_failure)
        self._loops: list[asyncio.Task[None]] = []
        self._draining = False

    # -- what an execution needs of its surroundings

    @property
    def running(self) -> int:
        """How many executions are worked on."""
        return len(self._running)

    @property
    def is_draining(self) -> bool:
        return self._draining

    @property
    def is_full(self) -> bool:
        """Whether the store had no space a moment ago."""
        return self._admission.is_full

    @property
    def may_start_attempts(self) -> bool:
        return not self._draining

    def store_was_full(self) -> None:
        self._admission.store_was_full()

    # -- starting

    def start(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        labels: Mapping[str, str],
        waiter: Waiter,
        asked: Asked = PLAIN,
    ) -> None:
        """Create an execution and drive it. The waiter hears the outcome of both."""
        refusal = self.refusal()
        if refusal is not None:
            waiter.failed(refusal)
            return
        self._admission.begun()
        execution_id = str(uuid7())
        first = asked.beginning(self.clock.now(), flow, input, labels)
        self._spawn(execution_id, self._begin(execution_id, flow, first, waiter, asked))

    def refusal(self) -> FlowManagerError | None:
        """Why nothing can be started now, or None."""
        if self._draining:
            return ShuttingDown("the service is stopping and accepts nothing new")
        return self._admission.refusal(len(self._running))

    async def _begin(
        self,
        execution_id: str,
        flow: Flow,
        first: ExecutionStarted,
        waiter: Waiter,
        asked: Asked,
    ) -> None:
        view, plan = View(execution_id), Plan()
        has_place = self._admission.has_place(len(self._running) - 1)
        try:
            plan.events.append(first)
            view.apply(first)
            action = asked.later(first.at) or self._first_action(flow, view, plan, has_place)
            wake = wake_of(action, first.at)
            new = new_execution_of(flow, view, plan, wake, self.webhooks, asked.terms)
            claim = await self.store.start(new)
        except Exception as error:  # the edge of a start: its caller is told whatever it was
            self._note_failure(error)
            waiter.failed(error)
            return
        except asyncio.CancelledError:
            waiter.failed(OutcomeUnknown("the service stopped while the start was being recorded"))
            raise
        finally:
            self._admission.answered()
        self._admission.waiting += not has_place
        self.recorded(view, plan.events, new.wake)
        if new.outbox:
            self.sent(())
        if waiter.started(execution_id):
            self._waiters.add(execution_id, waiter)
        await self._driver.drive(ClaimedExecution(flow, view, claim, self), action)

    def _first_action(self, flow: Flow, view: View, plan: Plan, has_place: bool) -> Action:
        may_start = has_place and not self._draining
        now = plan.events[0].at
        given = Circumstances(now, 0.0, self.worker.task_types, may_start, secrets=self.secrets.values)
        action = next_action(flow, view, plan, given, turn_of(self.clock))
        # Children that start with their parent are not there to be looked at before it is recorded.
        return Park(Wake(WakeReason.DUE, now)) if isinstance(action, LookAtChildren) else action

    async def create(self, new: NewExecution) -> None:
        """Create an execution that is due. Raises `Overloaded`, `ShuttingDown` and what the store raises."""
        refusal = self.refusal()
        if refusal is not None:
            raise refusal
        await self.store.start(new)
        self.recorded(View.fold(new.execution_id, new.events), new.events, new.wake)
        self.poller.nudge()

    async def send(self, mail: NewMail) -> None:
        """Send something to an execution, and let it know at once if it is here. Raises what
        `Store.send` raises."""
        try:
            await self.store.send(mail)
        except Exception as error:
            self._note_failure(error)
            raise
        self.sent([mail.execution_id] if mail.kind == "cancel" else ())

    def sent(self, cancelled: Sequence[str]) -> None:
        """Something was sent. Whoever it cancels is interrupted if it is worked on here; also if its
        claim has just come, and its work begins in this turn of the loop."""
        asyncio.get_running_loop().call_soon(self._driver.interrupt, cancelled)
        self.poller.nudge()
        if self.dispatcher is not None:
            self.dispatcher.nudge()

    def _note_failure(self, error: Exception) -> None:
        if isinstance(error, StoreFull):
            self.store_was_full()
        if isinstance(error, OutcomeUnknown):
            self.rescuer.suspect()

    def forget(self, execution_id: str) -> None:
        """Nobody waits for it any more."""
        self._waiters.forget(execution_id)

    # -- driving

    def _spawn(self, execution_id: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running[execution_id] = task
        task.add_done_callback(lambda _: self._done(execution_id, task))

    def _done(self, execution_id: str, task: asyncio.Task[None]) -> None:
        if self._running.get(execution_id) is task:
            del self._running[execution_id]
        if self._admission.waiting:
            self.poller.nudge()

    # -- continuing what is due

    def run_loops(self, *more: Coroutine[Any, Any, None]) -> None:
        """Start looking for due executions, and for stray ones; and `more`, which a drain ends at once."""
        loop = asyncio.get_running_loop()
        runs = (self.poller.run(), self.rescuer.run(), self.doctor.run(), *more)
        self._loops = [loop.create_task(run) for run in runs]
        if self.dispatcher is not None:
            self.dispatcher.start()

    def _take_up(self, claimed: Claimed) -> None:
        self._spawn(claimed.claim.execution_id, self._resume(claimed))

    async def _resume(self, claimed: Claimed) -> None:
        claim = claimed.claim
        try:
            flow = await self.flows.soon(claimed.digest, claimed.definition)
            view = view_of(claimed)
        except Exception as error:  # the edge of what is stored: damage has every form
            log.error("what is stored of execution %s cannot be read: %s", claim.execution_id, error)
            await self._driver.set_aside(claim, f"its stored history cannot be read: {error}")
            return
        loss = self._driver.loss_of(claim.execution_id)
        self.audience.moved(view)
        execution = ClaimedExecution(flow, view, claim, self, loss)
        await self._driver.drive(execution.with_mail(claimed.mail, claimed.newest_mail), None)

    # -- stopping

    async def drain(self, grace: timedelta, hurry: asyncio.Event) -> None:
        """Start nothing more; let running attempts end within `grace` (or until `hurry` is set)
        and record their results; then release the rest without spending an attempt."""
        self._draining = True
        self.poller.stop()
        await Drain(self.clock, self._running, self._driver.driven, self._loops).run(grace, hurry)
        if self.dispatcher is not None:
            await self.dispatcher.stop(hurry)
        self._waiters.all_left()
