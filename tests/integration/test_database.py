"""What an operator does with a database file: backups, restoring, pruning, upgrading."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest

from flow_manager.errors import StoreDamaged, StoreError, StoreFull, StoreLocked, StoreNewer, TargetExists
from flow_manager.ports.retention import Retention
from flow_manager.stores.sqlite.copying import verify_copy
from flow_manager.stores.sqlite.database import SqliteDatabase
from flow_manager.stores.sqlite.file import newest_version
from flow_manager.stores.sqlite.file_lock import FileLock
from flow_manager.stores.sqlite.reader import SqliteReader
from flow_manager.stores.sqlite.store import SqliteStore
from tests.migration.test_migrations import HISTORIES, old_database
from tests.support.disks import small_disk
from tests.support.executions import NOW, last_step, new_execution, next_events, step

LATER = datetime.now(UTC) + timedelta(days=40)


def with_store(path: Path, scenario: Callable[[SqliteStore], Awaitable[None]]) -> None:
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


def filled(path: Path, *, ended: int = 3, still_open: int = 2, size: int = 10) -> Path:
    async def scenario(store: SqliteStore) -> None:
        for number in range(ended + still_open):
            claim = await store.start(new_execution())
            await store.commit(step(claim, 2, next_events(1, "x" * size)))
            if number < ended:
                await store.commit(last_step(claim, 5))

    with_store(path, scenario)
    return path


def ids(path: Path) -> set[str]:
    reader = SqliteReader(path)
    found = {each.execution_id for each in reader.executions(limit=1_000)}
    assert reader.violations() == []
    reader.close()
    return found


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


# -- backups


def test_a_backup_is_one_sound_file_with_everything_in_it(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db")

    copied = SqliteDatabase(path).back_up(tmp_path / "copy.db")

    assert (copied.bytes, copied.schema) == ((tmp_path / "copy.db").stat().st_size, newest_version())
    assert ids(tmp_path / "copy.db") == ids(path)
    assert verify_copy(tmp_path / "copy.db") == newest_version()
    assert [name for name in names(tmp_path) if name.startswith("copy")] == ["copy.db"]


def test_a_backup_beside_a_writer_holds_what_was_there_when_it_began(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        before = {(await store.start(new_execution())).execution_id for _ in range(50)}
        stopping = asyncio.Event()

        async def write() -> None:
            while not stopping.is_set():
                await store.start(new_execution())

        writing = asyncio.create_task(write())
        database = SqliteDatabase(tmp_path / "a.db")
        await asyncio.to_thread(database.back_up, tmp_path / "copy.db")
        stopping.set()
        await writing
        assert before <= await asyncio.to_thread(ids, tmp_path / "copy.db") <= ids(tmp_path / "a.db")

    with_store(tmp_path / "a.db", scenario)


def test_a_backup_replaces_nothing_unless_it_is_forced(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db")
    target = filled(tmp_path / "old.db", ended=1)
    before = target.read_bytes()

    with pytest.raises(TargetExists, match="--force"):
        SqliteDatabase(path).back_up(target)
    assert target.read_bytes() == before

    SqliteDatabase(path).back_up(target, force=True)
    assert ids(target) == ids(path)


def test_a_backup_never_replaces_what_somebody_uses(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db")
    with pytest.raises(TargetExists, match="file that is to be copied"):
        SqliteDatabase(path).back_up(path, force=True)
    used = filled(tmp_path / "used.db")
    lock = FileLock(used)
    with pytest.raises(StoreLocked):
        SqliteDatabase(path).back_up(used, force=True)
    lock.release()
    (tmp_path / "used.db-wal").write_bytes(b"frames")
    with pytest.raises(TargetExists, match="was not closed"):
        SqliteDatabase(path).back_up(used, force=True)
    assert not [name for name in names(tmp_path) if "partial" in name]


def test_a_backup_of_nothing_and_one_to_nowhere_say_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        SqliteDatabase(tmp_path / "none.db").back_up(tmp_path / "copy.db")
    with pytest.raises(StoreError, match="there is no folder"):
        SqliteDatabase(filled(tmp_path / "a.db")).back_up(tmp_path / "nowhere" / "copy.db")
    assert "copy.db" not in names(tmp_path)


def test_a_backup_to_a_full_disk_leaves_nothing_there(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", size=200_000, ended=20)
    with small_disk(tmp_path / "disk", mebibytes=2) as disk:
        with pytest.raises((StoreFull, StoreError)):
            SqliteDatabase(path).back_up(disk / "copy.db")
        assert names(disk) == []


def test_a_damaged_database_is_not_copied(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", size=20_000)
    content = bytearray(path.read_bytes())
    content[5 * 4096 : 6 * 4096] = b"\xff" * 4096
    path.write_bytes(content)

    with pytest.raises(StoreDamaged):
        SqliteDatabase(path).back_up(tmp_path / "copy.db")
    assert not [name for name in names(tmp_path) if name.startswith("copy")]


# -- restoring


def test_a_backup_is_put_where_no_database_is(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    SqliteDatabase(filled(tmp_path / "a.db")).back_up(copy)

    restored = SqliteDatabase(tmp_path / "new.db").restore(copy)

    assert restored.kept is None
    assert ids(tmp_path / "new.db") == ids(copy)


def test_what_a_restored_database_has_open_goes_on(tmp_path: Path) -> None:
    SqliteDatabase(filled(tmp_path / "a.db", ended=0, still_open=5)).back_up(tmp_path / "copy.db")
    SqliteDatabase(tmp_path / "new.db").restore(tmp_path / "copy.db")

    async def scenario(store: SqliteStore) -> None:
        claimed = await store.claim_due(NOW, 10)
        assert {each.claim.execution_id for each in claimed} == ids(tmp_path / "copy.db")
        for each in claimed:
            await store.commit(last_step(each.claim, each.last_seq))

    with_store(tmp_path / "new.db", scenario)


def test_a_restore_keeps_the_database_that_was_there_with_its_log(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    SqliteDatabase(filled(tmp_path / "other.db")).back_up(copy)
    path = filled(tmp_path / "a.db", ended=1)

    async def start(store: SqliteStore) -> None:
        await store.start(new_execution())
        # A copy of file and log, as a killed process leaves them.
        for end in ("", "-wal"):
            (tmp_path / f"killed.db{end}").write_bytes((tmp_path / f"a.db{end}").read_bytes())

    with_store(path, start)
    killed = tmp_path / "killed.db"

    with pytest.raises(TargetExists):
        SqliteDatabase(killed).restore(copy)
    restored = SqliteDatabase(killed).restore(copy, force=True)

    assert ids(killed) == ids(copy)
    assert restored.kept is not None
    assert ids(Path(restored.kept)) == ids(path)


def test_nothing_is_restored_under_a_running_service(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    SqliteDatabase(filled(tmp_path / "a.db")).back_up(copy)

    async def scenario(store: SqliteStore) -> None:
        with pytest.raises(StoreLocked):
            SqliteDatabase(tmp_path / "b.db").restore(copy, force=True)
        await store.start(new_execution())

    with_store(tmp_path / "b.db", scenario)
    assert len(ids(tmp_path / "b.db")) == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("PRAGMA application_id = 1", StoreDamaged),
        (f"PRAGMA user_version = {newest_version() + 1}", StoreNewer),
    ],
)
def test_what_is_no_backup_of_ours_is_not_restored(
    tmp_path: Path, change: str, error: type[StoreError]
) -> None:
    copy = tmp_path / "copy.db"
    SqliteDatabase(filled(tmp_path / "a.db")).back_up(copy)
    connection = apsw.Connection(str(copy))
    connection.execute(change)
    connection.close()
    path = filled(tmp_path / "b.db", ended=1)
    before = path.read_bytes()

    with pytest.raises(error):
        SqliteDatabase(path).restore(copy, force=True)
    (tmp_path / "text").write_text("not a database at all" * 100)
    with pytest.raises(StoreDamaged):
        SqliteDatabase(path).restore(tmp_path / "text", force=True)

    assert path.read_bytes() == before
    assert [name for name in names(tmp_path) if name.startswith("b.db")] == ["b.db"]


# -- pruning and upgrading


def test_pruning_by_hand_removes_and_shrinks_and_a_dry_run_only_counts(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", ended=30, size=200_000)
    database, a_week = SqliteDatabase(path), Retention(timedelta(days=7))

    counted = database.would_prune(LATER, a_week)
    assert (counted.executions, len(ids(path))) == (30, 32)
    assert database.would_prune(datetime.now(UTC), Retention(timedelta(days=3650))).executions == 0
    shrunk = database.prune(LATER, a_week)

    assert shrunk.executions == 30
    assert len(ids(path)) == 2
    assert shrunk.bytes_after == path.stat().st_size < shrunk.bytes_before / 3
    assert database.prune(LATER, a_week).executions == 0


def test_pruning_by_hand_needs_the_file_for_itself(tmp_path: Path) -> None:
    async def scenario(_: SqliteStore) -> None:
        database = SqliteDatabase(tmp_path / "a.db")
        with pytest.raises(StoreLocked):
            database.prune(LATER, Retention(timedelta(0)))
        assert database.would_prune(LATER, Retention(timedelta(0))).executions == 0

    with_store(tmp_path / "a.db", scenario)
    with pytest.raises(StoreError, match="there is no database"):
        SqliteDatabase(tmp_path / "none.db").prune(LATER, Retention(timedelta(0)))


def test_an_upgrade_tells_from_where_to_where(tmp_path: Path) -> None:
    database = SqliteDatabase(old_database(tmp_path / "a.db"))

    first, second = database.upgrade(), database.upgrade()

    assert (first.before, first.after) == (1, newest_version())
    assert (second.before, second.after) == (newest_version(), newest_version())
    assert len(ids_of_old(tmp_path / "a.db")) == len(HISTORIES)
    assert names(tmp_path) == ["a.db"]


def ids_of_old(path: Path) -> set[bytes]:
    connection = apsw.Connection(
        f"{path.as_uri()}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    )
    found = {bytes(row[0]) for row in connection.execute("SELECT CAST(id AS BLOB) FROM executions")}
    connection.close()
    return found
