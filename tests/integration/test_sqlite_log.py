"""F31 and the write-ahead log: it stays short, and nobody keeps it from being cut for long."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from flow_manager.errors import StoreError, StoreFull
from flow_manager.ports.store import Claim
from flow_manager.stores.sqlite import connections, write_ahead_log
from flow_manager.stores.sqlite import store as store_module
from flow_manager.stores.sqlite.connections import ReadConnection
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.disks import small_disk
from tests.support.executions import NOW, claimed, new_execution, next_events, step

PAGE = 4096


@pytest.fixture
def _short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log a thousandth as long as usual."""
    monkeypatch.setattr(write_ahead_log, "PASSIVE_CHECKPOINT", 16)
    monkeypatch.setattr(write_ahead_log, "TRUNCATING_CHECKPOINT", 64)
    monkeypatch.setattr(write_ahead_log, "ALARMING", 80)


async def opened(database: Path, faults: list[BaseException]) -> SqliteStore:
    store = SqliteStore(database, "relaxed")
    await store.open(NOW, faults.append)
    return store


async def write(store: SqliteStore, times: int) -> None:
    """Each time at least a page."""
    claim = await store.start(new_execution())
    for number in range(times):
        await store.commit(step(claim, 2 + 3 * number, next_events(1, "x" * PAGE)))


@pytest.mark.usefixtures("_short_log")
def test_the_log_is_copied_and_begun_again_as_it_grows(tmp_path: Path) -> None:
    faults: list[BaseException] = []

    async def scenario() -> None:
        store = await opened(tmp_path / "log.db", faults)
        await write(store, 200)
        assert (tmp_path / "log.db-wal").stat().st_size < 64 * PAGE
        await store.stop()
        assert [found.name for found in tmp_path.iterdir()] == ["log.db"]

    asyncio.run(scenario())
    assert faults == []


@pytest.mark.usefixtures("_short_log")
def test_a_foreign_read_lets_the_log_grow_and_its_end_cuts_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    faults: list[BaseException] = []

    async def scenario() -> None:
        store = await opened(tmp_path / "log.db", faults)
        foreign = apsw.Connection(str(tmp_path / "log.db"))
        foreign.execute("BEGIN; SELECT count(*) FROM executions").fetchall()
        await write(store, 36)
        assert (tmp_path / "log.db-wal").stat().st_size > 80 * PAGE
        assert "the write-ahead log has grown" in caplog.text

        foreign.execute("COMMIT")
        foreign.close()
        await write(store, 30)

        assert (tmp_path / "log.db-wal").stat().st_size < 64 * PAGE
        await store.stop()

    asyncio.run(scenario())
    assert faults == []


@pytest.mark.usefixtures("_short_log")
def test_the_log_is_cut_soon_after_a_foreign_read_although_nobody_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all times a hundredth as long."""
    monkeypatch.setattr(write_ahead_log, "TRY_AGAIN", 0.05)
    monkeypatch.setattr(store_module, "TIDY", 0.02)
    faults: list[BaseException] = []

    async def scenario() -> None:
        store = await opened(tmp_path / "log.db", faults)
        foreign = apsw.Connection(str(tmp_path / "log.db"))
        foreign.execute("BEGIN; SELECT count(*) FROM executions").fetchall()
        await write(store, 36)
        await asyncio.sleep(0.2)
        assert (tmp_path / "log.db-wal").stat().st_size > 80 * PAGE

        foreign.execute("COMMIT")
        foreign.close()
        for _ in range(100):
            if not (tmp_path / "log.db-wal").stat().st_size:
                break
            await asyncio.sleep(0.01)

        assert (tmp_path / "log.db-wal").stat().st_size == 0
        await store.stop()

    asyncio.run(scenario())
    assert faults == []


def test_a_disk_that_the_log_has_filled_frees_itself_where_the_database_need_not_grow(tmp_path: Path) -> None:
    faults: list[BaseException] = []

    async def patiently(store: SqliteStore, claim: Claim) -> int:
        """Rewrite the same rows again and again; how often there was no space."""
        refused = 0
        for number in range(2_000):
            wake = claimed(NOW + timedelta(seconds=number))
            while True:
                try:
                    await store.commit(step(claim, 2, [], wake))
                    break
                except StoreFull:
                    refused += 1
                    assert refused < 20
        return refused

    async def scenario(folder: Path) -> int:
        store = await opened(folder / "small.db", faults)
        await store.start(new_execution())
        await store.stop()  # now the rows have their place in the database
        store = await opened(folder / "small.db", faults)
        (one,) = await store.claim_due(NOW, 1)
        refused = await patiently(store, one.claim)
        await store.stop()
        return refused

    with small_disk(tmp_path / "disk", mebibytes=4) as folder:
        assert asyncio.run(scenario(folder)) > 0
    assert faults == []


def test_a_read_that_takes_too_long_is_given_up_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LONGEST_READ", 0.05)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    faults: list[BaseException] = []

    async def scenario() -> None:
        store = await opened(tmp_path / "log.db", faults)
        reader = ReadConnection(tmp_path / "log.db")
        with pytest.raises(StoreError, match="too long"), reader.lent() as connection:
            connection.execute(endless).fetchall()
        with reader.lent() as connection:
            assert connection.execute("SELECT 1").get == 1
        reader.close()
        await store.stop()

    asyncio.run(scenario())
    assert faults == []
