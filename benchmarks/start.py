"""W6: how quickly things start, and what an idle server costs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from uuid_utils import uuid7

from benchmarks.bare import BareLoop
from benchmarks.embedded import embedded, parse, recorded
from benchmarks.figures import Figure
from benchmarks.flows import chain
from benchmarks.servers import service

OPEN = 10_000
IDLE_SECONDS = 10.0


def starting() -> list[Figure]:
    helps = statistics.median(_seconds_for_help() for _ in range(5))
    with tempfile.TemporaryDirectory(prefix="flow-manager-bench-") as folder:
        database = Path(folder, "open.db")
        _fill(database, OPEN)
        ready = []
        for _ in range(3):
            copy = Path(folder, "copy.db")
            copy.write_bytes(database.read_bytes())
            with service(copy, "--log-level", "info") as server:
                ready.append(server.seconds_to_ready)
        with service(Path(folder, "idle.db")) as server:
            time.sleep(2.0)
            share, resident = _idle(server.pid)
    return [
        Figure("W6", "flow-manager --help", f"{helps:.2f} s", "-", helps, "at most", 0.5),
        Figure(
            "W6",
            f"ready with {OPEN:,} open executions",
            f"{statistics.median(ready):.2f} s",
            "-",
            statistics.median(ready),
            "at most",
            2.0,
        ),
        Figure("W6", "idle server, share of a core", f"{share:.2%}", "-", share * 100, "at most", 1.0),
        Figure("W6", "idle server, memory in MiB", f"{resident:.0f} MiB", "-", resident, "at most", 120),
    ]


def _seconds_for_help() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "flow_manager", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def _fill(database: Path, executions: int) -> None:
    """A store as a crash leaves it: executions in the middle of their second task."""
    with embedded() as (backend, folder):
        flow = parse(chain(3, "bench.nothing"))
        rows = recorded(backend, folder, flow)
    with tempfile.TemporaryDirectory(prefix="flow-manager-bench-") as other:
        bare = BareLoop(Path(other), rows)
        bare.leave_open([uuid7().bytes for _ in range(executions)])
        bare.close()
        Path(other, "bare.db").rename(database)


def _idle(pid: int) -> tuple[float, float]:
    """The share of a core and the resident MiB of a process that has nothing to do."""
    process = psutil.Process(pid)
    before = process.cpu_times()
    time.sleep(IDLE_SECONDS)
    after = process.cpu_times()
    used = (after.user + after.system) - (before.user + before.system)
    return used / IDLE_SECONDS, process.memory_info().rss / (1 << 20)
