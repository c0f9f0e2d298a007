"""A process that executes one flow and dies at its n-th crossing of a durable boundary.

`python -m tests.faults.crash_point DATABASE JOURNAL N SEED`; the seed chooses the flow. It prints the
id of the execution once its start is acknowledged, and exits with 0 if everything in the database
has ended before the n-th crossing.

A boundary is crossed before and after each write of the store and each body of a task.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable, Container, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flow_manager import bootstrap
from flow_manager.core.parser import FlowParser
from flow_manager.core.states import Wake
from flow_manager.engine.admission import EngineLimits
from flow_manager.engine.clock import SystemClock
from flow_manager.engine.native import NativeBackend
from flow_manager.engine.orchestrator import FlowOrchestrator
from flow_manager.ports.store import Claim, Claimed, NewExecution, Step
from flow_manager.ports.worker import AttemptOrder, AttemptResult, Worker
from flow_manager.settings import Settings
from flow_manager.stores.sqlite.reader import SqliteReader
from flow_manager.stores.sqlite.store import SqliteStore
from flow_manager.tasks.processes import ProcessPool
from flow_manager.tasks.registry import TaskRegistry
from flow_manager.tasks.worker import TaskWorker
from tests.support.documents import document, task

DIED = 99


def flow_of(seed: int) -> dict[str, Any]:
    """The flow of seed 0 has a task of each kind; the others are drawn."""
    kinds = [
        task("nothing"),
        task("fail_until", {"attempt": 2}, retry={"max_attempts": 3, "delay": "10ms"}),
        task("plain"),
    ]
    if seed == 0:
        return document(*kinds, flow_id="crossing")
    child = document(task("nothing"), flow_id="child")["flow"]
    more = [task("isolated"), task("wait", {"for": "10ms"}), task("flow", {"flow": child})]
    chance = random.Random(seed)
    return document(*chance.choices([*kinds, *more], k=chance.randint(1, 4)), flow_id="crossing")


class Boundary:
    """Counts crossings, and ends the process at one of them."""

    def __init__(self, last: int) -> None:
        self.crossings = 0
        self._last = last

    def cross(self) -> None:
        self.crossings += 1
        if self.crossings == self._last:
            os._exit(DIED)


class CrashingStore(SqliteStore):
    def __init__(self, path: Path, boundary: Boundary) -> None:
        super().__init__(path)
        self._boundary = boundary

    async def _crossing(self, write: Callable[[], Awaitable[Any]]) -> Any:
        self._boundary.cross()
        answer = await write()
        self._boundary.cross()
        return answer

    def start(self, new: NewExecution) -> Awaitable[Claim]:
        return self._crossing(lambda: SqliteStore.start(self, new))

    def commit(self, step: Step) -> Awaitable[Sequence[str]]:
        return self._crossing(lambda: SqliteStore.commit(self, step))

    def set_aside(self, claim: Claim, wake: Wake) -> Awaitable[None]:
        return self._crossing(lambda: SqliteStore.set_aside(self, claim, wake))

    def claim_due(self, now: datetime, limit: int) -> Awaitable[Sequence[Claimed]]:
        return self._crossing(lambda: SqliteStore.claim_due(self, now, limit))


class CrashingWorker:
    def __init__(self, inner: Worker, boundary: Boundary) -> None:
        self._inner = inner
        self._boundary = boundary

    @property
    def task_types(self) -> Container[str]:
        return self._inner.task_types

    async def run(self, order: AttemptOrder) -> AttemptResult:
        self._boundary.cross()
        result = await self._inner.run(order)
        self._boundary.cross()
        return result

    async def stop(self) -> None:
        await self._inner.stop()


def open_backend(database: Path, registry: TaskRegistry, boundary: Boundary) -> NativeBackend:
    worker = TaskWorker(
        registry, threads=2, processes=ProcessPool(registry, size=1, most_result=1 << 18), most_result=1 << 18
    )
    store = CrashingStore(database, boundary)
    orchestrator = FlowOrchestrator(
        store, CrashingWorker(worker, boundary), SystemClock(), [], EngineLimits()
    )
    return NativeBackend(orchestrator, registry, lambda _: os._exit(74))


def main(database: Path, journal: str, last: int, seed: int) -> None:
    logging.disable()
    os.environ["TASK_JOURNAL"] = journal
    registry = bootstrap.build_registry(Settings(task_modules=("tests.support.service_tasks",)))
    boundary = Boundary(last)
    backend = open_backend(database, registry, boundary)
    started = backend.execute(FlowParser().parse(flow_of(seed)), {}, wait=timedelta(0))
    print(started.execution_id, flush=True)
    with closing(SqliteReader(database)) as reader:
        while reader.open_executions():
            time.sleep(0.01)
    backend.close(timedelta(0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
