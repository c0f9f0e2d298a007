"""One claimed execution: decide, act, commit, until it ends or parks.

A new start, a resumed wait and a recovery after a crash all run the same loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from flow_manager.core.decide import (
    WORKER_DIED,
    Action,
    Circumstances,
    DecideAgain,
    Finish,
    Loss,
    Park,
    RunAttempt,
    deadline_of,
    decide,
)
from flow_manager.core.definition import Flow, Task
from flow_manager.core.events import AttemptEnded, AttemptReleased, Event
from flow_manager.core.results import TaskError
from flow_manager.core.states import Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.errors import StoreFull
from flow_manager.ports.clock import Clock
from flow_manager.ports.store import Claim, Step, Store
from flow_manager.ports.worker import AttemptOrder, AttemptResult, Worker

log = logging.getLogger(__name__)

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

    @property
    def may_start_attempts(self) -> bool: ...

    def recorded(self, view: View, events: Sequence[Event]) -> None: ...

    def store_was_full(self) -> None: ...


class ClaimedExecution:
    """An execution that belongs to this engine: its flow, its view, and the claim to write to it."""

    __slots__ = (
        "_around",
        "_driver",
        "_is_attempting",
        "_is_released",
        "_loss",
        "_pending",
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
        self._pending: list[Event] = []
        self._loss = loss
        self._is_attempting = False
        self._is_released = False
        self._driver: asyncio.Task[object] | None = None

    async def drive(self, action: Action | None = None) -> Wake | None:
        """Go on from `action`, or from a decision, until the execution ends (the answer is None)
        or parks (the answer is what it waits for). Raises `StaleClaim` if it belongs to another
        by now."""
        self._driver = asyncio.current_task()
        while True:
            if action is None:
                now = self._around.clock.now()
                action = next_action(self.flow, self.view, self._pending, self._circumstances(now))
                await self._commit(action, now)
            if isinstance(action, Park):
                return action.wake
            if not isinstance(action, RunAttempt):
                return None
            if not await self._attempt(action.task):
                return await self._release(action.task)
            action = None

    def release(self) -> None:
        """Give the attempt that is running back. Between attempts there is nothing to interrupt:
        a step that is being recorded ends first."""
        if self._is_attempting and self._driver is not None:
            self._is_released = True
            self._driver.cancel()

    async def _attempt(self, task: Task) -> bool:
        """Run one attempt and note its result; False if it is to be given back instead. A task that
        must never start twice is not given back: its attempt stays open, as if it was lost."""
        if not self._around.may_start_attempts:
            return False
        self._is_attempting = True
        try:
            result = await self._around.worker.run(self._order(task))
        except asyncio.CancelledError:
            if self._is_released:
                self._loss = Loss("the service stopped before the attempt had ended", blame=False)
                return task.on_lost == "unknown"
            result = CANCELLED_FROM_INSIDE
        finally:
            self._is_attempting = False
        await self._forget_cancellations()
        if result.is_lost:
            log.warning(
                "execution %s lost its worker in task %s: %s",
                self.claim.execution_id,
                task.name,
                result.message,
            )
            self._loss = Loss(result.message)
            return True  # the attempt stays open, which is what a lost one looks like to a decision
        view = self.view
        self._note(
            AttemptEnded(
                self._around.clock.now(),
                task.name,
                view.run,
                view.attempt,
                result.outcome,
                result.message,
                result.data,
                result.error,
            )
        )
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

    async def _release(self, task: Task) -> Wake:
        now = self._around.clock.now()
        self._note(AttemptReleased(now, task.name, self.view.run, self.view.attempt))
        wake = Wake(WakeReason.DUE, now)
        await self._commit(Park(wake), now)
        return wake

    def _note(self, event: Event) -> None:
        self._pending.append(event)
        self.view.apply(event)

    def _order(self, task: Task) -> AttemptOrder:
        view = self.view
        timeout = None if task.timeout is None else task.timeout.total_seconds()
        time_left, deadline = None, deadline_of(self.flow, view)
        if deadline is not None:
            time_left = max(0.0, (deadline - self._around.clock.now()).total_seconds())
        return AttemptOrder(
            view.execution_id,
            view.flow_id,
            task,
            view.run,
            view.attempt,
            view.input,
            view.results,
            timeout,
            time_left,
            view.is_isolated,
        )

    def _circumstances(self, now: datetime) -> Circumstances:
        around = self._around
        return Circumstances(
            now,
            random.random(),
            around.worker.task_types,
            around.may_start_attempts,
            self._loss,
        )

    async def _commit(self, action: Action, now: datetime) -> None:
        """Make the pending events and the new wake durable. A full store is waited for: the result
        of the attempt is in hand and must not be lost."""
        events, self._pending = self._pending, []
        wake = wake_of(action, now)
        step = Step(self.claim, self.view.last_seq - len(events), events, wake, self.view.status)
        while True:
            try:
                await self._around.store.commit(step)
                break
            except StoreFull:
                log.warning("the store is full; execution %s waits for space", self.claim.execution_id)
                self._around.store_was_full()
                await asyncio.sleep(FULL_STORE_PATIENCE)
        self._around.recorded(self.view, events)


def next_action(flow: Flow, view: View, pending: list[Event], given: Circumstances) -> Action:
    """Decide, fold the decision into `view`, and add what is to be recorded to `pending`."""
    while True:
        decision = decide(flow, view, given)
        for event in decision.events:
            view.apply(event)
        pending.extend(decision.events)
        if not isinstance(decision.action, DecideAgain):
            return decision.action


def wake_of(action: Action, now: datetime) -> Wake | None:
    """The wake reason that an action implies; none if the execution has ended."""
    if isinstance(action, Park):
        return action.wake
    if isinstance(action, Finish):
        return None
    return Wake(WakeReason.CLAIM, now)
