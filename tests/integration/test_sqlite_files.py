"""F28, F29, F48 at the store: files that cannot be written, are damaged, or belong to another."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from flow_manager.core.events import Event
from flow_manager.core.states import ExecutionStatus
from flow_manager.errors import (
    ExecutionUnknown,
    StoreDamaged,
    StoreError,
    StoreLocked,
    StoreNewer,
    StoreReadOnly,
)
from flow_manager.ports.backend import Summary
from flow_manager.stores.sqlite import file
from flow_manager.stores.sqlite.reader import STATEMENTS, SqliteReader
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.disks import remount_read_only, small_disk
from tests.support.executions import NOW, due, last_step, new_execution, next_events, step
from tests.support.service import ROOT


def refuse(error: BaseException) -> None:
    raise AssertionError("the store failed") from error


def one_execution(database: Path) -> str:
    """Of a store that was opened and stopped again."""

    async def scenario() -> str:
        store = SqliteStore(database)
        await store.open(NOW, refuse)
        claim = await store.start(new_execution())
        await store.commit(last_step(claim, 2))
        await store.stop()
        return claim.execution_id

    return asyncio.run(scenario())


def test_a_read_only_disk_is_named_and_can_be_read(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as folder:
        execution_id = one_execution(folder / "read only?#%.db")
        remount_read_only(folder)

        with pytest.raises(StoreReadOnly, match="read only"):
            SqliteStore(folder / "read only?#%.db")
        with closing(SqliteReader(folder / "read only?#%.db")) as reader:
            assert reader.describe(execution_id).is_ended
            assert list(reader.violations()) == []


def killed_store(database: Path) -> str:
    """A store whose process is gone, with all it wrote still in the log."""
    command = [sys.executable, "-m", "tests.support.committers", str(database), "64", "log:sync:4:io_error"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    return done.stdout.split()[0]


def test_a_read_only_disk_with_a_log_that_was_not_copied_shows_nothing_older(tmp_path: Path) -> None:
    acknowledged = killed_store(tmp_path / "killed.db")

    with small_disk(tmp_path / "disk") as folder:
        for file in tmp_path.glob("killed.db*"):
            shutil.copy(file, folder)
        for file in folder.glob("*-shm"):
            file.unlink()
        remount_read_only(folder)

        with closing(SqliteReader(folder / "killed.db")) as reader, pytest.raises(StoreReadOnly, match="wal"):
            reader.history(acknowledged)


@pytest.mark.parametrize("log_is_empty", [False, True])
def test_a_file_in_use_is_not_read_only_because_descriptors_are_lacking(
    tmp_path: Path, log_is_empty: bool
) -> None:
    """With an empty log it would even be read as one that nobody ever changes."""
    database = tmp_path / "a.db"
    with closing(file.open_writer(database, "full", STATEMENTS)) as writer:
        if log_is_empty:
            writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        assert (Path(f"{database}-wal").stat().st_size == 0) == log_is_empty
        with one_descriptor_left(), pytest.raises(StoreError) as refusal:
            file.open_reader(database)

        assert type(refusal.value) is StoreError
        file.open_reader(database).close()


@contextmanager
def one_descriptor_left() -> Iterator[None]:
    next_one = os.open(os.devnull, os.O_RDONLY)
    os.close(next_one)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one + 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- damaged files


def write_text(database: Path) -> None:
    database.write_text("this is not a database\n" * 1_000)


def empty(database: Path) -> None:
    database.write_bytes(b"")


def remove(database: Path) -> None:
    database.unlink()


def cut_in_half(database: Path) -> None:
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])


def cut_the_log(database: Path) -> None:
    remove(Path(f"{database}-wal"))
    empty(database)
    Path(f"{database}-wal").write_bytes(b"x")


def another_program(database: Path) -> None:
    for left in database.parent.glob("*.db*"):
        left.unlink()
    connection = apsw.Connection(str(database))
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()


@pytest.mark.parametrize("how", [empty, remove, cut_the_log], ids=lambda how: how.__name__)
def test_a_log_without_its_database_is_somebodys_data(tmp_path: Path, how: Any) -> None:
    database = tmp_path / "lost.db"
    killed_store(database)
    how(database)
    before = contents(tmp_path)

    with pytest.raises(StoreDamaged, match=r"lost\.db-wal"):
        SqliteStore(database)

    assert contents(tmp_path) == before


@pytest.mark.parametrize("how", [write_text, cut_in_half, another_program], ids=lambda how: how.__name__)
def test_what_is_not_a_sound_database_is_named_and_left_as_it_is(tmp_path: Path, how: Any) -> None:
    database = tmp_path / "damaged.db"
    one_execution(database)
    how(database)
    before = contents(tmp_path)

    with pytest.raises(StoreDamaged, match=r"damaged\.db"):
        SqliteStore(database)
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {found.name: found.read_bytes() for found in folder.iterdir() if found.is_file()}


def test_a_newer_schema_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    database = tmp_path / "newer.db"
    one_execution(database)
    connection = apsw.Connection(str(database))
    connection.pragma("user_version", file.newest_version() + 1)
    connection.close()
    before = contents(tmp_path)

    with pytest.raises(StoreNewer, match=r"newer\.db"):
        SqliteStore(database)
    with closing(SqliteReader(database)) as reader, pytest.raises(StoreNewer):
        reader.open_executions()

    assert contents(tmp_path)["newer.db"] == before["newer.db"]


def test_a_folder_or_a_missing_folder_is_no_database(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "x.db"):
        with pytest.raises(StoreError, match="cannot be opened"):
            SqliteStore(path)


class Known:
    """What a small store says when it is sound."""

    def __init__(self, database: Path) -> None:
        asyncio.run(self._fill(database))
        self.content = database.read_bytes()
        with closing(SqliteReader(database)) as reader:
            self.listed: list[Summary] = list(reader.executions(limit=100))
            ids = [one.execution_id for one in self.listed]
            self.histories: dict[str, list[Event]] = {name: list(reader.history(name)) for name in ids}

    async def _fill(self, database: Path) -> None:
        store = SqliteStore(database)
        await store.open(NOW, refuse)
        for number in range(60):
            claim = await store.start(new_execution())
            await store.commit(step(claim, 2, next_events(1, {"number": number})))
            await store.commit(last_step(claim, 5) if number % 3 else step(claim, 5, wake=due(-number)))
        await store.stop()

    def is_told_by(self, reader: SqliteReader) -> bool:
        """False if it says that something is wrong; fails if it says something wrong."""
        sound = True
        try:
            sound &= not reader.violations()
        except StoreError:
            sound = False
        for execution_id, history in self.histories.items():
            try:
                found = reader.describe(execution_id)
                if found.status is ExecutionStatus.NEEDS_REPAIR:
                    sound = False
                else:
                    assert list(reader.history(execution_id)) == history or not sound
            except StoreError:
                sound = False
            except ExecutionUnknown:
                assert not sound
        try:
            listed = reader.executions(limit=100)
            sound &= all(one.status is not ExecutionStatus.NEEDS_REPAIR for one in listed)
            assert list(listed) == self.listed or not sound
        except StoreError:
            sound = False
        return sound


@pytest.mark.parametrize("rounds", [100, pytest.param(3_000, marks=pytest.mark.torture)])
def test_flipped_bytes_never_pass_for_what_was_written(tmp_path: Path, rounds: int) -> None:
    """Nothing about the past may be wrong and look right. When something waits is not guarded."""
    known = Known(tmp_path / "known.db")
    noticed = 0
    for seed in range(rounds):
        chance = random.Random(seed)
        damaged = bytearray(known.content)
        for _ in range(chance.choice([1, 1, 2, 8, 64])):
            damaged[chance.randrange(len(damaged))] ^= chance.randrange(1, 256)
        database = tmp_path / f"{seed}.db"
        database.write_bytes(damaged)

        with closing(SqliteReader(database)) as reader:
            noticed += not known.is_told_by(reader)
        for left in tmp_path.glob(f"{seed}.db*"):
            left.unlink()

    assert noticed > rounds // 2


# -- one owner

OWNERS = """
import os, sys, time
from pathlib import Path
from flow_manager.errors import StoreLocked
from flow_manager.stores.sqlite.store import SqliteStore
ends = [os.pipe() for _ in range(2)]
for number in range(100):
    if os.fork() == 0:
        os.close(ends[1][1])
        try:
            store = SqliteStore(Path(sys.argv[1 + number % (len(sys.argv) - 1)]))
            os.write(ends[0][1], b"owner ")
        except StoreLocked:
            os.write(ends[0][1], b"other ")
        os.read(ends[1][0], 1)
        os._exit(0)
os.close(ends[0][1])
found = b""
while found.count(b" ") < 100:
    found += os.read(ends[0][0], 1000)
os.close(ends[1][1])
print(found.count(b"owner"), found.count(b"other"))
"""


def test_of_a_hundred_processes_one_owns_the_file_by_whatever_name(tmp_path: Path) -> None:
    database = tmp_path / "owned.db"
    one_execution(database)
    (tmp_path / "elsewhere").mkdir()
    names = [database, tmp_path / "elsewhere" / "symlink.db", tmp_path / "elsewhere" / "hard.db"]
    names[1].symlink_to(database)
    names[2].hardlink_to(database)

    done = subprocess.run(
        [sys.executable, "-c", OWNERS, *map(str, names)], cwd=ROOT, capture_output=True, text=True, timeout=50
    )

    assert (done.stdout, done.stderr) == ("1 99\n", "")


READ_AND_CLOSE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM executions").fetchall()
connection.close()
"""


def test_a_second_store_in_the_same_process_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    """Closing a second descriptor of the file would drop the locks that SQLite holds on it."""
    database = tmp_path / "owned.db"

    async def scenario() -> None:
        store = SqliteStore(database)
        await store.open(NOW, refuse)
        claim = await store.start(new_execution())

        with pytest.raises(StoreLocked):
            SqliteStore(database)
        subprocess.run([sys.executable, "-c", READ_AND_CLOSE, str(database)], check=True)

        assert Path(f"{database}-wal").exists()  # whoever thinks to be the last one deletes it
        await store.commit(step(claim, 2))
        await store.stop()

    asyncio.run(scenario())
    one_execution(database)
