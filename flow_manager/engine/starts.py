"""Starts: from a caller's thread to the engine's loop, and the wait for what comes of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from datetime import timedelta
from typing import Any, Final

from flow_manager.core.definition import Flow
from flow_manager.core.states import FOR_AN_OPERATOR
from flow_manager.core.view import View
from flow_manager.engine.batch import Batch
from flow_manager.engine.inputs import accepted_input
from flow_manager.engine.loop_thread import LoopThread
from flow_manager.engine.orchestrator import FlowOrchestrator
from flow_manager.engine.terms import asked_of
from flow_manager.engine.waiters import Promise, Reply
from flow_manager.errors import (
    ExecutionPruned,
    ExecutionUnknown,
    FlowManagerError,
    KeyConflict,
    OutcomeUnknown,
    ShuttingDown,
    StartedBefore,
)
from flow_manager.ports.starting import Accepted, Start, StartOptions, StartRequest

START_PATIENCE: Final = 10.0
"""Seconds to wait for a start to become durable; after that its outcome is called unknown."""
FIRST_LOOK: Final = 0.01
"""Seconds between the first two looks at an execution that somebody else has started,"""
LAST_LOOK: Final = 0.5
"""and between later ones: each is twice as long as the one before."""


class Starts:
    """As `Backend` has them. `describe` looks an execution up, on `lookups` for those who must not wait."""

    def __init__(
        self,
        orchestrator: FlowOrchestrator,
        loop: LoopThread,
        describe: Callable[[str], View],
        lookups: Executor,
        most_input: int,
    ) -> None:
        self._orchestrator = orchestrator
        self._loop = loop
        self.describe = describe
        self._lookups = lookups
        self._most_input = most_input

    def execute(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        labels: Mapping[str, str] | None,
        wait: timedelta | None,
    ) -> View:
        reply = Reply(waits=wait is None or wait > timedelta(0))
        self._start(flow, input, labels, reply)
        return self._hear(reply, wait)

    def start(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        options: StartOptions,
        labels: Mapping[str, str] | None,
        wait: timedelta | None,
    ) -> Start:
        reply = Reply(waits=wait is None or wait > timedelta(0))
        try:
            self._start(flow, input, labels, reply, options)
            return Start(self._hear(reply, wait), is_new=True)
        except (KeyConflict, ExecutionPruned):
            raise
        except StartedBefore as known:
            return Start(self._after(known.execution_id, wait), is_new=False)

    def start_all(
        self, flow: Flow, requests: Sequence[StartRequest]
    ) -> Sequence[Accepted | FlowManagerError]:
        batch = Batch(flow, requests, self._orchestrator.clock.now(), self._most_input)
        return self._loop.complete(batch.start(self._orchestrator), START_PATIENCE)

    def submit(self, flow: Flow, input: Mapping[str, Any], labels: Mapping[str, str] | None) -> Future[View]:
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
            view = self._still_there(execution_id)
            is_left = view.wake is not None and view.wake.reason in FOR_AN_OPERATOR
            left = deadline - time.monotonic()
            if view.is_ended or is_left or left <= 0 or self._orchestrator.is_draining:
                return view
            time.sleep(min(nap, left))
            nap = min(2 * nap, LAST_LOOK)

    def _still_there(self, execution_id: str) -> View:
        try:
            return self.describe(execution_id)
        except ExecutionUnknown as error:  # it was there a moment ago, with the key
            detail = f"this request has started execution {execution_id}, which was pruned just now"
            raise ExecutionPruned(detail, execution_id) from error

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
