"""F33: a signal to stop, with tasks running."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import document, task
from tests.support.service import Service, wait_for
from tests.support.soundness import assert_sound, starts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_records_what_ends_in_time_and_gives_back_the_rest(tmp_path: Path, number: int) -> None:
    journal = tmp_path / "starts"
    grace = 2.0
    service = Service(tmp_path, "--grace", str(grace), environment={"TASK_JOURNAL": str(journal)})
    with service:
        quick = document(task("sleep", {"seconds": 1}), flow_id="quick")
        gate = tmp_path / "gate"
        endless = document(task("hold", {"path": str(gate)}), flow_id="endless")
        acknowledged = {
            name: [service.execute(flow, prefer="respond-async").json()["execution_id"] for _ in range(25)]
            for name, flow in (("quick", quick), ("endless", endless))
        }
        wait_for(
            lambda: True if journal.exists() and len(starts(journal)) == 50 else None,
            lambda: "not all started",
        )

        stopped_at = time.monotonic()
        assert service.stop(number) == 0
        took = time.monotonic() - stopped_at

        service.start()
        ended = [service.status(each) for each in acknowledged["quick"]]
        waiting = [service.status(each) for each in acknowledged["endless"]]
        gate.touch()
        released = [service.await_status(each) for each in acknowledged["endless"]]
        assert service.stop() == 0

    assert took <= grace + 2.0
    assert [body["status"] for body in ended] == ["completed"] * 25
    assert {body["status"] for body in waiting} <= {"running", "waiting"}
    assert {body["status"] for body in released} == {"completed"}
    attempts = [entry["attempt"] for body in released for entry in body["execution_history"]]
    assert set(attempts) == {1}
    assert_sound(service.database, [*acknowledged["quick"], *acknowledged["endless"]], journal)


def test_nobody_who_waits_is_left_without_an_answer(tmp_path: Path) -> None:
    journal = tmp_path / "starts"
    with Service(tmp_path, "--grace", "3", environment={"TASK_JOURNAL": str(journal)}) as service:
        gate = tmp_path / "gate"
        answers: list[int] = []
        lock = threading.Lock()

        def call(flow: dict[str, Any]) -> None:
            answer = service.execute(flow)
            with lock:
                answers.append(answer.status_code)

        flows = [document(task("sleep", {"seconds": 2})), document(task("hold", {"path": str(gate)}))]
        callers = [threading.Thread(target=call, args=(flows[number % 2],)) for number in range(20)]
        for each in callers:
            each.start()
        wait_for(
            lambda: True if journal.exists() and len(starts(journal)) == 20 else None,
            lambda: "not all started",
        )

        assert service.stop() == 0
        for each in callers:
            each.join(10)

    assert sorted(answers) == [200] * 10 + [202] * 10


def test_a_second_signal_ends_the_grace(tmp_path: Path) -> None:
    with Service(tmp_path, "--grace", "30") as service:
        flow = document(task("hold", {"path": str(tmp_path / "never")}))
        execution_id = service.execute(flow, prefer="respond-async").json()["execution_id"]
        wait_for(
            lambda: True if service.status(execution_id)["execution_history"] else None, lambda: "not started"
        )
        assert service.process is not None

        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        stopped_at = time.monotonic()
        assert service.stop() == 0

    assert time.monotonic() - stopped_at < 3.0


def test_while_it_stops_nothing_new_is_accepted(tmp_path: Path) -> None:
    with Service(tmp_path, "--grace", "5") as service:
        gate = tmp_path / "gate"
        flow = document(task("hold", {"path": str(gate)}))
        service.execute(flow, prefer="respond-async")
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        wait_for(
            lambda: True if service.client.get("/health").json()["status"] == "stopping" else None,
            lambda: "never stopping",
        )

        refused = service.execute(flow)
        gate.touch()

        assert service.process.wait(10) == 0
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert refused.json()["type"] == "/problems/stopping"
