"""F43: a restart with many open executions, of which many are overdue."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import httpx
import msgspec
import psutil
import pytest
from uuid_utils import uuid7

from flow_manager.core.events import AttemptStarted, Event, ExecutionStarted
from flow_manager.core.parser import FlowParser
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.ports.store import NewExecution
from flow_manager.stores.sqlite.reader import SqliteReader
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.documents import document, task
from tests.support.service import Service
from tests.support.soundness import assert_sound, starts
from tests.support.watching import Watch, p99

TIMER = document(task("wait", {"until": "${input.until}"}), task("nothing"), flow_id="timer")
FRESH = document(task("nothing"), flow_id="fresh")

READY: Final = 5.0
"""Seconds from the start of the process to the first answer."""
MEMORY: Final = 512
"""MiB that it has at most, at any time."""
AT_ONCE: Final = 5_000


def die(error: BaseException) -> NoReturn:
    raise AssertionError("the store failed") from error


def recorded(service: Service) -> Sequence[Event]:
    """The history of an execution that waits for its time."""
    until = datetime.now(UTC) + timedelta(hours=1)
    answer = service.execute({**TIMER, "input": {"until": until.isoformat()}}, "respond-async")
    execution_id = answer.json()["execution_id"]
    service.await_status(execution_id, "waiting")
    with closing(SqliteReader(service.database)) as reader:
        return reader.history(execution_id)


class Template:
    """An execution as the service has written it, for any time to wait for."""

    def __init__(self, history: Sequence[Event]) -> None:
        self._history = history
        self._flow = FlowParser().parse(TIMER)

    def waiting_until(self, until: datetime) -> NewExecution:
        events = [self._moved(event, until) for event in self._history]
        flow, at = self._flow, self._history[0].at
        wake = Wake(WakeReason.DUE, until)
        return NewExecution(
            str(uuid7()), flow.id, flow.document, flow.digest, at, events, wake, ExecutionStatus.WAITING
        )

    def _moved(self, event: Event, until: datetime) -> Event:
        if isinstance(event, ExecutionStarted):
            return msgspec.structs.replace(event, input={"until": until.isoformat()})
        if isinstance(event, AttemptStarted) and event.wait is not None:
            return msgspec.structs.replace(event, wait=msgspec.structs.replace(event.wait, until=until))
        return event


def fill(database: Path, template: Template, due_times: Sequence[datetime]) -> list[str]:
    """Store an execution for each time, which waits for it."""
    new = [template.waiting_until(due) for due in due_times]

    async def write() -> None:
        store = SqliteStore(database)
        await store.open(datetime.now(UTC), die)
        for first in range(0, len(new), AT_ONCE):
            await store.start_all(new[first : first + AT_ONCE])
        await store.stop()

    asyncio.run(write())
    return [each.execution_id for each in new]


def cancel_all(service: Service) -> None:
    """What sleeps until tomorrow."""
    body = {"action": "cancel", "filter": {"status": "waiting"}, "dry_run": False, "reason": "enough"}
    while service.client.post("/v1/executions:bulk", json=body).json()["matched"]:
        pass


class Scale(NamedTuple):
    """`slowest` is the bound for 99 of 100 answers while what is overdue is worked off, in seconds."""

    open: int
    overdue: int
    slowest: float


@pytest.mark.parametrize(
    "scale",
    [
        pytest.param(Scale(2_000, 400, 3.0), id="2,000"),
        pytest.param(Scale(50_000, 10_000, 0.5), id="50,000", marks=pytest.mark.torture),
    ],
)
def test_a_restart_answers_first_and_then_works_off_what_is_overdue(tmp_path: Path, scale: Scale) -> None:
    journal = tmp_path / "starts"
    service = Service(tmp_path, "--log-level", "error", environment={"TASK_JOURNAL": str(journal)})
    with service:
        template = Template(recorded(service))
        assert service.stop() == 0
    now = datetime.now(UTC)
    overdue = fill(service.database, template, [now - timedelta(minutes=1)] * scale.overdue)
    tomorrow = [now + timedelta(days=1)] * (scale.open - scale.overdue)
    asleep = fill(service.database, template, tomorrow)

    def status(client: httpx.Client) -> httpx.Response:
        return client.get(f"/flow/status/{random.choice(overdue)}")

    def execute(client: httpx.Client) -> httpx.Response:
        return client.post("/flow/execute", json=FRESH)

    began = time.monotonic()
    with service:
        ready = time.monotonic() - began
        assert service.process is not None
        process = psutil.Process(service.process.pid)
        memory = []
        with Watch(service) as health, Watch(service, status) as looked, Watch(service, execute) as executed:
            while service.client.get("/v1/executions:counts").json()["counts"]["waiting"] > len(asleep) + 1:
                memory.append(process.memory_info().rss >> 20)
                time.sleep(0.1)
        cancel_all(service)
        service.await_none_open(60.0)
        memory.append(process.memory_info().rss >> 20)
        assert service.stop() == 0

    assert ready <= READY
    assert max(memory) <= MEMORY
    assert max(map(p99, (health.seconds, looked.seconds, executed.seconds))) <= scale.slowest
    fired = {start[0]: times for start, times in starts(journal).items() if start[1] == "task2"}
    assert fired == dict.fromkeys(overdue, 1)
    assert_sound(service.database, [*overdue, *asleep], journal)
