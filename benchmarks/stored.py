"""W4: a store with a million executions answers as a small one does."""

from __future__ import annotations

import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import apsw
from uuid_utils import uuid7

from benchmarks.bare import Commit
from benchmarks.embedded import embedded, parse, recorded
from benchmarks.figures import Figure
from benchmarks.flows import chain
from benchmarks.http import CONNECTIONS
from benchmarks.load import load
from benchmarks.servers import service
from flow_manager.core.definition import Flow
from flow_manager.core.events import Event, ExecutionEnded, ExecutionStarted, decode_event
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.engine.search import ExecutionSearch
from flow_manager.ports.search import Filter
from flow_manager.ports.store import Claim, NewExecution, Step
from flow_manager.stores.sqlite.batches import Row, StepWriter, start_row, step_row
from flow_manager.stores.sqlite.file import open_writer
from flow_manager.stores.sqlite.reader import STATEMENTS, SqliteReader
from flow_manager.stores.sqlite.rows import to_key

STORED: Final = int(os.environ.get("BENCH_STORED", "1000000"))
WEIGHED: Final = 10_000
"""Those of which the bytes are counted; they have no labels."""
AT_ONCE: Final = 20_000
ASKED: Final = 500
FLOWS: Final = 20
FAILING: Final = 50
"""One in so many fails."""
CUSTOMERS: Final = 1_000
MOST_BYTES: Final = 1_500
MOST_FOR_TEXT: Final = 500
"""Milliseconds for a text, which has no index: a page looks at 20,000 executions and no further."""
MOST_MILLISECONDS: Final = 20_000
"""For which one kind of question is asked again and again."""

ROUNDS: Final = 3
SECONDS: Final = 2.5
WARM_UP_SECONDS: Final = 1.0

PAGES: Final = {
    "plain": Filter(),
    "of a flow": Filter(flow_id="flow7"),
    "with a label": Filter(labels=(("customer", "7"),)),
    "that failed": Filter(status=ExecutionStatus.FAILED),
    "with two labels of a flow": Filter(flow_id="flow7", labels=(("customer", "7"), ("team", "shop"))),
    "with an error": Filter(error="task."),
    "completed": Filter(status=ExecutionStatus.COMPLETED),
    "with a text that none has": Filter(text="nowhere"),
}


def stored() -> list[Figure]:
    with embedded() as (backend, folder):
        commits = recorded(backend, folder, parse(chain(3, "bench.nothing"))).commits
    with tempfile.TemporaryDirectory(prefix="flow-manager-bench-") as other:
        bare, database = Path(other, "bare.db"), Path(other, "stored.db")
        _Filler(bare, commits, has_labels=False).fill(WEIGHED)
        began = time.perf_counter()
        ids = _Filler(database, commits, has_labels=True).fill(STORED)
        filled = time.perf_counter() - began
        size = bare.stat().st_size / WEIGHED
        with closing(SqliteReader(database)) as reader:
            search = ExecutionSearch(reader)
            asked = {
                "status": _asked(lambda: reader.describe(random.choice(ids)), 5),
                **{
                    f"page, {name}": _asked(partial(search.page, each), _most(each))
                    for name, each in PAGES.items()
                },
                "counts": _asked(reader.counts, 20),
            }
        share = _share_of_an_empty_store(database, Path(other, "empty.db"))
    return [
        _figure(f"seconds to fill in {STORED:,} executions", filled, 120, "s"),
        _figure("bytes of an execution of 3 tasks", size, MOST_BYTES, "bytes"),
        *(
            Figure(
                "W4", f"{what}: median, at p99", f"{median:.1f}, {worst:.1f} ms", "-", worst, "at most", most
            )
            for what, (median, worst, most) in asked.items()
        ),
        share,
    ]


def _share_of_an_empty_store(stored: Path, empty: Path) -> Figure:
    """W1c on both. They take turns, so that both meet the same machine."""
    body = json.dumps(chain(3, "bench.nothing")).encode()
    with service(stored, "--log-level", "warning") as full, service(empty, "--log-level", "warning") as bare:
        rates: dict[int, list[float]] = {bare.port: [], full.port: []}
        for port in rates:
            load(port, "/flow/execute", body, CONNECTIONS, WARM_UP_SECONDS)
        for _ in range(ROUNDS):
            for port, measured in rates.items():
                measured.append(load(port, "/flow/execute", body, CONNECTIONS, SECONDS)["per_second"])
    limit, rate = map(statistics.median, rates.values())
    return Figure(
        "W4",
        f"POST /flow/execute with {STORED:,} stored, and with none",
        f"{rate:,.0f} flows/s",
        f"{limit:,.0f} flows/s",
        rate / limit,
        "at least",
        0.90,
    )


def _figure(what: str, value: float, target: float, unit: str) -> Figure:
    return Figure("W4", what, f"{value:,.0f} {unit}", "-", value, "at most", target)


def _most(wanted: Filter) -> float:
    return 20 if wanted.text is None else MOST_FOR_TEXT


def _asked(ask: Callable[[], object], most: float) -> tuple[float, float, float]:
    """Milliseconds: the median, the slowest but one in a hundred, and what that may be."""
    taken: list[float] = []
    while len(taken) < ASKED and sum(taken) < MOST_MILLISECONDS:
        began = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken), statistics.quantiles(taken, n=100)[-1], most


class _Filler:
    """Writes ended executions as the store does, many in a transaction."""

    def __init__(self, database: Path, commits: Sequence[Commit], *, has_labels: bool) -> None:
        self._db = open_writer(database, "relaxed", STATEMENTS)
        self._steps = StepWriter(self._db, STATEMENTS)
        self._has_labels = has_labels
        self._flows = [parse(chain(3, "bench.nothing", f"flow{number}")) for number in range(FLOWS)]
        self._bounds = [(seq, last) for seq, last, _, _ in commits]
        lines = [line for _, _, text, _ in commits for line in text.encode().split(b"\n")]
        self._events = [decode_event(line) for line in lines]
        self._db.executemany(
            STATEMENTS["add_definition"],
            [(bytes.fromhex(flow.digest), flow.id, flow.document) for flow in self._flows],
        )

    def fill(self, count: int) -> list[str]:
        """The ids, the oldest first."""
        ids: list[str] = []
        for start in range(0, count, AT_ONCE):
            with self._db:
                ids += [self._execution(number) for number in range(start, min(start + AT_ONCE, count))]
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._db.close()
        return ids

    def _execution(self, number: int) -> str:
        """Write one, step by step; its id."""
        flow = self._flows[number % FLOWS]
        labels = {"team": "shop", "customer": str(number % CUSTOMERS)} if self._has_labels else {}
        first, *events, last = self._events
        status = ExecutionStatus.COMPLETED if number % FAILING else ExecutionStatus.FAILED
        error = None if number % FAILING else TaskError(f"task.failed_{number % 3}", "it failed")
        began = ExecutionStarted(first.at, flow.id, {}, labels)
        ended = ExecutionEnded(last.at, status, error)
        execution_id = str(uuid7())
        self._steps.write(list(self._rows(execution_id, flow, [began, *events, ended], status)))
        return execution_id

    def _rows(
        self, execution_id: str, flow: Flow, events: Sequence[Event], status: ExecutionStatus
    ) -> Iterator[Row]:
        claim = Claim(execution_id, to_key(execution_id), 1)
        at, claimed = events[0].at, Wake(WakeReason.CLAIM, events[0].at)
        for seq, last_seq in self._bounds:
            told, wake = events[seq - 1 : last_seq], None if last_seq == len(events) else claimed
            if seq == 1:
                new = NewExecution(execution_id, flow.id, flow.document, flow.digest, at, told, wake, status)
                yield start_row(new)
            else:
                yield step_row(Step(claim, seq - 1, told, wake, status, at))
