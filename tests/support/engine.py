"""The engine's orchestrator on a real store, with a clock and a worker of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from flow_manager.core.definition import Flow
from flow_manager.core.mail import MailKind
from flow_manager.core.parser import FlowParser
from flow_manager.core.view import View
from flow_manager.engine.admission import EngineLimits
from flow_manager.engine.orchestrator import FlowOrchestrator
from flow_manager.ports.store import NewMail
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.fakes import FakeClock, FakeObserver, FakeWaiter, FakeWorker


@dataclass
class Engine:
    """Its loops do not run: a test looks for what is due itself, with `orchestrator.poller.look()`."""

    orchestrator: FlowOrchestrator
    store: SqliteStore
    worker: FakeWorker
    clock: FakeClock
    observer: FakeObserver

    def start(
        self,
        document: dict[str, Any] | Flow,
        waiter: FakeWaiter | None = None,
        input: dict[str, Any] | None = None,
    ) -> FakeWaiter:
        flow = document if isinstance(document, Flow) else FlowParser().parse(document)
        waiter = waiter or FakeWaiter()
        self.orchestrator.start(flow, input or {}, flow.labels, waiter)
        return waiter

    async def started(self, document: dict[str, Any], input: dict[str, Any] | None = None) -> str:
        """The id of an execution that has gone as far as it can by itself."""
        waiter = self.start(document, input=input)
        await self.settle()
        return waiter.execution_id

    async def held(self, document: dict[str, Any], task: str = "task1") -> str:
        """The id of an execution whose body of this task has started, and waits for the gate of it."""
        self.worker.gates[task] = asyncio.Event()
        before, waiter = len(self.worker.orders), self.start(document)
        while not any(order.task == task for order in self.worker.orders[before:]):
            await asyncio.sleep(0.001)
        return waiter.execution_id

    async def send(
        self, execution_id: str, name: str = "", payload: Any = None, kind: MailKind = "signal"
    ) -> None:
        await self.orchestrator.send(NewMail(execution_id, self.clock.now(), kind, name, payload))

    async def cancel(self, execution_id: str, reason: str = "") -> None:
        await self.send(execution_id, reason, kind="cancel")

    def view(self, execution_id: str) -> View:
        return self.store.describe(execution_id)

    def tasks(self, execution_id: str) -> list[str]:
        """Which tasks ran, and how each attempt ended."""
        return [f"{entry.task}:{entry.status}" for entry in self.view(execution_id).attempts]

    async def execute(self, document: dict[str, Any]) -> View:
        waiter = self.start(document)
        await asyncio.wait_for(waiter.told.wait(), 10)
        if waiter.error is not None:
            raise waiter.error
        return self.store.describe(waiter.execution_id)

    async def settle(self) -> None:
        """Wait until nothing is driven any more."""
        while self.orchestrator.running:
            await asyncio.sleep(0.001)

    async def go_on(self) -> None:
        """Look until nothing is due any more."""
        await self.settle()
        while self.store.agenda(self.clock.now()).due:
            await self.look()

    async def look(self) -> float:
        """One look for what is due, and all that it sets off."""
        nap = await self.orchestrator.poller.look()
        await self.settle()
        return nap


@contextlib.asynccontextmanager
async def engine(
    path: Path,
    worker: FakeWorker | None = None,
    clock: FakeClock | None = None,
    *,
    limits: EngineLimits | None = None,
    store: SqliteStore | None = None,
) -> AsyncIterator[Engine]:
    worker, clock, observer = worker or FakeWorker(), clock or FakeClock(), FakeObserver()
    store = store or SqliteStore(path)
    faults: list[BaseException] = []
    await store.open(clock.now(), faults.append)
    orchestrator = FlowOrchestrator(store, worker, clock, [observer], limits or EngineLimits())
    try:
        yield Engine(orchestrator, store, worker, clock, observer)
    finally:
        await orchestrator.drain(timedelta(0), asyncio.Event())
        await store.stop()
    assert faults == []
