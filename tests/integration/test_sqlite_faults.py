"""F01, F24, F25, F30 at the store: what was acknowledged is there, whatever the disk did."""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from flow_manager.errors import OutcomeUnknown, StoreError, StoreFull, StoreLocked
from flow_manager.ports.store import Claim
from flow_manager.stores import journal
from flow_manager.stores.sqlite.reader import SqliteReader
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.committers import DIED
from tests.support.disks import small_disk
from tests.support.executions import NOW, new_execution, next_events, step
from tests.support.faulty_disk import Fault, FaultyDisk, full
from tests.support.service import ROOT


def committers(database: Path, executions: int, fault: str = "-") -> list[str]:
    return [sys.executable, "-m", "tests.support.committers", str(database), str(executions), fault]


def run_committers(database: Path, executions: int, fault: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        committers(database, executions, fault), cwd=ROOT, capture_output=True, text=True, timeout=50
    )


def assert_all_there(database: Path, acknowledged: str) -> None:
    """Open the store as the next process would, and look for every acknowledged write in it."""

    async def open_again() -> None:
        store = SqliteStore(database)
        await store.open(NOW, lambda error: pytest.fail(str(error)))
        await store.stop()

    asyncio.run(open_again())
    whole_lines = acknowledged[: acknowledged.rfind("\n") + 1].splitlines()
    with closing(SqliteReader(database)) as reader:
        for line in whole_lines:
            execution_id, events = line.split()
            assert len(reader.history(execution_id)) >= int(events)
        assert list(reader.violations()) == []
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("integrity_check") == "ok"
    connection.close()


@pytest.mark.parametrize("rounds", [2, pytest.param(200, marks=pytest.mark.torture)])
def test_after_a_kill_all_that_was_acknowledged_is_there(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(rounds)
    for number in range(rounds):
        database, output = tmp_path / f"{number}.db", tmp_path / "output"
        with output.open("wb") as out:
            process = subprocess.Popen(committers(database, 1_000_000), cwd=ROOT, stdout=out)
        deadline = time.monotonic() + 20
        while output.stat().st_size < 40_000 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(chance.random() * 0.2)
        process.kill()
        process.wait()

        acknowledged = output.read_text()
        assert acknowledged.count("\n") > 64
        assert_all_there(database, acknowledged)
        for left in tmp_path.iterdir():
            left.unlink()


FAILING = [
    f"{file}:{call}:{number}:io_error"
    for file, call, numbers in (
        ("log", "sync", (1, 6)),
        ("log", "write", (1, 2, 41)),
        ("database", "sync", (1,)),
        ("database", "write", (1, 9)),
    )
    for number in numbers
]


@pytest.mark.parametrize("fault", FAILING)
def test_a_failing_device_is_never_acknowledged_and_ends_the_process(tmp_path: Path, fault: str) -> None:
    done = run_committers(tmp_path / "failing.db", 200, fault)

    assert (done.returncode, done.stderr) == (DIED, "")
    assert_all_there(tmp_path / "failing.db", done.stdout)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(50))
def test_a_device_that_fails_anywhere_is_never_acknowledged(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    file, call = chance.choice(
        [("log", "sync"), ("log", "write"), ("database", "sync"), ("database", "write")]
    )
    number = chance.randint(1, {"sync": 5, "write": 200}[call])

    done = run_committers(tmp_path / "failing.db", 2_000, f"{file}:{call}:{number}:io_error")

    assert (done.returncode, done.stderr) == (DIED, "")
    assert_all_there(tmp_path / "failing.db", done.stdout)


@pytest.mark.parametrize(
    "fault", ["log:write:1:full", "log:write:40:full", "log:sync:3:full", "database:write:3:full"]
)
def test_a_full_disk_takes_back_a_batch_and_ends_nothing(tmp_path: Path, fault: str) -> None:
    done = run_committers(tmp_path / "full.db", 200, fault)

    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 800
    assert_all_there(tmp_path / "full.db", done.stdout)


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    disk = FaultyDisk()
    yield disk
    gc.collect()  # the connections on it must go before it does
    disk.unregister()


@pytest.mark.parametrize("call", ["log:sync", "log:write"])
def test_where_the_process_lives_on_nobody_hears_of_success_and_nothing_is_accepted(
    tmp_path: Path, disk: FaultyDisk, call: str
) -> None:
    faults: list[BaseException] = []

    async def scenario() -> None:
        store = SqliteStore(tmp_path / "dead.db")
        await store.open(NOW, faults.append)
        await store.start(new_execution())
        disk.break_at(Fault.named(f"{call}:1:io_error"))
        writes = [store.start(new_execution()) for _ in range(300)]

        answers = await asyncio.gather(*writes, return_exceptions=True)

        assert {type(answer) for answer in answers} <= {OutcomeUnknown, StoreError}
        assert isinstance(answers[0], OutcomeUnknown)
        with pytest.raises(StoreError, match="must be opened again"):
            await store.start(new_execution())
        await store.stop()

    asyncio.run(scenario())

    assert [type(fault) for fault in faults] == [apsw.IOError]


def test_a_full_disk_in_the_middle_of_a_large_batch_leaves_nothing_of_it(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    """The page cache spills into the log before the commit, and SQLite ends the transaction there."""
    faults: list[BaseException] = []
    events = next_events(1, "x" * 250_000)

    async def scenario() -> None:
        store = SqliteStore(tmp_path / "spilled.db")
        await store.open(NOW, faults.append)
        claims = await asyncio.gather(*(store.start(new_execution()) for _ in range(200)))
        disk.break_at(Fault("log", "write", 1_000, full))

        answers = await asyncio.gather(
            *(store.commit(step(claim, 2, events)) for claim in claims), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {StoreFull}
        assert all(len(store.history(claim.execution_id)) == 2 for claim in claims)

        await asyncio.gather(*(store.commit(step(claim, 2, events)) for claim in claims))
        assert list(store.violations()) == []
        await store.stop()

    asyncio.run(scenario())

    assert faults == []


def test_a_small_disk_that_is_full_refuses_reads_on_and_resumes(tmp_path: Path) -> None:
    faults: list[BaseException] = []

    async def scenario(folder: Path) -> float:
        ballast = folder / "ballast"
        ballast.write_bytes(b"\0" * (6 << 20))
        store = SqliteStore(folder / "small.db")
        await store.open(NOW, faults.append)
        acknowledged: list[Claim] = []
        refused = 0

        async def client() -> None:
            nonlocal refused
            while refused < 64:
                try:
                    acknowledged.append(await store.start(new_execution()))
                    await store.commit(step(acknowledged[-1], 2, next_events(1, "x" * 20_000)))
                except StoreFull:
                    refused += 1

        await asyncio.gather(*(client() for _ in range(64)))
        assert all(store.history(claim.execution_id) for claim in acknowledged)
        ballast.unlink()
        freed_at = time.monotonic()
        await store.start(new_execution())
        resumed_after = time.monotonic() - freed_at
        await store.stop()
        with closing(SqliteReader(folder / "small.db")) as reader:
            assert all(reader.history(claim.execution_id) for claim in acknowledged)
            assert list(reader.violations()) == []
        return resumed_after

    with small_disk(tmp_path / "disk") as folder:
        assert asyncio.run(scenario(folder)) < 5

    assert faults == []


@pytest.mark.parametrize("seconds", [0.8, pytest.param(30.0, marks=pytest.mark.torture)])
def test_a_foreign_lock_is_waited_for_and_work_resumes_when_it_is_gone(
    tmp_path: Path, seconds: float
) -> None:
    async def scenario() -> float:
        store = SqliteStore(tmp_path / "locked.db")
        await store.open(NOW, faults.append)
        claim = await store.start(new_execution())
        foreign = apsw.Connection(str(tmp_path / "locked.db"))
        foreign.execute("BEGIN IMMEDIATE")
        starts = [store.start(new_execution()) for _ in range(100)]
        writes = [asyncio.ensure_future(write) for write in (*starts, store.commit(step(claim, 2)))]

        await asyncio.sleep(seconds)
        assert not any(write.done() for write in writes)
        assert len(store.history(claim.execution_id)) == 2
        foreign.execute("ROLLBACK")
        foreign.close()
        released_at = time.monotonic()
        await asyncio.gather(*writes)
        recovered_after = time.monotonic() - released_at
        await store.stop()
        return recovered_after

    faults: list[BaseException] = []
    assert asyncio.run(scenario()) < 1
    assert faults == []


def test_a_stopping_store_does_not_wait_for_ever_for_a_foreign_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "STOP_PATIENCE", 0.3)
    faults: list[BaseException] = []

    async def scenario() -> None:
        store = SqliteStore(tmp_path / "locked.db")
        await store.open(NOW, faults.append)
        foreign = apsw.Connection(str(tmp_path / "locked.db"))
        foreign.execute("BEGIN IMMEDIATE")
        writes = [asyncio.ensure_future(store.start(new_execution())) for _ in range(300)]
        await asyncio.sleep(0)

        began = time.monotonic()
        await store.stop()
        assert time.monotonic() - began < 3
        answers = await asyncio.gather(*writes, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreLocked}
        foreign.close()

    asyncio.run(scenario())

    assert faults == []
    with closing(SqliteReader(tmp_path / "locked.db")) as reader:
        assert reader.open_executions() == 0
