"""W1a, W1b, W1d and W2: the engine as a library, in this process, on a file of its own."""

from __future__ import annotations

import contextlib
import itertools
import queue
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.bare import BareLoop, Recorded
from benchmarks.figures import Figure
from benchmarks.flows import chain
from flow_manager import bootstrap
from flow_manager.core.definition import Flow
from flow_manager.core.parser import FlowParser
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.view import View
from flow_manager.engine.native import NativeBackend
from flow_manager.settings import Settings
from flow_manager.stores.sqlite.store import SqliteStore

AT_ONCE = 64
FLOWS = 8_000
WARM_UP = 6_000
ONE_BY_ONE = 500
LONG_FLOW = 300


@contextlib.contextmanager
def embedded(**settings_of_workload: Any) -> Iterator[tuple[NativeBackend, Path]]:
    """The engine with its default settings but for the log, which says nothing at all."""
    with tempfile.TemporaryDirectory(prefix="flow-manager-bench-") as folder:
        database = Path(folder, "bench.db")
        settings = Settings(database=database, log_level="error", **settings_of_workload)
        bootstrap.configure_logging(settings)
        backend = bootstrap.open_backend(settings)
        try:
            yield backend, Path(folder)
        finally:
            backend.close(timedelta(0))


def store_of(backend: NativeBackend) -> SqliteStore:
    store = backend.store
    assert isinstance(store, SqliteStore)
    return store


def parse(document: Mapping[str, Any]) -> Flow:
    return FlowParser().parse(document)


def flows_per_second(backend: NativeBackend, flow: Flow, flows: int, at_once: int = AT_ONCE) -> float:
    """One thread that keeps `at_once` executions in flight."""
    ended: queue.SimpleQueue[Future[View]] = queue.SimpleQueue()

    def submit() -> None:
        backend.submit(flow, {}).add_done_callback(ended.put)

    began = time.perf_counter()
    for _ in range(at_once):
        submit()
    for number in range(flows):
        view = ended.get().result()
        if view.status is not ExecutionStatus.COMPLETED:
            raise AssertionError(f"{view.execution_id} did not complete")
        if number < flows - at_once:
            submit()
    return flows / (time.perf_counter() - began)


def warm_up(backend: NativeBackend, flow: Flow, bare: BareLoop) -> None:
    """Fill both write-ahead logs once. From then on they are written over, as they are for the rest
    of a service's life; while a log grows, the file system has more to sync."""
    flows_per_second(backend, flow, WARM_UP)
    bare.flows_per_second(WARM_UP, AT_ONCE)


def recorded(backend: NativeBackend, folder: Path, flow: Flow) -> Recorded:
    return Recorded.of(folder / "bench.db", backend.execute(flow, {}).execution_id)


def throughput() -> list[Figure]:
    """W1a and W1b."""
    with embedded() as (backend, folder):
        flow, plain = parse(chain(3, "bench.nothing")), parse(chain(3, "bench.nothing_plain", "bench-plain"))
        bare = BareLoop(folder, recorded(backend, folder, flow))
        warm_up(backend, flow, bare)
        batch = round(store_of(backend).commands_per_transaction)
        limits, rates, plain_rates = [], [], []
        for _ in range(3):
            limits.append(bare.flows_per_second(FLOWS, batch))
            rates.append(flows_per_second(backend, flow, FLOWS))
            plain_rates.append(flows_per_second(backend, plain, FLOWS // 2))
        bare.close()
    limit, rate, plain_rate = map(statistics.median, (limits, rates, plain_rates))
    return [
        Figure(
            "W1a",
            f"embedded, 3 async tasks, {AT_ONCE} in flight",
            f"{rate:,.0f} flows/s",
            f"{limit:,.0f} flows/s by {batch}",
            rate / limit,
            "at least",
            0.40,
        ),
        Figure(
            "W1b",
            "the same with plain tasks (against W1a)",
            f"{plain_rate:,.0f} flows/s",
            f"{rate:,.0f} flows/s",
            plain_rate / rate,
            "at least",
            0.50,
        ),
    ]


def latency() -> list[Figure]:
    """W1d."""
    with embedded() as (backend, folder):
        flow = parse(chain(3, "bench.nothing"))
        bare = BareLoop(folder, recorded(backend, folder, flow))
        warm_up(backend, flow, bare)
        limits, taken = bare.seconds_per_flow(ONE_BY_ONE), []
        for _ in range(ONE_BY_ONE):
            began = time.perf_counter()
            backend.execute(flow, {})
            taken.append(time.perf_counter() - began)
        limits += bare.seconds_per_flow(ONE_BY_ONE)
        bare.close()
    limit, median = statistics.median(limits), statistics.median(taken)
    return [
        Figure(
            "W1d",
            "one flow at a time, p50",
            f"{median * 1000:.2f} ms",
            f"{limit * 1000:.2f} ms",
            median / limit,
            "at most",
            2.0,
        )
    ]


def long_flow() -> list[Figure]:
    """W2. The cost of a step is the time from the start of its attempt to the start of the next."""
    with embedded() as (backend, folder):
        flow = parse(chain(LONG_FLOW, "bench.nothing", "bench-long"))
        bare = BareLoop(folder, recorded(backend, folder, flow))
        warm_up(backend, parse(chain(3, "bench.nothing")), bare)
        limits, taken, early, late = [], [], [], []
        for _ in range(10):
            limits += [seconds / (LONG_FLOW + 1) for seconds in bare.seconds_per_flow(1)]
            view = backend.execute(flow, {})
            starts = [attempt.started_at for attempt in view.attempts]
            steps = [(after - before).total_seconds() for before, after in itertools.pairwise(starts)]
            taken += steps
            early += steps[2:32]
            late += steps[-30:]
        bare.close()
    limit, step = statistics.median(limits), statistics.median(taken)
    growth = statistics.median(late) / statistics.median(early)
    return [
        Figure(
            "W2",
            f"a step of a flow of {LONG_FLOW} tasks",
            f"{step * 1000:.3f} ms",
            f"{limit * 1000:.3f} ms",
            step / limit,
            "at most",
            1.5,
        ),
        Figure(
            "W2",
            "the last 30 steps against steps 3 to 32",
            f"{statistics.median(late) * 1000:.3f} ms",
            f"{statistics.median(early) * 1000:.3f} ms",
            growth,
            "at most",
            1.1,
        ),
    ]
