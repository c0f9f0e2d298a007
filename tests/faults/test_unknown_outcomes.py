"""F05: the store writes, and then says that it does not know whether it has."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flow_manager import bootstrap
from flow_manager.core.parser import FlowParser
from flow_manager.core.states import Wake
from flow_manager.core.view import View
from flow_manager.engine import rescuer
from flow_manager.engine.admission import EngineLimits
from flow_manager.engine.clock import SystemClock
from flow_manager.engine.native import NativeBackend
from flow_manager.engine.orchestrator import FlowOrchestrator
from flow_manager.errors import OutcomeUnknown
from flow_manager.ports.store import Claim, Claimed, NewExecution, Step
from flow_manager.settings import Settings
from flow_manager.stores.sqlite.reader import SqliteReader
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.documents import document, task
from tests.support.fakes import FakeWorker
from tests.support.soundness import assert_sound

FLOW = document(task("a"), task("b"), task("c"), flow_id="unknown")


class ForgetfulStore(SqliteStore):
    """Writes as asked, and then sometimes does not know it."""

    def __init__(self, path: Path, share: float, seed: int) -> None:
        super().__init__(path)
        self.chance = random.Random(seed)
        self.share = share
        self.forgotten = 0

    async def _perhaps(self, write: Callable[[], Awaitable[Any]]) -> Any:
        answer = await write()
        if self.chance.random() < self.share:
            self.forgotten += 1
            raise OutcomeUnknown("the connection broke")
        return answer

    def start(self, new: NewExecution) -> Awaitable[Claim]:
        return self._perhaps(lambda: SqliteStore.start(self, new))

    def commit(self, step: Step) -> Awaitable[Sequence[str]]:
        return self._perhaps(lambda: SqliteStore.commit(self, step))

    def set_aside(self, claim: Claim, wake: Wake) -> Awaitable[None]:
        return self._perhaps(lambda: SqliteStore.set_aside(self, claim, wake))

    def claim_due(self, now: datetime, limit: int) -> Awaitable[Sequence[Claimed]]:
        return self._perhaps(lambda: SqliteStore.claim_due(self, now, limit))


@pytest.mark.parametrize(
    ("share", "executions"),
    [
        (0.05, 60),
        (0.2, 60),
        pytest.param(0.05, 2_000, marks=pytest.mark.torture),
        pytest.param(0.1, 2_000, marks=pytest.mark.torture),
        pytest.param(0.2, 2_000, marks=pytest.mark.torture),
    ],
)
def test_what_is_not_known_is_found_out_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, executions: int
) -> None:
    monkeypatch.setattr(rescuer, "SUSPICIOUS", 0.02)
    database = tmp_path / "unknown.db"
    store = ForgetfulStore(database, share, seed=7)
    orchestrator = FlowOrchestrator(
        store, FakeWorker(), SystemClock(), [], EngineLimits(max_starting=executions + 1)
    )
    faults: list[BaseException] = []
    backend = NativeBackend(orchestrator, bootstrap.build_registry(Settings()), faults.append)
    flow = FlowParser().parse(FLOW)
    futures: list[Future[View]] = [backend.submit(flow, {}) for _ in range(executions)]

    views, unknown = [], 0
    for future in futures:
        try:
            views.append(future.result(60))
        except OutcomeUnknown:
            unknown += 1
    with closing(SqliteReader(database)) as reader:
        deadline = time.monotonic() + 60
        while reader.open_executions() and time.monotonic() < deadline:
            time.sleep(0.01)
        stored = reader.executions(limit=executions * 2)
    backend.close(timedelta(0))

    assert store.forgotten > executions * share
    assert len(views) + unknown == executions
    assert len(views) <= len(stored) <= executions
    assert {view.status.value for view in views} == {"completed"}
    assert_sound(database, [summary.execution_id for summary in stored])
    assert faults == []
