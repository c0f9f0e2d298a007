"""F20, F21 and F22: timers that are due at once, that come due while nobody looks, and that outlive jumps of
the wall clock."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from flow_manager import bootstrap
from flow_manager.core.events import AttemptEnded, AttemptStarted
from flow_manager.core.parser import FlowParser
from flow_manager.core.states import ExecutionStatus
from flow_manager.engine.admission import EngineLimits
from flow_manager.engine.clock import MOST_SLEW, SystemClock
from flow_manager.engine.native import NativeBackend
from flow_manager.engine.orchestrator import FlowOrchestrator
from flow_manager.settings import Settings
from flow_manager.stores.sqlite.reader import SqliteReader
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.documents import document, task
from tests.support.fakes import FakeWorker
from tests.support.service import Service
from tests.support.soundness import assert_sound, starts
from tests.support.watching import Watch, p99

TIMER = document(task("wait", {"until": "${input.until}"}), task("nothing"), flow_id="timer")
FRESH = document(task("nothing"), flow_id="fresh")

STARTS_PER_SECOND = 150
"""What a busy machine can start over HTTP in any case."""
HEALTHY = 0.1
"""Seconds in which health answers, however busy the service is."""


class Timer(NamedTuple):
    """When it was due, and when it fired."""

    due: datetime
    fired: datetime

    @property
    def lateness(self) -> float:
        return (self.fired - self.due).total_seconds()


def start_all(service: Service, due_times: Sequence[datetime]) -> list[str]:
    """An execution for each time, which waits for it."""

    def start(due: datetime) -> str:
        answer = service.execute({**TIMER, "input": {"until": due.isoformat()}}, "respond-async")
        assert answer.status_code == 202
        execution_id: str = answer.json()["execution_id"]
        return execution_id

    with ThreadPoolExecutor(8) as clients:
        return [*clients.map(start, due_times)]


def await_none(service: Service, status: str, patience: float) -> None:
    """Wait until no execution has this status any more."""
    deadline = time.monotonic() + patience
    while service.client.get(f"/v1/executions?status={status}&limit=1").json()["executions"]:
        assert time.monotonic() < deadline, f"still {status} after {patience} s"
        time.sleep(0.1)


def fired_once(database: Path, journal: Path, execution_ids: Sequence[str]) -> list[Timer]:
    """Every timer, after a look that each has fired once, that none was early, and that what comes behind
    it was started once."""
    timers = []
    with closing(SqliteReader(database)) as reader:
        for execution_id in execution_ids:
            history = reader.history(execution_id)
            (wait,) = [each.wait for each in history if isinstance(each, AttemptStarted) and each.wait]
            (fired,) = [each for each in history if isinstance(each, AttemptEnded) and each.task == "task1"]
            assert wait.until is not None
            assert fired.at >= wait.until
            timers.append(Timer(wait.until, fired.at))
    behind = {start: times for start, times in starts(journal).items() if start[1] == "task2"}
    assert behind == {(execution_id, "task2", 2, 1): 1 for execution_id in execution_ids}
    return timers


def execute(client: httpx.Client) -> httpx.Response:
    answer = client.post("/flow/execute", json=FRESH)
    assert answer.json()["status"] == "completed"
    return answer


class Scale(NamedTuple):
    """`lateness` is the bound for 99 of 100 timers, `fresh` the one for what is started meanwhile."""

    timers: int
    lateness: float
    fresh: float


@pytest.mark.parametrize(
    "scale",
    [
        pytest.param(Scale(1_000, 8.0, 3.0), id="1,000", marks=pytest.mark.timeout(120)),
        pytest.param(Scale(20_000, 40.0, 10.0), id="20,000", marks=pytest.mark.torture),
    ],
)
def test_timers_of_one_moment_fire_once_each_and_keep_nobody_waiting(tmp_path: Path, scale: Scale) -> None:
    journal = tmp_path / "starts"
    options = ("--log-level", "error")
    with Service(tmp_path, *options, environment={"TASK_JOURNAL": str(journal)}) as service:
        with Watch(service, pause=0.01) as idle, Watch(service, execute, pause=0.05):
            time.sleep(1)
        due = datetime.now(UTC) + timedelta(seconds=scale.timers / STARTS_PER_SECOND)
        execution_ids = start_all(service, [due] * scale.timers)
        assert datetime.now(UTC) < due, "they were not started in time"
        time.sleep((due - datetime.now(UTC)).total_seconds())

        with Watch(service, pause=0.01) as busy, Watch(service, execute, pause=0.05) as fresh:
            await_none(service, "waiting", 3 * scale.lateness)
        await_none(service, "running", scale.lateness)
        assert service.stop() == 0

    timers = fired_once(service.database, journal, execution_ids)
    assert p99([timer.lateness for timer in timers]) <= scale.lateness
    assert p99(busy.seconds) <= max(HEALTHY, 2 * p99(idle.seconds))
    assert max(fresh.seconds) <= scale.fresh
    assert_sound(service.database, execution_ids, journal)


@contextmanager
def outage(service: Service, how: str) -> Iterator[None]:
    """The service is not there, or does not move."""
    assert service.process is not None
    if how == "frozen":
        service.process.send_signal(signal.SIGSTOP)
        yield
        service.process.send_signal(signal.SIGCONT)
        return
    if how == "stopped":
        assert service.stop() == 0
    else:
        service.kill()
    yield
    service.start()


@pytest.mark.parametrize("how", ["stopped", "killed", "frozen"])
@pytest.mark.parametrize(
    ("timers", "seconds", "drained"),
    [
        pytest.param(300, 3.0, 4.0, id="300", marks=pytest.mark.timeout(120)),
        pytest.param(5_000, 120.0, 15.0, id="5,000", marks=pytest.mark.torture),
    ],
)
def test_timers_that_came_due_in_an_outage_fire_once_each_and_the_oldest_first(
    tmp_path: Path, how: str, timers: int, seconds: float, drained: float
) -> None:
    journal = tmp_path / "starts"
    options = ("--log-level", "error")
    with Service(tmp_path, *options, environment={"TASK_JOURNAL": str(journal)}) as service:
        lead = timers / STARTS_PER_SECOND + 0.5
        first = datetime.now(UTC) + timedelta(seconds=lead)
        places = [number * 7919 % timers / timers for number in range(timers)]
        execution_ids = start_all(service, [first + timedelta(seconds=place * seconds) for place in places])
        assert datetime.now(UTC) < first, "they were not started in time"

        with outage(service, how):
            back = first + timedelta(seconds=seconds)
            time.sleep((back - datetime.now(UTC)).total_seconds())
        back = datetime.now(UTC)
        await_none(service, "waiting", 3 * drained)
        await_none(service, "running", drained)
        assert service.stop() == 0

    fired = sorted(fired_once(service.database, journal, execution_ids), key=lambda timer: timer.fired)
    assert [timer.due for timer in fired] == sorted(timer.due for timer in fired)
    assert (fired[-1].fired - back).total_seconds() <= drained
    assert_sound(service.database, execution_ids, journal)


class JumpingWall:
    """The wall clock of somebody who sets it, by hours and days, several times a second."""

    def __init__(self, jump: timedelta) -> None:
        self._jump = jump
        self._looks = 0

    def __call__(self) -> datetime:
        self._looks += 1
        return datetime.now(UTC) + (self._looks % 3 - 1) * self._jump


@pytest.mark.parametrize("jump", [timedelta(seconds=5), timedelta(hours=1), timedelta(days=400)], ids=str)
def test_what_waits_keeps_its_length_whatever_the_wall_clock_does(tmp_path: Path, jump: timedelta) -> None:
    clock = SystemClock(JumpingWall(jump), lambda: 4 * time.monotonic())  # so it looks four times a second
    store = SqliteStore(tmp_path / "jumps.db")
    orchestrator = FlowOrchestrator(store, FakeWorker(), clock, [], EngineLimits())
    faults: list[BaseException] = []
    backend = NativeBackend(orchestrator, bootstrap.build_registry(Settings()), faults.append)
    lengths = [0.2 + number * 0.2 for number in range(10)]
    flows = [
        FlowParser().parse(document(task("wait", {"for": 4 * length}), task("a"), flow_id="jumps"))
        for length in lengths
    ]
    began = time.monotonic()
    futures = [backend.submit(flow, {}) for flow in flows]

    took = []
    for future in futures:
        assert future.result(30).status is ExecutionStatus.COMPLETED
        took.append(time.monotonic() - began)
    backend.close(timedelta(0))

    for length, seconds in zip(lengths, took, strict=True):
        assert length / (1 + MOST_SLEW) <= seconds <= length / (1 - MOST_SLEW) + 1.0
    assert faults == []
