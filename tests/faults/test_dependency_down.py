"""F42: a service that flows call is down, while more and more executions retry, and comes back."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import httpx
import pytest

from flow_manager.stores.sqlite.reader import SqliteReader
from flow_manager.tasks.builtin.circuit import LEAST_RATE
from tests.support.documents import document, task
from tests.support.fault_server import Connection, Received, answering, fault_server, hang, sending
from tests.support.service import Service
from tests.support.soundness import assert_sound
from tests.support.watching import Watch, p99

QUICK = document(task("nothing"), task("plain"), flow_id="quick")

UP: Final = answering(b"{}")
DOWN: Final = (answering(status=503, reason="Busy"), sending(b""), hang)
"""It says so, hangs up, or says nothing."""
DOWN_CODES: Final = {"http.503", "http.protocol", "http.timeout"}

WHILE_DOWN: Final = 0.1
"""Calls at most in a second in which it is left alone, as a share of what is normal;"""
COMING_BACK: Final = 2.0
"""the same when it is back."""
HEALTHY: Final = 0.1
"""Seconds in which health answers,"""
USABLE: Final = 0.5
"""and in which another flow is executed."""
IMPATIENT: Final = 10
"""One of so many executions does not retry."""


class Shop:
    """A web service that notes when it was called, and is down when it is told to be."""

    def __init__(self) -> None:
        self.calls: list[float] = []
        self.is_down = False
        self.url = ""
        self._ways = itertools.cycle(DOWN)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with fault_server(self._behave) as server:
            self.url = server.url("/orders")
            self._ready.set()
            await self._stopping.wait()

    async def _behave(self, connection: Connection, request: Received) -> None:
        self.calls.append(time.monotonic())
        # A call fails now and then, whatever the service; after it, a circuit has seen many that did not.
        is_down = self.is_down or len(self.calls) == 1
        await (next(self._ways) if is_down else UP)(connection, request)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()


class Orders:
    """Starts executions by the clock that call the shop. What it did not get done in time it leaves out, so
    that a busy machine makes no rush of its own."""

    def __init__(self, service: Service, shop: Shop, rate: float) -> None:
        self.patient: list[str] = []
        self.impatient: list[str] = []
        self.seconds = 0.0
        self._rate = rate
        self._client = httpx.Client(base_url=service.client.base_url, timeout=60.0)
        self._flows = [order(shop, flow_id="patient", max_attempts=100), order(shop, flow_id="impatient")]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def per_second(self) -> float:
        """Executions that were started a second, each with one first attempt. So many calls are made when
        all is well: this is what is normal."""
        return (len(self.patient) + len(self.impatient)) / self.seconds

    def _run(self) -> None:
        began = due = time.monotonic()
        for number in itertools.count(1):
            due = max(due + 1 / self._rate, time.monotonic())
            if self._stopping.wait(due - time.monotonic()):
                break
            is_impatient = number % IMPATIENT == 0
            answer = self._client.post(
                "/flow/execute", json=self._flows[is_impatient], headers={"Prefer": "respond-async"}
            )
            (self.impatient if is_impatient else self.patient).append(answer.json()["execution_id"])
        self.seconds = time.monotonic() - began

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._client.close()


def order(shop: Shop, flow_id: str, max_attempts: int = 1) -> dict[str, Any]:
    call = {"method": "POST", "url": shop.url, "json": {"number": 1}, "read_timeout": "1s"}
    return document(task("http", call, retry={"max_attempts": max_attempts}), flow_id=flow_id)


def execute(client: httpx.Client) -> httpx.Response:
    answer = client.post("/flow/execute", json=QUICK)
    assert answer.json()["status"] == "completed"
    return answer


def open_executions(service: Service) -> int:
    count: int = service.client.get("/health").json()["open_executions"]
    return count


def await_worked_off(service: Service, most: int, patience: float) -> None:
    """Wait until no more are open than there are at any time."""
    deadline = time.monotonic() + patience
    while (count := open_executions(service)) > most:
        assert time.monotonic() < deadline, f"{count} executions are still open after {patience:.0f} s"
        time.sleep(0.2)


def busiest(calls: Sequence[float], first: float, last: float) -> int:
    """The most calls within a second, wherever between these times it begins."""
    within = calls[bisect_left(calls, first) : bisect_left(calls, last)]
    return max((bisect_left(within, call + 1.0) - number for number, call in enumerate(within)), default=0)


def ends(database: Path, execution_ids: Sequence[str]) -> Counter[str]:
    """How many completed, and how many ended with which code."""
    with closing(SqliteReader(database)) as reader:
        views = [reader.describe(execution_id) for execution_id in execution_ids]
    return Counter(view.status.value if view.error is None else view.error.code for view in views)


class Scale(NamedTuple):
    """`rate` is in executions a second. All times are in seconds: how long the shop is `up` and then `down`,
    and after how much of that it has to be left alone. `waiting` is how many must wait for it in the end;
    `modules` are more modules of tasks; `typical` says which of many answers must be quick."""

    rate: float
    up: float
    down: float
    left_alone: float
    waiting: int
    modules: tuple[str, ...]
    typical: Callable[[Sequence[float]], float]


SHORT = Scale(40.0, 0.5, 3.0, 2.0, 60, ("tests.support.short_circuits",), statistics.median)
# The ten minutes of the case do not fit: executions are started all the time, also when the shop is back, so
# that 24,000 would wait and come back at 22 a second, in 18 minutes. That is more than `max_delay` has room
# for, too (docs/decisions/0013-circuits.md). After 140 s 5,000 wait, and it has been left alone for longer
# than the 60 s within which it has to be.
LONG = Scale(45.0, 10.0, 140.0, 60.0, 5_000, (), p99)


@pytest.mark.parametrize(
    "scale",
    [pytest.param(SHORT, id="3 s"), pytest.param(LONG, id="140 s", marks=pytest.mark.torture)],
)
def test_a_service_that_is_down_is_left_alone_and_comes_back_without_a_rush(
    tmp_path: Path, scale: Scale
) -> None:
    modules = ("tests.support.service_tasks", *scale.modules)
    options = ("--log-level", "error", "--http-allow", "127.0.0.1")
    with Shop() as shop, Service(tmp_path, *options, task_modules=modules) as service:
        with (
            Watch(service) as healthy,
            Watch(service, execute, pause=0.1) as executed,
            Orders(service, shop, scale.rate) as orders,
        ):
            time.sleep(scale.up)
            shop.is_down, went = True, time.monotonic()
            time.sleep(scale.down)
            waiting = open_executions(service)
            shop.is_down, back = False, time.monotonic()
            await_worked_off(service, int(scale.rate), 30.0 + waiting / LEAST_RATE)
        service.await_none_open(30.0)
        assert service.stop() == 0

    normal = orders.per_second
    patient, impatient = ends(service.database, orders.patient), ends(service.database, orders.impatient)
    alone = busiest(shop.calls, went + scale.left_alone, back)
    rush = busiest(shop.calls, back, time.monotonic())
    assert waiting >= scale.waiting
    assert alone <= WHILE_DOWN * normal
    assert rush <= COMING_BACK * normal
    assert set(patient) == {"completed"}
    assert set(impatient) <= {"completed", "http.circuit_open", *DOWN_CODES}
    assert impatient["http.circuit_open"] > 0
    assert scale.typical(healthy.seconds) <= HEALTHY
    assert scale.typical(executed.seconds) <= USABLE
    assert_sound(service.database, [*orders.patient, *orders.impatient])
