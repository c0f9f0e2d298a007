"""Long reads share a few threads, and always leave some."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

import pytest

from flow_manager.api.room import LONG_READS, Room
from flow_manager.core.events import Event
from flow_manager.core.states import ExecutionStatus
from flow_manager.errors import Overloaded
from flow_manager.ports.backend import Summary, Violation
from flow_manager.settings import SETTINGS, Settings
from tests.support.fake_backend import DOCUMENT, EXECUTION, FakeBackend
from tests.unit.api.conftest import client_of, kind_of

LONG = ("/v1/doctor", "/v1/executions", f"/v1/executions/{EXECUTION}/history")
SHORT = (
    "/health",
    "/health/ready",
    f"/flow/status/{EXECUTION}",
    f"/v1/executions/{EXECUTION}",
    "/v1/tasks",
    "/",
)


@dataclass
class SlowBackend(FakeBackend):
    """Its long reads last until `going_on` is set; `reading` counts those that have begun."""

    going_on: threading.Event = field(default_factory=threading.Event)
    reading: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def executions(self, *, limit: int = 50, status: ExecutionStatus | None = None) -> Sequence[Summary]:
        self._linger()
        return super().executions(limit=limit, status=status)

    def history(self, execution_id: str) -> Sequence[Event]:
        self._linger()
        return super().history(execution_id)

    def violations(self) -> Sequence[Violation]:
        self._linger()
        return super().violations()

    def _linger(self) -> None:
        self.reading.release()
        assert self.going_on.wait(10)


class LongReads:
    """While this is entered, as many long reads are in work as may be, of each kind in turn."""

    def __init__(self, backend: SlowBackend, settings: Settings) -> None:
        self.client = client_of(backend, settings)
        self.statuses: list[int] = []
        self._backend = backend
        self._threads = [
            threading.Thread(target=self._read, args=(LONG[number % len(LONG)],))
            for number in range(LONG_READS)
        ]

    def _read(self, path: str) -> None:
        self.statuses.append(self.client.application.test_client().get(path).status_code)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            assert self._backend.reading.acquire(timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        self._backend.going_on.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("path", LONG)
def test_a_long_read_is_refused_while_there_are_enough(path: str) -> None:
    with LongReads(SlowBackend(), Settings()) as reads:
        refused = reads.client.get(path)

    assert kind_of(refused) == (503, "overloaded")
    assert refused.headers["Retry-After"] == "1"
    assert reads.statuses == [200] * LONG_READS
    assert reads.client.get(path).status_code == 200


@pytest.mark.parametrize("path", SHORT)
def test_a_short_read_has_an_answer_all_the_same(path: str) -> None:
    with LongReads(SlowBackend(), Settings()) as reads:
        status = reads.client.get(path).status_code

    assert status == 200


def test_a_flow_is_executed_all_the_same() -> None:
    with LongReads(SlowBackend(), Settings()) as reads:
        status = reads.client.post("/flow/execute", json=DOCUMENT).status_code

    assert status == 200


@pytest.mark.parametrize("path", LONG)
def test_a_long_read_that_fails_gives_its_place_back(path: str) -> None:
    backend = FakeBackend(error=RuntimeError("broken"))
    client = client_of(backend, Settings())
    failed = [client.get(path).status_code for _ in range(LONG_READS + 1)]
    backend.error = None

    assert failed == [500] * (LONG_READS + 1)
    assert client.get(path).status_code == 200


def test_however_few_threads_there_are_one_is_left() -> None:
    threads = next(setting for setting in SETTINGS if setting.name == "handler_threads")

    for number in range(int(threads.within[0]), 100):
        bodies, reads = _places(Room.for_bodies(number)), _places(Room.for_long_reads(number))
        assert bodies >= 1
        assert reads >= 1
        assert bodies + reads < number


def _places(room: Room) -> int:
    count = 0
    with ExitStack() as taken:
        while True:
            try:
                taken.enter_context(room)
            except Overloaded:
                return count
            count += 1
