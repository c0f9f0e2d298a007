"""One claimed execution: decide, act, commit, until it ends or parks.

A new start, a resumed wait and a recovery after a crash all run the same loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

from flow_manager.core.children import Children
from flow_manager.core.decide import next_action
from flow_manager.core.decision import (
    WORKER_DIED,
    Action,
    Circumstances,
    LookAtChildren,
    Loss,
    Park,
    Plan,
    RunAttempt,
)
from flow_manager.core.definition import Flow
from flow_manager.core.events import AttemptEnded, AttemptReleased, Event
from flow_manager.core.mail import Mail
from flow_manager.core.results import TaskError
from flow_manager.core.states import Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.core.webhooks import Webhooks
from flow_manager.engine.recording import order_of, step_of, view_of, with_deliveries
from flow_manager.engine.secrets import Secrets
from flow_manager.engine.turns import turn_of
from flow_manager.errors import MailUnread, StoreFull
from flow_manager.ports.clock import Clock
from flow_manager.ports.store import Claim, Store
from flow_manager.ports.worker import AttemptResult, Worker

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

CANCELLED_FROM_INSIDE: Final = AttemptResult(
    "failure",
    "the task body cancelled the task it runs in",
    error=TaskError("task.failed", "the task body cancelled the task it runs in"),
)
FULL_STORE_PATIENCE: Final = 1.0
"""Seconds between two tries to record a step in a full store."""


class Surroundings(Protocol):
    """What an execution needs of the engine around it."""

    store: Store
    worker: Worker
    clock: Clock
    secrets: Secrets
    webhooks: Webhooks

    @property
    def may_start_attempts(self) -> bool: ...

    attempted: Callable[[str, str, float], None]
    """Told of each body that has run: the task type, the outcome, and the seconds that it took."""

    def recorded(self, view: View, events: Sequence[Event], wake: Wake | None) -> None: ...

    def store_was_full(self) -> None: ...

    def sent(self, execution_ids: Sequence[str]) -> None: ...


class ClaimedExecution:
    """An execution that belongs to this engine: its flow, its view, and the claim to write to it."""

    __slots__ = (
        "_around",
        "_children",
        "_driver",
        "_is_attempting",
        "_is_cancelled",
        "_is_released",
        "_loss",
        "_mail",
        "_newest_mail",
        "_noted",
        "claim",
        "flow",
        "view",
    )

    def __init__(
        self, flow: Flow, view: View, claim: Claim, around: Surroundings, loss: Loss = WORKER_DIED
    ) -> None:
        self.flow = flow
        self.view = view
        self.claim = claim
        self._around = around
        self._noted: list[Event] = []
        """What has happened since the last step was recorded: facts, and no decisions."""
        self._mail: Sequence[Mail] = ()
        self._newest_mail = 0
        self._children: Children | None = None
        self._loss = loss
        self._is_attempting = False
        self._is_cancelled = False
        self._is_released = False
        self._driver: asyncio.Task[object] | None = None

    def with_mail(self, mail: Sequence[Mail], newest: int) -> ClaimedExecution:
        """The same, knowing what was sent to it."""
        self._mail, self._newest_mail = mail, newest
        return self

    async def drive(self, action: Action | None = None) -> Wake | None:
        """Go on from `action`, or from a decision, until the execution ends (the answer is None)
        or parks (the answer is what it waits for). Raises `StaleClaim` if it belongs to another
        by now."""
        self._driver = asyncio.current_task()
        while True:
            if action is None:
                action = await self._step()
            if isinstance(action, Park):
                return action.wake
            if not isinstance(action, RunAttempt):
                return None
            if not await self._attempt(action):
                return await self._release(action)
            action = None

    def release(self) -> None:
        """Give the attempt that is running back. Between attempts there is nothing to interrupt:
        a step that is being recorded ends first."""
        if self._is_attempting and self._driver is not None:
            self._is_released = True
            self._driver.cancel()

    def cancel(self) -> None:
        """A cancellation was sent: interrupt what is running, unless it undoes something."""
        if self.view.ending is not None:
            return
        self._is_cancelled = True
        if self._is_attempting and self._driver is not None:
            self._driver.cancel()

    # -- deciding

    async def _step(self) -> Action:
        """Decide and record. What was sent meanwhile is read, and then it is decided anew."""
        while True:
            # What was noted has just happened: that is the time of the step, too.
            now = self._noted[-1].at if self._noted else self._around.clock.now()
            plan = Plan()
            plan.events += self._noted
            action = await self._next_action(plan, now)
            try:
                await self._commit(plan, action, now)
            except MailUnread:
                await self._read_again()
            else:
                return action

    async def _next_action(self, plan: Plan, now: datetime) -> Action:
        has_time = turn_of(self._around.clock)
        while True:
            action = next_action(self.flow, self.view, plan, self._circumstances(now), has_time)
            if not isinstance(action, LookAtChildren):
                self._children = None
                return action
            asked = (self.view.execution_id, action.run, action.attempt, action.with_ends)
            self._children = await self._patiently(self._around.store.look_at_children, *asked)

    async def _read_again(self) -> None:
        """What is stored, and what has happened since; decisions that were not recorded are forgotten."""
        claimed = await self._patiently(self._around.store.read_again, self.claim)
        self.view = view_of(claimed)
        for event in self._noted:
            self.view.apply(event)
        self.with_mail(claimed.mail, claimed.newest_mail)

    def _circumstances(self, now: datetime) -> Circumstances:
        around = self._around
        return Circumstances(
            now,
            random.random(),
            around.worker.task_types,
            around.may_start_attempts,
            self._loss,
            self._mail,
            self._children,
            around.secrets.values,
        )

    # -- acting

    async def _attempt(self, action: RunAttempt) -> bool:
        """Run one attempt and note its result; False if it is to be given back instead. A task that
        must never start twice is not given back: its attempt stays open, as if it was lost."""
        if not self._around.may_start_attempts:
            return False
        task = action.task
        self._is_cancelled &= self.view.ending is None  # what undoes something is not interrupted
        if self._is_cancelled:
            return await self._leave_open()
        self._is_attempting = True
        try:
            result = await self._around.worker.run(order_of(self.flow, self.view, action, self._around.clock))
        except asyncio.CancelledError:
            if self._is_released:
                self._loss = Loss("the service stopped before the attempt had ended", blame=False)
                return task.on_lost == "unknown"
            if self._is_cancelled:
                return await self._leave_open()
            result = CANCELLED_FROM_INSIDE
        finally:
            self._is_attempting = False
        await self._forget_cancellations()
        if result.is_lost:
            told = (self.claim.execution_id, task.name, result.message)
            log.warning("execution %s lost its worker in task %s: %s", *told)
            self._loss = Loss(result.message)
            return True  # the attempt stays open, which is what a lost one looks like to a decision
        self._note(self._ended(action, result))
        return True

    def _ended(self, action: RunAttempt, result: AttemptResult) -> AttemptEnded:
        view, task = self.view, action.task
        if task.output_schema is not None and result.outcome == "success":
            result = result.checked(task.output_schema)
        if task.input is not None and task.input.secrets_used:
            result = self._around.secrets.hidden_in(result)
        now = self._around.clock.now()
        took = (now - view.attempts[-1].started_at).total_seconds()
        self._around.attempted(task.type, result.outcome, took)
        return AttemptEnded(
            now,
            task.name,
            view.run,
            view.attempt,
            result.outcome,
            result.message,
            result.data,
            result.error,
        )

    async def _leave_open(self) -> bool:
        """The attempt was told to stop, since the execution is cancelled: the decision sees to the rest."""
        self._is_attempting = self._is_cancelled = False
        await self._forget_cancellations()
        await self._read_again()
        return True

    async def _forget_cancellations(self) -> None:
        """A body on the loop shares its task with the engine, and may have cancelled it; or a release
        came together with the result. The result is in hand, and its step must be recorded."""
        driver = self._driver
        if driver is None or not driver.cancelling():
            return
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        while driver.cancelling():
            driver.uncancel()

    async def _release(self, action: RunAttempt) -> Wake:
        now = self._around.clock.now()
        self._note(AttemptReleased(now, action.task.name, self.view.run, self.view.attempt))
        wake = Wake(WakeReason.DUE, now)
        plan = Plan()
        plan.events += self._noted
        await self._commit(plan, Park(wake), now)
        return wake

    def _note(self, event: Event) -> None:
        self._noted.append(event)
        self.view.apply(event)

    # -- recording

    async def _commit(self, plan: Plan, action: Action, now: datetime) -> None:
        """Make a step durable."""
        step = step_of(self.claim, self.view, plan, action, now, self._newest_mail)
        if step.wake is None or step.wake.reason is not WakeReason.CLAIM:
            step = with_deliveries(step, self.flow, self.view, self._around.webhooks)
        told = await self._patiently(self._around.store.commit, step)
        self._noted = []
        if step.taken:
            self._mail = tuple(mail for mail in self._mail if mail.number not in step.taken)
        self._around.recorded(self.view, plan.events, step.wake)
        if told or step.outbox:
            self._around.sent(told)

    async def _patiently(self, ask: Callable[..., Awaitable[Answer]], *what: Any) -> Answer:
        """What the store answers. A full one is waited for: the result of the attempt is in hand and must
        not be lost."""
        while True:
            try:
                return await ask(*what)
            except StoreFull:
                log.warning("the store is full; execution %s waits for space", self.claim.execution_id)
                self._around.store_was_full()
                await asyncio.sleep(FULL_STORE_PATIENCE)
