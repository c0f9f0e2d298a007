"""F01, F06, F17: the process is killed, again and again, and every acknowledged execution ends."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.support.documents import document, task
from tests.support.service import Service
from tests.support.soundness import assert_sound, starts

MIXED = (
    document(task("nothing"), task("plain"), task("nothing"), flow_id="quick"),
    document(task("sleep", {"seconds": 0.2}), task("nap", {"seconds": 0.1}), flow_id="slow"),
    document(
        task("fail_until", {"attempt": 3}, retry={"max_attempts": 5, "delay": "50ms"}),
        task("nothing"),
        flow_id="retried",
    ),
    document(task("flop"), task("nothing"), flow_id="failing"),
    document(task("isolated"), task("nothing"), flow_id="isolated"),
)


class Clients:
    """Threads that start executions as fast as they are answered, and note what was acknowledged."""

    def __init__(self, service: Service, count: int = 4) -> None:
        self.acknowledged: list[str] = []
        self._service = service
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(count)]
        for each in self._threads:
            each.start()

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self._stopping.is_set():
            try:
                answer = self._service.execute(chance.choice(MIXED), prefer="respond-async")
            except (httpx.TransportError, RuntimeError):  # killed, or the client was replaced meanwhile
                time.sleep(0.02)
                continue
            if answer.status_code == 202:
                self.acknowledged.append(answer.json()["execution_id"])
            time.sleep(0.005)

    def stop(self) -> None:
        self._stopping.set()
        for each in self._threads:
            each.join()


def survive_kills(folder: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    journal = folder / "starts"
    service = Service(folder, "--log-level", "warning", environment={"TASK_JOURNAL": str(journal)})
    with service:
        clients = Clients(service)
        for _ in range(rounds):
            time.sleep(chance.uniform(0.2, 1.5))
            service.kill()
            service.start()
        clients.stop()
        acknowledged = set(clients.acknowledged)
        for execution_id in acknowledged:
            body = service.await_status(execution_id)
            expected = "failed" if body["flow_id"] == "failing" else "completed"
            assert body["status"] == expected, body
        assert service.violations() == []
        assert service.stop() == 0
    assert len(acknowledged) > 10 * rounds
    assert_sound(service.database, acknowledged, journal)


def test_no_acknowledged_execution_is_lost_by_kills(tmp_path: Path) -> None:
    survive_kills(tmp_path, rounds=3, seed=1)


@pytest.mark.torture
def test_no_acknowledged_execution_is_lost_by_200_kills(tmp_path: Path) -> None:
    survive_kills(tmp_path, rounds=200, seed=2)


def test_a_start_that_is_killed_again_and_again_changes_nothing(tmp_path: Path) -> None:
    journal = tmp_path / "starts"
    service = Service(tmp_path, "--log-level", "warning", environment={"TASK_JOURNAL": str(journal)})
    with service:
        slow = document(task("sleep", {"seconds": 0.3}), task("nothing"), flow_id="slow")
        acknowledged = [
            service.execute(slow, prefer="respond-async").json()["execution_id"] for _ in range(50)
        ]
        service.kill()
        for moment in (0.0, 0.3, 0.45, 0.5, 0.55):
            service.launch()
            time.sleep(moment)
            service.kill()
        service.start()
        statuses = {service.await_status(each, "completed", "quarantined")["status"] for each in acknowledged}
        assert service.stop() == 0
    assert statuses == {"completed"}
    assert_sound(service.database, acknowledged, journal)


def test_a_task_that_kills_its_service_starts_three_times_and_is_then_quarantined(tmp_path: Path) -> None:
    journal = tmp_path / "starts"
    service = Service(tmp_path, environment={"TASK_JOURNAL": str(journal)})
    poison = document(task("sleep", {"seconds": 0.3}), task("kill_service"), flow_id="poison")
    with service:
        execution_id = service.execute(poison, prefer="respond-async").json()["execution_id"]
        for _ in range(2):
            assert service.process is not None
            service.process.wait(10)
            service.launch()
        service.await_ready()
        body = service.await_status(execution_id, "quarantined")
        other = service.execute(document(task("nothing"))).json()

    # The third start was in a process of its own, so that the service outlived it.
    assert [entry["status"] for entry in body["execution_history"]] == ["success", "lost", "lost", "lost"]
    assert "SIGKILL" in body["execution_history"][3]["message"]
    assert [start[3] for start in starts(journal) if start[:2] == (execution_id, "task2")] == [1, 2, 3]
    assert other["status"] == "completed"


def test_a_task_that_kills_its_own_process_is_quarantined_and_the_service_goes_on(tmp_path: Path) -> None:
    journal = tmp_path / "starts"
    with Service(tmp_path, environment={"TASK_JOURNAL": str(journal)}) as service:
        poison = document(task("isolated", {"how": "kill"}), flow_id="poison")
        execution_id = service.execute(poison, prefer="respond-async").json()["execution_id"]
        body = service.await_status(execution_id, "quarantined")
        other = service.execute(document(task("isolated"))).json()

    assert len(body["execution_history"]) == 3
    assert "SIGKILL" in body["execution_history"][0]["message"]
    assert [start[3] for start in starts(journal) if start[0] == execution_id] == [1, 2, 3]
    assert other["status"] == "completed"
