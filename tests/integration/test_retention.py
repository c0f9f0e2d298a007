"""What is removed of ended executions, and what is not, in a real file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from flow_manager.core.events import AttemptStarted
from flow_manager.core.states import ExecutionStatus
from flow_manager.errors import ExecutionUnknown
from flow_manager.ports.retention import Prune, Pruned, Retention
from flow_manager.ports.store import NewExecution
from flow_manager.stores.sqlite import pruning
from flow_manager.stores.sqlite.commands import Doing
from flow_manager.stores.sqlite.rows import to_micros
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.documents import document, task
from tests.support.executions import (
    NOW,
    child_of,
    for_children,
    last_events,
    last_step,
    new_execution,
    next_events,
    started,
    step,
)
from tests.support.service import Service, wait_for

LATER = datetime.now(UTC) + timedelta(days=40)
"""Ids say when an execution was started, and they are those of today."""
A_MONTH = Retention(timedelta(days=30))
TABLES = (
    *("executions", "history", "labels", "keys", "slots", "outbox"),
    *("families", "children", "mail", "remains"),
)

Scenario = Callable[[SqliteStore], Awaitable[None]]


def run(path: Path, scenario: Scenario) -> None:
    faults: list[BaseException] = []

    async def session() -> None:
        store = SqliteStore(path, "relaxed")
        await store.open(NOW, faults.append)
        try:
            await scenario(store)
        finally:
            await store.stop()

    asyncio.run(session())
    assert faults == []


async def prune(store: SqliteStore, retention: Retention = A_MONTH, now: datetime = LATER) -> list[Pruned]:
    """Step by step, until there is nothing to do."""
    steps: list[Pruned] = []
    after = b""
    while not steps or not steps[-1].is_done:
        steps.append(await store.prune(Prune(now, retention, after)))
        after = steps[-1].after
        assert len(steps) < 10_000
    return steps


def ended(
    status: ExecutionStatus = ExecutionStatus.COMPLETED, definition: str = '{"id":"stored"}'
) -> NewExecution:
    began = msgspec.structs.replace(started(), labels={"team": "a"})
    events = (began, AttemptStarted(NOW, "first"), *last_events(status))
    return new_execution(None, events=events, status=status, definition=definition)


async def rows(store: SqliteStore, sql: str, *bindings: Any) -> list[Any]:
    def write(doing: Doing) -> list[Any]:
        return doing.connection.execute(sql, bindings).fetchall()

    found: list[Any] = await store.work(write)
    return found


async def count(store: SqliteStore, table: str) -> int:
    counted: int = (await rows(store, f"SELECT count(*) FROM {table}"))[0][0]
    return counted


def test_ended_executions_go_with_all_that_belongs_to_them(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        for status in (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.COMPLETED):
            await store.start(ended(status))
        done = ended()
        key = UUID(done.execution_id).bytes
        await store.start(done)
        await rows(store, "INSERT INTO keys VALUES ('k', ?, x'00', ?)", key, to_micros(NOW))
        await rows(store, "INSERT INTO slots VALUES ('s', ?)", key)
        await rows(store, "INSERT INTO outbox VALUES (?, 'd', 1, 'd1', '{}', NULL, 0, 9, 1)", key)

        steps = await prune(store)

        assert sum(each.executions for each in steps) == 4
        assert {table: await count(store, table) for table in TABLES} == dict.fromkeys(TABLES, 0)
        assert await rows(store, "SELECT sum(ended) FROM tallies") == [(0,)]
        assert await count(store, "definitions") == 0
        with pytest.raises(ExecutionUnknown):
            store.describe(done.execution_id)
        assert store.violations() == []

    run(tmp_path / "a.db", scenario)


def test_neither_open_executions_nor_young_ones_go(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        claim = await store.start(new_execution())
        await store.start(ended())
        young = LATER - timedelta(days=29)
        last = last_events()
        late = [*last[:1], msgspec.structs.replace(last[1], at=young)]
        slow = await store.start(new_execution())
        await store.commit(msgspec.structs.replace(last_step(slow, 2), events=late))

        await prune(store)

        assert {each.execution_id for each in store.executions()} == {claim.execution_id, slow.execution_id}
        assert await count(store, "definitions") == 1
        assert store.violations() == []

    run(tmp_path / "a.db", scenario)


def test_a_child_stays_as_long_as_one_above_it_is_open(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        root = new_execution()
        middle = child_of(root.execution_id, wake=for_children())
        leaf = child_of(middle.execution_id)
        claim = await store.start(msgspec.structs.replace(root, children=(middle,)))
        # The child in the middle has a child that ends, and then ends itself.
        (due_middle,) = [each for each in await claim_all(store, middle) if each]
        await store.commit(msgspec.structs.replace(step(due_middle, 2, [], for_children()), children=(leaf,)))
        for new in (leaf, middle):
            (found,) = await claim_all(store, new)
            await store.commit(last_step(found, 2, parent=new.parent, mail=10))

        await prune(store)
        assert len(store.executions()) == 3

        await store.commit(last_step(claim, 2, mail=10))
        await prune(store)
        assert store.executions() == []
        assert store.violations() == []
        assert await count(store, "children") == await count(store, "families") == 0

    async def claim_all(store: SqliteStore, new: NewExecution) -> list[Any]:
        await rows(
            store,
            "UPDATE wakes SET reason = 'due', due_at = 0 WHERE execution_id = ?",
            UUID(new.execution_id).bytes,
        )
        claimed = await store.claim_due(NOW, 10)
        return [each.claim for each in claimed if each.claim.execution_id == new.execution_id]

    run(tmp_path / "a.db", scenario)


def test_a_flow_that_went_is_written_again_when_it_is_started_again(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.start(ended())
        steps = await prune(store)
        assert [each for step in steps for each in step.definitions] == [ended().digest]

        again = ended()
        # In one batch: the start, a step of pruning that takes it away, and the next start.
        await asyncio.gather(
            store.start(ended()), store.prune(Prune(LATER, A_MONTH)), store.prune(Prune(LATER, A_MONTH))
        )
        await store.start(again)

        assert store.definition(again.execution_id)[1] == again.definition.encode()
        assert [each.flow_id for each in store.executions()] == ["stored"]

    run(tmp_path / "a.db", scenario)


def test_a_published_flow_stays(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        done = ended()
        await store.start(done)
        await rows(store, "INSERT INTO versions VALUES ('stored', 1, ?, 0, '')", bytes.fromhex(done.digest))

        await prune(store)

        assert await count(store, "definitions") == 1

    run(tmp_path / "a.db", scenario)


def test_a_key_outlives_its_execution_for_a_day(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        done = ended()
        await store.start(done)
        key = UUID(done.execution_id).bytes
        await rows(store, "INSERT INTO keys VALUES ('k', ?, x'00', ?)", key, to_micros(LATER))

        await prune(store)
        assert (await count(store, "executions"), await count(store, "keys")) == (0, 1)
        await prune(store, now=LATER + timedelta(hours=23))
        assert await count(store, "keys") == 1
        await prune(store, now=LATER + timedelta(hours=25))
        assert (await count(store, "keys"), await count(store, "remains")) == (0, 0)

    run(tmp_path / "a.db", scenario)


def test_what_is_still_to_be_told_of_keeps_its_execution(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        done = ended()
        await store.start(done)
        key = UUID(done.execution_id).bytes
        await rows(store, "INSERT INTO outbox VALUES (?, 'd', 1, 'd1', '{}', NULL, 0, 0, 0)", key)

        await prune(store)
        assert len(store.executions()) == 1
        await rows(store, "UPDATE outbox SET is_parked = 1")
        await prune(store)
        assert store.executions() == []

    run(tmp_path / "a.db", scenario)


def test_only_old_fires_of_schedules_go(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        for schedule in ("a", "b"):
            for days in (29, 31, 400):
                at = to_micros(LATER - timedelta(days=days))
                await rows(store, "INSERT INTO fires VALUES (?, ?, ?, 'started', NULL)", schedule, at, at)

        await prune(store)

        assert await rows(store, "SELECT schedule_id, count(*) FROM fires GROUP BY 1") == [("a", 1), ("b", 1)]

    run(tmp_path / "a.db", scenario)


def test_no_step_removes_much_more_than_500_rows_and_none_leaves_a_violation(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        claim = await store.start(new_execution())
        for number in range(1_200):
            await store.commit(step(claim, 2 + 3 * number, next_events(1)))
        await store.commit(last_step(claim, 3_602))
        for _ in range(300):
            await store.start(ended())
        steps: list[Pruned] = []
        after = b""
        while not steps or not steps[-1].is_done:
            steps.append(await store.prune(Prune(LATER, A_MONTH, after)))
            after = steps[-1].after
            assert store.violations() == []

        assert max(each.rows for each in steps) <= pruning.MOST_ROWS + 5
        assert sum(each.executions for each in steps) == 301
        assert await count(store, "history") == await count(store, "remains") == 0

    run(tmp_path / "a.db", scenario)


def test_beyond_its_size_the_oldest_go_whatever_their_age_and_the_file_shrinks(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        names = []
        for _ in range(40):
            claim = await store.start(new_execution())
            await store.commit(step(claim, 2, next_events(1, "x" * 200_000)))
            await store.commit(last_step(claim, 5))
            names.append(claim.execution_id)
        before = await rows(store, "PRAGMA page_count")
        steps = await prune(store, Retention(None, 4 << 20), now=datetime.now(UTC) + timedelta(seconds=1))

        left = [each.execution_id for each in reversed(store.executions())]
        assert left == names[-len(left) :]
        assert 10 <= len(left) < 22
        assert sum(each.pages for each in steps) > 500
        assert (await rows(store, "PRAGMA page_count"))[0][0] < before[0][0] - 500
        assert store.violations() == []

    run(tmp_path / "a.db", scenario)


def test_a_store_that_only_open_executions_fill_says_so(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.start(new_execution())

        (only,) = await prune(store, Retention(None, 1))

        assert (only.is_over, only.executions) == (True, 0)

    run(tmp_path / "a.db", scenario)


def test_an_execution_whose_beginning_is_damaged_is_left_for_whoever_repairs_it(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.start(ended())
        await rows(store, "UPDATE history SET events = 'nonsense'")

        await prune(store)

        assert len(store.executions()) == 1

    run(tmp_path / "a.db", scenario)


def test_without_bounds_nothing_goes(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.start(ended())

        steps = await prune(store, Retention())

        assert [(each.executions, each.is_done) for each in steps] == [(0, True)]

    run(tmp_path / "a.db", scenario)


def test_a_service_prunes_by_itself_what_its_settings_do_not_keep(tmp_path: Path) -> None:
    quick, waiting = document(task("nothing")), document(task("wait", {"for": "1h"}))
    with Service(tmp_path) as service:
        ended = [service.execute(quick).json()["execution_id"] for _ in range(20)]
        still_open = service.execute(waiting, "respond-async").json()["execution_id"]
        assert service.client.get(f"/v1/executions/{ended[0]}").status_code == 200
        assert service.stop() == 0
    with Service(tmp_path, "--max-store", "1KiB") as service:
        wait_for(lambda: True if "20 ended executions were pruned" in service.log() else None, service.log)
        listed = service.client.get("/v1/executions").json()["executions"]
        assert [each["execution_id"] for each in listed] == [still_open]
        assert service.client.get(f"/v1/executions/{ended[0]}").status_code == 404
        assert service.violations() == []
        assert service.stop() == 0
