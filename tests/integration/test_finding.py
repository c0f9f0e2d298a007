"""Finding executions of a real engine: what it has just written, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from flow_manager import bootstrap
from flow_manager.core.parser import FlowParser
from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.engine.native import NativeBackend
from flow_manager.engine.reading import ReadingBackend
from flow_manager.errors import CursorInvalid
from flow_manager.ports.search import Filter, Page
from flow_manager.settings import Settings
from flow_manager.stores.sqlite.reader import SqliteReader

NAP = FlowParser().parse(
    {
        "id": "nap",
        "name": "A nap",
        "start_task": "a",
        "tasks": [{"name": "a", "type": "wait", "input": {"for": "10ms"}}],
    }
)
HELD = FlowParser().parse(
    {
        "id": "held",
        "name": "Held",
        "start_task": "a",
        "tasks": [{"name": "a", "type": "signal", "input": {"name": "go"}}],
    }
)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[NativeBackend]:
    backend = bootstrap.open_backend(Settings(database=tmp_path / "finding.db", durability="relaxed"))
    yield backend
    backend.close(timedelta(0))


def ids(page: Page) -> list[str]:
    return [each.execution_id for each in page.executions]


def test_what_the_engine_has_written_is_found_and_counted(backend: NativeBackend) -> None:
    ended = [backend.execute(NAP, {}, labels={"number": str(number)}).execution_id for number in range(5)]
    held = backend.execute(HELD, {}, wait=timedelta(0)).execution_id
    events = backend.live.events(held)
    while len(backend.history(held)) < 2:
        next(events)
    backend.cancel(backend.execute(HELD, {}, wait=timedelta(0)).execution_id)

    search = backend.search
    first = search.page(Filter(flow_id="nap"), None, 3)
    rest = search.page(Filter(flow_id="nap"), first.cursor, 3)
    assert ids(first) + ids(rest) == ended[::-1]
    assert rest.cursor is None
    assert ids(search.page(Filter(labels=(("number", "2"),)))) == [ended[2]]
    assert ids(search.page(Filter(text=ended[0]))) == [ended[0]]
    assert ids(search.page(Filter(status=ExecutionStatus.COMPLETED))) == ended[::-1]
    (waiting,) = search.page(Filter(reason=WakeReason.SIGNAL, flow_id="held", until=None)).executions[-1:]
    assert (waiting.execution_id, waiting.status, waiting.to_json()["reason"]) == (held, "waiting", "signal")
    assert search.counts()[ExecutionStatus.COMPLETED] == 5
    assert sum(search.counts().values()) == 7


def test_c10_a_cursor_is_good_for_its_own_filter_also_with_another_process(
    backend: NativeBackend, tmp_path: Path
) -> None:
    for _ in range(2):
        backend.execute(NAP, {})
    cursor = backend.search.page(Filter(text="nap"), None, 1).cursor
    other = ReadingBackend(SqliteReader(tmp_path / "finding.db"), bootstrap.build_registry(Settings()))

    assert len(other.search.page(Filter(text="nap"), cursor).executions) == 1
    with pytest.raises(CursorInvalid):
        other.search.page(Filter(text="held"), cursor)
    other.close()


def test_only_what_changes_is_told_of_an_engine(backend: NativeBackend) -> None:
    changes = backend.live.changes()
    next(changes)
    held = backend.execute(HELD, {}, wait=timedelta(0)).execution_id
    told: list[ExecutionStatus] = []
    while ExecutionStatus.WAITING not in told:
        told += [change.status for change in next(changes).changes if change.execution_id == held]

    backend.signal(held, "go")
    while ExecutionStatus.COMPLETED not in told:
        told += [change.status for change in next(changes).changes if change.execution_id == held]

    assert told[-1] is ExecutionStatus.COMPLETED
    assert all(before is not after for before, after in pairwise(told))
