"""F38: backups under load, and kills in the middle of a backup and of pruning."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

from flow_manager.stores.sqlite.copying import verify_copy
from flow_manager.stores.sqlite.reader import SqliteReader
from flow_manager.stores.sqlite.store import SqliteStore
from tests.faults.test_kills import MIXED, Clients
from tests.support.executions import NOW, last_step, new_execution, next_events, step
from tests.support.service import ROOT, Service, wait_for
from tests.support.soundness import assert_sound

PATIENCE = 50.0


def flow_manager(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "flow_manager", "db", *arguments]


def run(*arguments: str) -> None:
    done = subprocess.run(
        flow_manager(*arguments), cwd=ROOT, check=False, capture_output=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr.decode()


def killed_after(seconds: float, *arguments: str) -> bool:
    """Whether the command was still at it."""
    process = subprocess.Popen(flow_manager(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(PATIENCE)
        return True
    return False


def kill_when_larger(log: Path, size: int, *arguments: str) -> None:
    """As soon as it has written so much."""
    process = subprocess.Popen(flow_manager(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(lambda: True if log.exists() and log.stat().st_size > size else None, str, process)
    process.kill()
    process.wait(PATIENCE)


def filled(path: Path, executions: int, size: int) -> Path:
    """Half of them have ended."""

    async def write(store: SqliteStore, number: int) -> None:
        claim = await store.start(new_execution())
        await store.commit(step(claim, 2, next_events(1, "x" * size)))
        if number % 2:
            await store.commit(last_step(claim, 5))

    async def session() -> None:
        faults: list[BaseException] = []
        store = SqliteStore(path, "relaxed")
        await store.open(NOW, faults.append)
        await asyncio.gather(*(write(store, number) for number in range(executions)))
        await store.stop()
        assert faults == []

    asyncio.run(session())
    return path


def assert_whole(path: Path) -> int:
    """How many executions it has; its tallies are those of its rows."""
    reader = SqliteReader(path)
    assert reader.violations() == []
    counted = len(reader.executions(limit=1_000_000))
    reader.close()
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("quick_check") == "ok"
    tallies = "SELECT status, ended FROM tallies WHERE ended <> 0 ORDER BY 1"
    found = "SELECT status, count(*) FROM executions WHERE status IS NOT NULL GROUP BY 1 ORDER BY 1"
    assert connection.execute(tallies).fetchall() == connection.execute(found).fetchall()
    connection.close()
    return counted


def test_a_killed_backup_leaves_no_half_target_and_the_next_one_works(tmp_path: Path) -> None:
    path, target = filled(tmp_path / "a.db", 400, 200_000), tmp_path / "copy.db"
    chance, killed = random.Random(1), 0
    for _ in range(6):
        killed += killed_after(chance.uniform(0.3, 0.9), "backup", str(target), "--database", str(path))
        if target.exists():
            verify_copy(target)
            target.unlink()

    assert killed > 0
    assert assert_whole(path) == 400
    run("backup", str(target), "--database", str(path))
    assert assert_whole(target) == 400
    assert [each.name for each in tmp_path.glob("*.partial*")] == []


def test_killed_pruning_leaves_a_sound_database_and_is_gone_on_with(tmp_path: Path) -> None:
    path, log = filled(tmp_path / "a.db", 8_000, 100), tmp_path / "a.db-wal"
    pruning = ("prune", "--older-than", "0s", "--database", str(path))
    left = [8_000]
    for size in (100_000, 600_000, 300_000):
        kill_when_larger(log, size, *pruning)
        left.append(assert_whole(path))

    assert sorted(left, reverse=True) == left
    assert 4_000 < left[-1] < 8_000
    run(*pruning)
    assert assert_whole(path) == 4_000


def restore_and_resume(folder: Path, rounds: int) -> None:
    """Backups under load; each is put back elsewhere, and everything in it ends."""
    chance = random.Random(3)
    with Service(folder, "--log-level", "warning") as service:
        clients = Clients(service)
        for number in range(rounds):
            time.sleep(chance.uniform(0.1, 0.6))
            run("backup", str(folder / f"copy{number}.db"), "--database", str(service.database))
        clients.stop()
        assert service.violations() == []
    assert len(clients.acknowledged) > 5 * rounds
    for number in range(rounds):
        elsewhere = folder / f"elsewhere{number}"
        elsewhere.mkdir()
        run("restore", str(folder / f"copy{number}.db"), "--database", str(elsewhere / "flow-manager.db"))
        with Service(elsewhere, "--log-level", "warning") as restored:
            found = restored.client.get("/v1/executions", params={"limit": 1000}).json()["executions"]
            for each in found:
                body = restored.await_status(each["execution_id"])
                assert body["status"] == ("failed" if body["flow_id"] == "failing" else "completed")
            assert found
            assert restored.violations() == []
            assert restored.execute(MIXED[0]).json()["status"] == "completed"
            assert restored.stop() == 0
        assert_sound(elsewhere / "flow-manager.db", [each["execution_id"] for each in found], None)


def test_backups_under_load_are_restored_and_go_on(tmp_path: Path) -> None:
    restore_and_resume(tmp_path, rounds=2)


@pytest.mark.torture
def test_20_backups_under_load_are_restored_and_go_on(tmp_path: Path) -> None:
    restore_and_resume(tmp_path, rounds=20)
