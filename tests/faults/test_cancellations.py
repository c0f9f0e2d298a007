"""F32 and compensation: a cancellation against whatever else may end an execution, and a process that dies
while it undoes what was done."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from flow_manager.core.events import (
    AttemptCancelled,
    AttemptEnded,
    AttemptLost,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionEnding,
)
from flow_manager.ports.backend import ChildSummary
from flow_manager.stores.sqlite.reader import SqliteReader
from tests.support.documents import document, task
from tests.support.service import Service
from tests.support.soundness import starts

ENDED = ("completed", "failed", "cancelled")
SOON = 0.04
"""Seconds after its start at which an execution would end."""
OFFSET = 0.005
"""Seconds by which a cancellation comes too early or too late, at most."""
SHIFT = 0.0005
"""Seconds by which the next cancellation comes later if this one won, and earlier if it lost."""

RIVALS: dict[str, dict[str, Any]] = {
    "completion": document(task("sleep", {"seconds": SOON}), flow_id="completion"),
    "failure": document(task("sleep", {"seconds": SOON}), task("flop"), flow_id="failure"),
    "timer": document(task("wait", {"for": SOON}), flow_id="timer"),
    "time limit": document(task("wait", {"for": "1h"}), timeout=SOON, flow_id="time-limit"),
    "signal": document(task("signal", {"name": "go"}), flow_id="signal"),
    "signal and more": document(task("signal", {"name": "go"}), task("nothing"), flow_id="signal-and-more"),
    "child": document(task("flow", {"flow": document(task("wait", {"for": SOON}))["flow"]}), flow_id="child"),
    "retry": document(
        task("fail_until", {"attempt": 2, "after": SOON}, retry={"max_attempts": 2}), flow_id="retry"
    ),
}
"""What a cancellation is in a race with."""
ENDS_AS = {"failure": "failed", "time limit": "failed"}
"""How those end that do not complete."""


@dataclass
class Race:
    """Rounds of one kind. The moment of the cancellation follows what happens, so that it wins about as
    often as it loses; around that it is drawn."""

    service: Service
    kind: str
    seed: int
    moment: float = SOON
    told: Counter[tuple[int, str]] = field(default_factory=Counter)
    """How often a cancellation was answered so, and the execution ended so."""
    execution_ids: list[str] = field(default_factory=list)

    def run(self, rounds: int) -> None:
        chance = random.Random(self.seed)
        with httpx.Client(base_url=self.service.client.base_url, timeout=30.0) as client:
            for _ in range(rounds):
                status, ended_as = self._round(client, chance.uniform(-OFFSET, OFFSET))
                self.told[status, ended_as] += 1
                self.moment += SHIFT if status == 202 else -SHIFT

    def _round(self, client: httpx.Client, offset: float) -> tuple[int, str]:
        answer = client.post("/flow/execute", json=RIVALS[self.kind], headers={"Prefer": "respond-async"})
        began = time.monotonic()
        execution_id: str = answer.json()["execution_id"]
        self.execution_ids.append(execution_id)
        signalling = threading.Thread(target=self._signal, args=(execution_id, began))
        if self.kind.startswith("signal"):
            signalling.start()
        time.sleep(max(0.0, began + self.moment + offset - time.monotonic()))
        cancelled = client.post(f"/v1/executions/{execution_id}:cancel", json={"reason": "enough"})
        if self.kind.startswith("signal"):
            signalling.join()
        body = self.service.await_status(execution_id, *ENDED)
        if cancelled.status_code == 202:
            assert (body["error"]["code"], body["error"]["message"]) == ("execution.cancelled", "enough")
        return cancelled.status_code, body["status"]

    def _signal(self, execution_id: str, began: float) -> None:
        time.sleep(max(0.0, began + SOON - time.monotonic()))
        answer = self.service.client.post(f"/v1/executions/{execution_id}:signal", json={"name": "go"})
        assert answer.status_code in (202, 409)


@pytest.mark.parametrize(
    "rounds", [pytest.param(13, id="100"), pytest.param(250, id="2,000", marks=pytest.mark.torture)]
)
def test_who_cancels_is_told_the_truth_whatever_else_happens_at_that_moment(
    tmp_path: Path, rounds: int
) -> None:
    with Service(tmp_path, "--log-level", "error") as service:
        races = [Race(service, kind, seed) for seed, kind in enumerate(RIVALS)]

        together(*(lambda race=race: race.run(rounds) for race in races))

        assert service.violations() == []
        assert service.stop() == 0
    for race in races:
        assert set(race.told) <= {(202, "cancelled"), (409, ENDS_AS.get(race.kind, "completed"))}, race
    assert {status for race in races for status, _ in race.told} == {202, 409}
    assert_all_ended(service.database, [each for race in races for each in race.execution_ids])


def assert_all_ended(database: Path, execution_ids: Sequence[str]) -> None:
    """Nothing waits for nothing. Of each execution the history is whole: one end, at the end, and one for
    each attempt."""
    with closing(SqliteReader(database)) as reader:
        assert list(reader.violations()) == []
        assert reader.open_executions() == 0
        for execution_id in execution_ids:
            history = reader.history(execution_id)
            ends = [place for place, each in enumerate(history, 1) if isinstance(each, ExecutionEnded)]
            assert ends == [len(history)]
            begun = [(each.run, each.attempt) for each in history if isinstance(each, AttemptStarted)]
            over = [
                (each.run, each.attempt)
                for each in history
                if isinstance(each, AttemptEnded | AttemptCancelled | AttemptLost)
            ]
            assert begun == over


def together(*runs: Callable[[], None]) -> None:
    """Each in a thread of its own; what one raises is raised here."""
    faults: list[BaseException] = []

    def guarded(run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=guarded, args=(run,)) for run in runs]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if faults:
        raise faults[0]


def test_many_who_cancel_at_once_are_told_the_same(tmp_path: Path) -> None:
    with Service(tmp_path, "--log-level", "error") as service:
        for _ in range(10):
            execution_id = service.execute(RIVALS["completion"], "respond-async").json()["execution_id"]
            statuses: list[int] = []

            def cancel(execution_id: str = execution_id, statuses: list[int] = statuses) -> None:
                time.sleep(SOON - 0.005)
                answer = service.client.post(f"/v1/executions/{execution_id}:cancel", json={})
                statuses.append(answer.status_code)

            together(*[cancel] * 8)
            status = service.await_status(execution_id, *ENDED)["status"]

            assert set(statuses) <= {202, 409}
            assert (status == "cancelled") is (202 in statuses)
        assert service.violations() == []


# -- undoing through kills

UNDOS = [{"name": f"undo{number}", "type": "nap", "input": {"seconds": 0.01}} for number in range(1, 6)]


def undoable(*last: dict[str, Any], flow_id: str, **fields: Any) -> dict[str, Any]:
    """Five tasks that can be undone, one of them twice in a loop, and what comes behind them."""
    done = [task("nothing", compensate_with=f"undo{number}") for number in range(1, 6)]
    flow = document(*done, *last, flow_id=flow_id, **fields)
    again = {
        "name": "again",
        "source_task": "task3",
        "when": "execution.task_runs < 5",
        "target_task_success": "task2",
        "target_task_failure": "task4",
    }
    conditions = [each for each in flow["flow"]["conditions"] if each["source_task"] != "task3"]
    flow["flow"]["conditions"] = [*conditions, again]
    flow["flow"]["tasks"] += UNDOS
    return flow


def parent(*tasks: dict[str, Any], flow_id: str) -> dict[str, Any]:
    """A task that can be undone, and others that start children."""
    flow = document(task("nothing", compensate_with="undo1"), *tasks, flow_id=flow_id)
    flow["flow"]["tasks"] += UNDOS[:1]
    return flow


CHILD = undoable(flow_id="child")["flow"]
THIRD_FAILS = undoable(task("fail", run_when="input.item == 2"), flow_id="third-fails")["flow"]
UNDONE = {
    "failing": undoable(task("flop"), flow_id="failing"),
    "timed-out": undoable(task("wait", {"for": "1h"}), flow_id="timed-out", timeout=0.3),
    "cancelled": undoable(task("wait", {"for": "1h"}), flow_id="cancelled"),
    "parent": parent(task("flow", {"flow": CHILD}), task("flop"), flow_id="parent"),
    "parent-of-many": parent(
        task("for_each", {"flow": CHILD, "items": [1, 2, 3], "max_parallel": 2}),
        task("flop"),
        flow_id="parent-of-many",
    ),
    "parent-of-failing": parent(
        task("for_each", {"flow": THIRD_FAILS, "items": [0, 1, 2, 3], "max_parallel": 1}),
        flow_id="parent-of-failing",
    ),
}
"""Flows that are undone in the end, each for another reason."""


def start_undoing(service: Service) -> list[str]:
    """Executions of every kind that are about to be undone."""
    execution_ids = []
    for name, flow in UNDONE.items():
        execution_id = service.execute(flow, "respond-async").json()["execution_id"]
        execution_ids.append(execution_id)
        if name == "cancelled":
            service.await_status(execution_id, "waiting")
            answer = service.client.post(f"/v1/executions/{execution_id}:cancel", json={})
            assert answer.status_code == 202
    return execution_ids


def assert_undone(history: Sequence[Event], children: Sequence[ChildSummary] = ()) -> None:
    """All that succeeded was undone: the last first, each once, and not before the execution was to end. So
    were the children that completed under an attempt that failed."""
    compensations = {each.run: each.compensates for each in history if isinstance(each, AttemptStarted)}
    ended = [each for each in history if isinstance(each, AttemptEnded)]
    with_children = {child.run for child in children}
    done = [
        each.run
        for each in ended
        if not compensations[each.run] and (each.outcome == "success" or each.run in with_children)
    ]
    undone = [compensations[each.run] for each in ended if compensations[each.run]]
    kinds = [type(each) for each in history]
    first = next(
        place for place, each in enumerate(history) if isinstance(each, AttemptStarted) and each.compensates
    )
    assert undone == done[::-1]
    assert undone == [run for run in compensations.values() if run]
    assert kinds.count(ExecutionEnding) == 1
    assert kinds.index(ExecutionEnding) < first


def undo_through_kills(folder: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    journal = folder / "starts"
    service = Service(folder, "--log-level", "error", environment={"TASK_JOURNAL": str(journal)})
    execution_ids: list[str] = []
    compensating = 0
    with service:
        for _ in range(rounds):
            execution_ids += start_undoing(service)
            time.sleep(chance.uniform(0.0, 0.2))
            service.kill()
            service.start()
            listed = service.client.get("/v1/executions?status=compensating&limit=1000").json()
            compensating += len(listed["executions"])
        bodies = [service.await_status(each, *ENDED) for each in execution_ids]
        assert service.violations() == []
        assert service.stop() == 0
    assert compensating >= rounds
    for body in bodies:
        assert body["status"] == ("cancelled" if body["flow_id"] == "cancelled" else "failed")
        assert "compensations_failed" not in (body["error"]["details"] or {})
    with closing(SqliteReader(service.database)) as reader:
        for body in bodies:
            children = reader.children(body["execution_id"])
            assert_undone(reader.history(body["execution_id"]), children)
            for child in children:
                has_failed = body["flow_id"] == "parent-of-failing" and child.index == 2
                assert child.status == ("failed" if has_failed else "cancelled")
                assert_undone(reader.history(child.execution_id))
    bodies_of_undos = {start[:3] for start in starts(journal) if start[1].startswith("undo")}
    assert len(bodies_of_undos) > 5 * len(execution_ids)
    assert_all_ended(service.database, execution_ids)


@pytest.mark.timeout(180)
def test_what_was_done_is_undone_in_reverse_through_kills(tmp_path: Path) -> None:
    undo_through_kills(tmp_path, rounds=10, seed=1)


@pytest.mark.torture
def test_what_was_done_is_undone_in_reverse_through_100_kills(tmp_path: Path) -> None:
    undo_through_kills(tmp_path, rounds=100, seed=2)
