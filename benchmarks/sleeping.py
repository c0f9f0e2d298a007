"""W3: executions that are asleep cost no memory, and wake in time."""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from benchmarks.embedded import parse
from benchmarks.figures import Figure
from benchmarks.servers import service
from flow_manager import bootstrap
from flow_manager.core.attempts import format_time
from flow_manager.core.events import AttemptEnded, AttemptStarted
from flow_manager.engine.native import NativeBackend
from flow_manager.settings import Settings
from flow_manager.stores.sqlite.reader import SqliteReader

ASLEEP = 100_000
DUE_PER_SECOND = 500
DUE_SECONDS = 20
AT_ONCE = 500
HEAD_START = 5.0
"""Seconds from the start of the last sleeper until the first one is due."""


def sleeping() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="flow-manager-bench-") as folder:
        asleep = Path(folder, "asleep.db")
        backend = _open(asleep)
        _start_all(backend, [datetime(2027, 6, 1, tzinfo=UTC)] * ASLEEP)
        backend.close(timedelta(0))
        with service(Path(folder, "empty.db")) as server:
            none = _memory_at_rest(server.pid)
        with service(asleep) as server:
            many = _memory_at_rest(server.pid)
        late = _lateness(asleep)
    return [
        Figure(
            "W3",
            f"memory with {ASLEEP:,} executions asleep",
            f"{many:.0f} MiB",
            f"{none:.0f} MiB with none",
            many / none,
            "at most",
            1.1,
        ),
        Figure(
            "W3",
            f"lateness at p99, {DUE_PER_SECOND}/s due among {ASLEEP:,} asleep",
            f"{late:.2f} s",
            "-",
            late,
            "at most",
            1.0,
        ),
    ]


def _open(database: Path) -> NativeBackend:
    settings = Settings(database=database, log_level="error")
    bootstrap.configure_logging(settings)
    return bootstrap.open_backend(settings)


def _sleeper() -> dict[str, Any]:
    task = {"name": "sleep", "type": "wait", "input": {"until": "${input.until}"}}
    return {"flow": {"id": "sleeper", "name": "A sleeper", "start_task": "sleep", "tasks": [task]}}


def _start_all(backend: NativeBackend, times: list[datetime]) -> None:
    """Start one that sleeps until each of these times; return when all are stored."""
    flow = parse(_sleeper())
    for start in range(0, len(times), AT_ONCE):
        before = backend.store.open_executions()
        batch = times[start : start + AT_ONCE]
        for until in batch:
            backend.submit(flow, {"until": format_time(until)})
        while backend.store.open_executions() < before + len(batch):
            time.sleep(0.002)


def _memory_at_rest(pid: int) -> float:
    time.sleep(4.0)
    return float(psutil.Process(pid).memory_info().rss) / (1 << 20)


def _lateness(database: Path) -> float:
    """Seconds between the time until which one sleeps and its waking, the worst but one in a hundred."""
    backend = _open(database)
    count = DUE_PER_SECOND * DUE_SECONDS
    first = datetime.now(UTC) + timedelta(seconds=HEAD_START + count / 2_000)
    times = [first + timedelta(seconds=number / DUE_PER_SECOND) for number in range(count)]
    _start_all(backend, times)
    while backend.store.open_executions() > ASLEEP:
        time.sleep(0.2)
    backend.close(timedelta(0))
    with closing(SqliteReader(database)) as reader:
        newest = reader.executions(limit=count)
        late = [_late(reader, each.execution_id) for each in newest]
    if min(late) < 0:
        raise AssertionError("somebody woke too early")
    return statistics.quantiles(late, n=100)[-1]


def _late(reader: SqliteReader, execution_id: str) -> float:
    until, woken = None, None
    for event in reader.history(execution_id):
        if isinstance(event, AttemptStarted) and event.wait is not None:
            until = event.wait.until
        elif isinstance(event, AttemptEnded):
            woken = event.at
    if until is None or woken is None:
        raise AssertionError(f"{execution_id} has not slept")
    return (woken - until).total_seconds()
