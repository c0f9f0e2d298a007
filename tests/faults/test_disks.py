"""F24, F28, F30, F48: what the service does when its disk or its file is not its own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import apsw
import pytest

from tests.support.disks import remount_read_only, small_disk
from tests.support.documents import document, task
from tests.support.service import ROOT, Service, wait_for
from tests.support.soundness import assert_sound

QUICK = document(task("nothing"), task("plain"), flow_id="quick")
LARGE = document(task("nothing", {"text": "x" * 20_000}), task("nothing"), flow_id="large")


def test_a_full_disk_refuses_new_work_and_resumes_by_itself(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk, Service(disk, "--log-level", "error") as service:
        acknowledged = [service.execute(QUICK).json()["execution_id"]]
        gate = disk / "gate"
        held = service.execute(document(task("hold", {"path": str(gate)}), task("nothing")), "respond-async")
        acknowledged.append(held.json()["execution_id"])
        ballast = disk / "ballast"
        _fill(ballast)

        statuses = []
        for _ in range(200):
            answer = service.execute({**LARGE, "input": {"text": "y" * 50_000}})
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                acknowledged.append(answer.json()["execution_id"])
            if statuses.count(507) >= 3:
                break
        full = service.execute(LARGE)
        gate.touch()
        read = service.client.get(f"/flow/status/{acknowledged[0]}")
        health = service.client.get("/health")
        time.sleep(0.5)
        ballast.unlink()
        freed_at = time.monotonic()
        wait_for(lambda: True if service.execute(QUICK).status_code == 200 else None, service.log)
        resumed_after = time.monotonic() - freed_at
        for execution_id in acknowledged:
            assert service.await_status(execution_id)["status"] == "completed"
        assert service.stop() == 0

        assert full.status_code == 507
        assert full.json()["type"] == "/problems/no-space"
        assert set(statuses) <= {200, 507}
        assert read.status_code == 200
        assert health.status_code in {200, 503}
        assert resumed_after < 5.0
        assert_sound(service.database, acknowledged)


def _fill(ballast: Path) -> None:
    """Leave next to nothing free."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def test_a_file_that_cannot_be_written_is_served_for_reading(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        with Service(disk) as service:
            execution_id = service.execute(QUICK).json()["execution_id"]
            assert service.stop() == 0
        remount_read_only(disk)
        read_only = Service(tmp_path)
        read_only.database = service.database

        with read_only as service:
            read = service.client.get(f"/flow/status/{execution_id}")
            listed = service.client.get("/v1/executions").json()["executions"]
            began = time.monotonic()
            refused = service.execute(QUICK)
            took = time.monotonic() - began
            health = service.client.get("/health").json()
            assert service.stop() == 0

    assert read.status_code == 200
    assert [summary["execution_id"] for summary in listed] == [execution_id]
    assert refused.status_code == 503
    assert refused.json()["type"] == "/problems/read-only"
    assert took < 1.0
    assert health["status"] == "read_only"


@pytest.mark.parametrize("seconds", [4.0, pytest.param(30.0, marks=pytest.mark.torture)])
def test_a_foreign_lock_makes_new_work_wait_and_then_refuses_it(tmp_path: Path, seconds: float) -> None:
    with Service(tmp_path, "--log-level", "error") as service:
        acknowledged = [service.execute(QUICK).json()["execution_id"]]
        foreign = apsw.Connection(str(service.database))
        foreign.execute("BEGIN IMMEDIATE")
        answers: list[tuple[int, str | None, str | None]] = []
        lock = threading.Lock()
        until = time.monotonic() + seconds

        def client() -> None:
            answer = service.execute(QUICK, prefer="respond-async")
            with lock:
                kind = answer.json().get("type")
                answers.append((answer.status_code, answer.headers.get("Retry-After"), kind))
                if answer.status_code == 202:
                    acknowledged.append(answer.json()["execution_id"])

        clients = []
        while time.monotonic() < until:
            clients.append(threading.Thread(target=client))
            clients[-1].start()
            time.sleep(0.1)
        began = time.monotonic()
        read = service.client.get(f"/flow/status/{acknowledged[0]}")
        health = service.client.get("/health")
        reading_took = time.monotonic() - began
        foreign.execute("ROLLBACK")
        foreign.close()
        released_at = time.monotonic()
        wait_for(lambda: True if service.execute(QUICK).status_code == 200 else None, service.log)
        recovered_after = time.monotonic() - released_at
        for each in clients:
            each.join()
        for execution_id in acknowledged:
            assert service.await_status(execution_id)["status"] == "completed"
        assert service.stop() == 0

    # What was on its way into the store when patience ended is unknown; it was not refused.
    assert {(status, kind) for status, _, kind in answers} <= {
        (202, None),
        (503, "/problems/overloaded"),
        (503, "/problems/outcome-unknown"),
    }
    refused = [retry_after for _, retry_after, kind in answers if kind == "/problems/overloaded"]
    assert refused
    assert all(refused)
    assert (read.status_code, health.status_code) == (200, 200)
    assert reading_took < 0.5
    assert recovered_after < 1.0
    assert_sound(service.database, acknowledged)


@pytest.mark.parametrize("name", ["same", "symlink", "hard link"])
def test_a_second_service_on_the_same_file_leaves_with_a_clear_message(tmp_path: Path, name: str) -> None:
    with Service(tmp_path) as service:
        second = tmp_path / "other" / "second.db"
        second.parent.mkdir()
        if name == "same":
            second = service.database
        elif name == "symlink":
            second.symlink_to(service.database)
        else:
            second.hardlink_to(service.database)

        done = subprocess.run(
            [sys.executable, "-m", "flow_manager", "serve", "--port", "0", "--database", str(second)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
        )

        assert done.returncode == 3
        assert "another process is using" in done.stderr
        assert "Traceback" not in done.stderr
        assert service.execute(QUICK).status_code == 200
        assert service.stop(signal.SIGTERM) == 0


def test_a_damaged_file_is_named_and_left_untouched(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        service.execute(QUICK)
        assert service.stop() == 0
    damaged = tmp_path / "damaged.db"
    shutil.copy(service.database, damaged)
    damaged.write_bytes(b"this is not a database" * 1000)
    before = damaged.read_bytes()

    done = subprocess.run(
        [sys.executable, "-m", "flow_manager", "serve", "--port", "0", "--database", str(damaged)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert done.returncode == 74
    assert "damaged.db" in done.stderr
    assert damaged.read_bytes() == before
