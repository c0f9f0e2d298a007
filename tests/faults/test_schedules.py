"""F21, F22, G11: schedules of a service that is stopped, killed, and whose clock moves."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import document, task
from tests.support.published import publish
from tests.support.service import Service, wait_for

FLOW = document(task("succeed"), flow_id="nightly")
SECOND = timedelta(seconds=1)


def fires_of(service: Service, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.client.get(f"/v1/schedules/{name}/fires?limit=1000").json()["fires"]
    return found[::-1]


def put(service: Service, name: str, **fields: Any) -> None:
    answer = service.client.put(f"/v1/schedules/{name}", json={"flow_id": "nightly", **fields})
    assert answer.status_code == 201, answer.text


def nominal_times(fires: list[dict[str, Any]]) -> list[datetime]:
    return [datetime.fromisoformat(each["nominal_time"]) for each in fires]


def survive_kills(folder: Path, rounds: int, schedules: int) -> None:
    chance = random.Random(7)
    with Service(folder, "--log-level", "warning") as service:
        publish(service.database, FLOW)
        for number in range(schedules):
            put(service, f"s{number}", every=1 + number % 3, missed="all", overlap="allow")
        for _ in range(rounds):
            time.sleep(chance.uniform(0.2, 1.2))
            service.kill()
            service.start()
        time.sleep(2.5)
        for number in range(schedules):
            service.client.post(f"/v1/schedules/s{number}:pause", json={}).raise_for_status()
        started: Counter[str] = Counter()
        for number in range(schedules):
            fires, step = fires_of(service, f"s{number}"), (1 + number % 3) * SECOND
            times = nominal_times(fires)
            assert {each["outcome"] for each in fires} == {"started"}
            assert [after - before for before, after in pairwise(times)] == [step] * (len(times) - 1), (
                "a time is missing, or there is one too many"
            )
            started.update(each["execution_id"] for each in fires)
        assert set(started.values()) == {1}
        listed = service.client.get("/v1/executions?limit=1000").json()["executions"]
        assert Counter(each["execution_id"] for each in listed) == started
        assert service.violations() == []


def test_killed_again_and_again_each_time_is_started_once(tmp_path: Path) -> None:
    survive_kills(tmp_path, rounds=4, schedules=6)


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_killed_many_times_each_time_is_started_once(tmp_path: Path) -> None:
    survive_kills(tmp_path, rounds=60, schedules=10)


def test_a_service_that_was_stopped_starts_the_latest_time_of_each(tmp_path: Path) -> None:
    """F21, with a stop of a few seconds and schedules that are due each second."""
    with Service(tmp_path, "--log-level", "warning") as service:
        publish(service.database, FLOW)
        for number in range(30):
            put(service, f"s{number}", every=1, overlap="allow")
        assert service.process is not None
        service.process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        service.process.send_signal(signal.SIGCONT)
        for number in range(30):
            look = partial(_after_the_stop, service, f"s{number}")
            outcomes = wait_for(look, lambda: "it did not fire")
            assert outcomes.count("skipped_missed") >= 2
        assert service.violations() == []


def _after_the_stop(service: Service, name: str) -> list[str] | None:
    outcomes = [each["outcome"] for each in fires_of(service, name)]
    missed = [place for place, outcome in enumerate(outcomes) if outcome == "skipped_missed"]
    return outcomes if missed and "started" in outcomes[missed[-1] :] else None
