"""`flow_manager.testing`, as authors of tasks and flows use it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flow_manager import testing
from flow_manager.core.results import PermanentTaskError, RetryTask
from flow_manager.core.simulation.mocks import START
from flow_manager.errors import InvalidFlow, InvalidRequest, TaskRegistrationError
from flow_manager.tasks.context import TaskContext
from flow_manager.tasks.executor import TaskExecutor
from tests.support.documents import document, task


class Charge(TaskExecutor):
    """Fails twice, then says what it was told."""

    def execute(self, context: TaskContext) -> dict[str, Any]:
        if context.attempt < 3:
            raise RetryTask("the bank is busy", after=3600)
        return {"paid": context.input["sum"], "currency": context.task_input["currency"]}


class Ship(TaskExecutor):
    async def execute(self, context: TaskContext) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"paid": context.results["task1"].data, "loop": id(asyncio.get_running_loop())}


def nothing(context: TaskContext) -> None: ...


ORDER = document(
    task("charge", {"currency": "EUR"}, retry={"max_attempts": 3, "max_delay": "1d"}),
    task("wait", {"for": "3d"}),
    task("ship"),
    task("ship"),
    output={"paid": "${results.task3.data.paid.paid}"},
)


def test_real_bodies_run_and_waits_cost_nothing() -> None:
    run = testing.run(ORDER, {"sum": 7}, tasks={"charge": Charge, "ship": Ship})

    run.assert_route(["task1", "task2", "task3", "task4"])
    assert run.status == "completed"
    assert run.output == {"paid": 7}
    assert run.error is None
    assert run.results["task1"].data == {"paid": 7, "currency": "EUR"}
    assert [entry.status for entry in run.attempts[:3]] == ["failure", "failure", "success"]
    assert run.attempts[-1].ended_at == START + timedelta(days=3, hours=2)
    assert run.history[0].at == START


def test_async_bodies_of_a_run_share_a_loop() -> None:
    run = testing.run(ORDER, {"sum": 7}, tasks={"charge": Charge, "ship": Ship})

    assert run.results["task3"].data["loop"] == run.results["task4"].data["loop"]


def test_it_works_within_an_async_test() -> None:
    async def test() -> testing.Run:
        return testing.run(ORDER, {"sum": 7}, tasks={"charge": Charge, "ship": Ship})

    assert asyncio.run(test()).output == {"paid": 7}


def test_plain_bodies_run_in_the_thread_of_the_test() -> None:
    threads = []

    def body(context: TaskContext) -> None:
        threads.append(threading.current_thread())

    testing.run(document(task("x")), tasks={"x": body})

    assert threads == [threading.current_thread()]


def test_a_task_type_can_be_mocked() -> None:
    mocks: list[dict[str, Any]] = [{"error": {"code": "bank.busy"}}, {"data": {"paid": 1}}]

    run = testing.run(ORDER, tasks={"charge": mocks, "ship": nothing})

    assert [entry.status for entry in run.attempts[:2]] == ["failure", "success"]


def test_mocks_by_task_name_come_first() -> None:
    run = testing.run(
        ORDER,
        {"sum": 7},
        tasks={"charge": Charge, "ship": Ship},
        mocks={"task4": [{"data": {"sent": True}}]},
        faults=[{"after": "task4"}],
    )

    assert run.results["task4"].data == {"sent": True}
    assert [entry.status for entry in run.attempts[-2:]] == ["lost", "success"]


def test_an_approval_is_answered_by_a_mock_of_its_type() -> None:
    flow = document(task("approval", {"question": "Ship?"}), task("x"))

    run = testing.run(flow, tasks={"approval": [{"data": {"approved": False}, "by": "ada"}], "x": nothing})

    assert run.error is not None
    assert run.error.code == "approval.rejected"


def test_signals_are_sent_at_their_time() -> None:
    flow = document(task("signal", {"name": "paid"}))
    now = datetime(2026, 5, 1, tzinfo=UTC)

    run = testing.run(flow, signals=[{"name": "paid", "payload": 3, "after": "2h"}], now=now)

    assert run.results["task1"].data == {"payload": 3, "by": ""}
    assert run.attempts[0].ended_at == now + timedelta(hours=2)


def test_a_wait_that_nothing_ends_leaves_the_execution_waiting() -> None:
    assert testing.run(document(task("signal"))).status == "waiting"


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (ValueError("no"), "task.failed", True),
        (PermanentTaskError("no", "bank.refused"), "bank.refused", False),
    ],
)
def test_what_a_body_raises_is_the_failure_of_its_attempt(
    error: Exception, code: str, retryable: bool
) -> None:
    def body(context: TaskContext) -> None:
        raise error

    run = testing.run(document(task("x")), tasks={"x": body})

    assert run.status == "failed"
    assert run.error is not None
    assert (run.error.code, run.error.message, run.error.retryable) == (code, "no", retryable)


def test_what_is_no_exception_ends_the_test() -> None:
    def body(context: TaskContext) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        testing.run(document(task("x")), tasks={"x": body})


def test_what_a_body_returns_must_be_plain() -> None:
    def body(context: TaskContext) -> dict[str, Any]:
        return {"at": START}

    run = testing.run(document(task("x")), tasks={"x": body})

    assert run.error is not None
    assert run.error.code == "task.output_invalid"


def test_a_compensation_is_given_what_it_undoes() -> None:
    flow = document(
        task("book", name="book", compensate_with="undo"),
        task("pay", name="pay"),
        task("undo", {"id": "${results.book.data.id}"}, name="undo"),
        conditions=[{"name": "booked", "source_task": "book", "target_task_success": "pay"}],
    )
    undone = []

    def undo(context: TaskContext) -> None:
        undone.append((context.task_input, context.results["book"].data))

    run = testing.run(
        flow, tasks={"book": [{"data": {"id": 7}}], "pay": [{"outcome": "failure"}], "undo": undo}
    )

    run.assert_route(["book", "pay", "undo"])
    assert undone == [({"id": 7}, {"id": 7})]


def test_children_run_with_their_bodies() -> None:
    def double(context: TaskContext) -> dict[str, Any]:
        return {"n": 2 * context.input["item"]}

    child = {**document(task("double"), flow_id="child")["flow"], "output": "${results.task1.data.n}"}

    run = testing.run(document(task("for_each", {"flow": child, "items": [1, 2]})), tasks={"double": double})

    assert [each["output"] for each in run.results["task1"].data["results"]] == [2, 4]


def test_a_flow_can_be_a_file_with_its_input(tmp_path: Path) -> None:
    file = tmp_path / "order.json"
    file.write_text(json.dumps({**ORDER, "input": {"sum": 3}, "labels": {"team": "shop"}}), encoding="utf-8")

    given = testing.run(file, tasks={"charge": Charge, "ship": Ship})
    other = testing.run(str(file), {"sum": 4}, tasks={"charge": Charge, "ship": Ship})

    assert (given.output, other.output) == ({"paid": 3}, {"paid": 4})
    assert given.simulated.view.labels == {"team": "shop"}


def test_another_route_is_told_with_the_error() -> None:
    run = testing.run(ORDER, tasks={"charge": Charge, "ship": Ship})

    with pytest.raises(AssertionError) as caught:
        run.assert_route(["task1", "task2"])

    assert str(caught.value).splitlines() == [
        "expected the route ['task1', 'task2'],",
        "and it was ['task1'], failed,",
        "because of task.failed: 'sum'",
    ]


# -- what cannot be run


class Letter(BaseModel):
    to: str


class Send(TaskExecutor):
    input_model = Letter

    def execute(self, context: TaskContext) -> None: ...


def test_a_type_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidFlow, match="no task is registered as 'x'"):
        testing.run(document(task("x")))


def test_inputs_are_checked_against_the_models_of_the_tasks() -> None:
    with pytest.raises(InvalidFlow):
        testing.run(document(task("send", {"to": 7})), tasks={"send": Send})


@pytest.mark.parametrize(
    "arguments",
    [
        {"input": {"at": START}},
        {"mocks": {"task9": [{}]}},
        {"mock": {}},
        {"tasks": {"x": [{"dta": {}}]}},
        {"tasks": {"x": []}},
        {"tasks": {"x": {"data": {}}}},
    ],
)
def test_what_is_not_right_is_refused(arguments: Mapping[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        testing.run(document(task("x")), **{"tasks": {"x": nothing}, **arguments})


def test_what_is_no_task_is_refused() -> None:
    with pytest.raises(TaskRegistrationError):
        testing.run(document(task("x")), tasks={"x": int})
