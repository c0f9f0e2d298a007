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
from flow_manager.core.parser import FlowParser
from flow_manager.core.view import View
from flow_manager.engine.admission import EngineLimits
from flow_manager.engine.orchestrator import FlowOrchestrator
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

    def start(self, document: dict[str, Any] | Flow, waiter: FakeWaiter | None = None) -> FakeWaiter:
        flow = document if isinstance(document, Flow) else FlowParser().parse(document)
        waiter = waiter or FakeWaiter()
        self.orchestrator.start(flow, {}, flow.labels, waiter)
        return waiter

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
