"""What an operator can have an execution do, on a real engine and a real file."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from flow_manager import bootstrap
from flow_manager.core.events import (
    INTERVENTIONS,
    ExecutionPaused,
    ExecutionRerun,
    ExecutionResumed,
    ExecutionRetried,
    ResultGiven,
)
from flow_manager.core.intervening import Given, Rerun
from flow_manager.core.parser import FlowParser
from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.core.view import View
from flow_manager.engine.native import NativeBackend
from flow_manager.errors import ExecutionUnknown, InvalidRequest, StateForbids
from flow_manager.settings import Settings
from tests.support.documents import document, task

NOBODY = "0198c0de-0000-7000-8000-000000000001"
ASKS = document(task("signal", {"name": "go"}), task("nothing"))
WAITS = document(task("wait", {"for": "1h"}), task("nothing"))
FLOPS = document(
    task("transform", {"n": "${input.n}"}),
    task("flop"),
    output={"n": "${input.n}", "seen": "${results.task1.data.n}"},
)
SLOW = document(task("sleep", {"seconds": 0.3}), task("nothing"))


def start(backend: NativeBackend, flow: dict[str, Any], input: dict[str, Any] | None = None) -> str:
    view = backend.execute(FlowParser().parse(flow), input or {}, wait=timedelta(0))
    return view.execution_id


def until(backend: NativeBackend, execution_id: str, holds: Callable[[View], bool]) -> View:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        view = backend.describe(execution_id)
        if holds(view):
            return view
        time.sleep(0.005)
    raise AssertionError(f"it stands at {view.status}, {view.phase}, {view.wake}")


def ended(view: View) -> bool:
    return view.is_ended


def for_signal(view: View) -> bool:
    return view.wake is not None and view.wake.reason is WakeReason.SIGNAL


def paused(view: View) -> bool:
    return view.status is ExecutionStatus.PAUSED


def tasks(view: View) -> list[str]:
    return [f"{entry.task}:{entry.status}" for entry in view.attempts]


def test_a_paused_execution_does_nothing_until_it_is_resumed(backend: NativeBackend) -> None:
    one = start(backend, ASKS)
    until(backend, one, for_signal)

    backend.control.pause(one, reason="look first", by="ann")
    view = until(backend, one, paused)
    backend.signal(one, "go")
    time.sleep(0.05)
    held = backend.describe(one)
    backend.control.resume(one, by="bob")
    after = until(backend, one, ended)

    assert view.wake is not None
    assert (view.wake.reason, view.wake.detail) == (WakeReason.PAUSE, "look first")
    assert held.status is ExecutionStatus.PAUSED
    assert tasks(after) == ["task1:success", "task2:success"]
    history = backend.history(one)
    assert [(event.by, event.reason) for event in history if isinstance(event, ExecutionPaused)] == [
        ("ann", "look first")
    ]
    assert [event.by for event in history if isinstance(event, ExecutionResumed)] == ["bob"]


def test_what_runs_when_it_is_paused_may_end_and_nothing_follows(backend: NativeBackend) -> None:
    one = start(backend, SLOW)

    backend.control.pause(one)
    view = until(backend, one, paused)
    backend.control.pause(one)
    backend.control.resume(one)

    assert tasks(view) == ["task1:success"]
    assert tasks(until(backend, one, ended)) == ["task1:success", "task2:success"]


def test_a_paused_execution_can_be_cancelled(backend: NativeBackend) -> None:
    one = start(backend, WAITS)
    backend.control.pause(one)
    until(backend, one, paused)

    backend.cancel(one)

    assert until(backend, one, ended).status is ExecutionStatus.CANCELLED


def test_a_failed_execution_is_retried_as_often_as_somebody_asks(backend: NativeBackend) -> None:
    one = start(backend, FLOPS, {"n": 1})
    for number in range(1, 4):
        view = until(backend, one, ended)
        assert tasks(view) == ["task1:success", *["task2:failure"] * number]
        assert view.status is ExecutionStatus.FAILED
        backend.control.retry(one, by=f"ann{number}")
        until(backend, one, lambda view, number=number: len(view.attempts) > number + 1)  # type: ignore[misc]

    until(backend, one, ended)
    retried = [event.by for event in backend.history(one) if isinstance(event, ExecutionRetried)]
    assert retried == ["ann1", "ann2", "ann3"]
    (listed,) = backend.executions(status=ExecutionStatus.FAILED)
    assert listed.execution_id == one


def test_a_wait_for_the_next_attempt_is_cut_short_by_a_retry(backend: NativeBackend) -> None:
    patient = {"max_attempts": 3, "delay": "1h", "jitter": "none"}
    one = start(backend, document(task("flop", retry=patient)))
    until(backend, one, lambda view: view.retry_due_at is not None and view.wake is not None)

    backend.control.retry(one)
    view = until(backend, one, lambda view: len(view.attempts) == 2 and view.retry_due_at is not None)

    assert tasks(view) == ["task1:failure"] * 2
    backend.cancel(one)


def test_a_rerun_goes_back_to_a_task_with_another_input(backend: NativeBackend) -> None:
    one = start(backend, FLOPS, {"n": 1})
    until(backend, one, ended)

    backend.control.rerun(one, Rerun("task1", {"n": 2}), reason="wrong number", by="ann")
    view = until(backend, one, lambda view: view.is_ended and len(view.attempts) == 4)

    assert tasks(view) == ["task1:success", "task2:failure"] * 2
    assert view.results["task1"].data == {"n": 2}
    assert [event.task for event in backend.history(one) if isinstance(event, ExecutionRerun)] == ["task1"]


def test_a_rerun_may_bring_the_result_along(backend: NativeBackend) -> None:
    one = start(backend, FLOPS, {"n": 1})
    until(backend, one, ended)

    backend.control.rerun(one, Rerun("task2", None, Given("success", "by hand", {"ok": True})), by="ann")
    view = until(backend, one, lambda view: view.status is ExecutionStatus.COMPLETED)

    assert tasks(view) == ["task1:success", "task2:failure", "task2:success"]
    assert view.output == {"n": 1, "seen": 1}
    assert view.attempts[-1].to_json()["given_by"] == "ann"


def test_the_result_of_a_task_that_waits_can_be_given(backend: NativeBackend) -> None:
    one = start(backend, WAITS)
    until(backend, one, lambda view: view.wait is not None and view.wake is not None)

    backend.control.give(one, Given("success", "", {"early": True}), reason="no need", by="ann")
    view = until(backend, one, ended)

    assert (view.status, tasks(view)) == (
        ExecutionStatus.COMPLETED,
        ["task1:cancelled", "task1:success", "task2:success"],
    )
    (given,) = [event for event in backend.history(one) if isinstance(event, ResultGiven)]
    assert (given.by, given.reason, given.data) == ("ann", "no need", {"early": True})


def test_a_given_failure_routes_as_a_failure_and_is_not_retried(backend: NativeBackend) -> None:
    one = start(backend, document(task("wait", {"for": "1h"}, retry={"max_attempts": 5})))
    until(backend, one, lambda view: view.wait is not None and view.wake is not None)

    backend.control.give(one, Given("failure", "not needed"))
    view = until(backend, one, ended)

    assert view.error is not None
    assert (view.status, view.error.code) == (ExecutionStatus.FAILED, "task.given")


def test_a_fork_goes_on_with_the_results_so_far_in_an_execution_of_its_own(backend: NativeBackend) -> None:
    one = start(backend, FLOPS, {"n": 1})
    until(backend, one, ended)

    fork = backend.control.fork(one, "task2", {"n": 5}, by="ann")
    fresh = backend.control.fork(one)
    view = until(backend, fork, ended)

    assert tasks(view) == ["task1:success", "task2:failure"]
    assert (view.input, view.forked_from) == ({"n": 5}, one)
    assert view.results["task1"].data == {"n": 1}
    assert tasks(until(backend, fresh, ended)) == ["task1:success", "task2:failure"]
    assert len(backend.describe(one).attempts) == 2


def test_after_the_end_of_its_time_an_execution_that_goes_on_has_all_of_it_again(
    backend: NativeBackend,
) -> None:
    one = start(backend, document(task("signal", {"name": "go"}), timeout=0.2))
    view = until(backend, one, ended)
    assert view.error is not None
    assert view.error.code == "flow.timeout"

    backend.control.retry(one)
    until(backend, one, for_signal)
    backend.signal(one, "go")

    assert until(backend, one, lambda view: len(view.attempts) == 2 and view.is_ended).status in (
        ExecutionStatus.COMPLETED,
        ExecutionStatus.FAILED,
    )


def test_what_an_execution_cannot_do_as_it_stands_is_refused_and_changes_nothing(
    backend: NativeBackend,
) -> None:
    done, asks = start(backend, document(task("nothing"))), start(backend, ASKS)
    until(backend, done, ended)
    until(backend, asks, for_signal)
    before = (len(backend.history(done)), len(backend.history(asks)))
    control = backend.control

    forbidden: list[Callable[[], object]] = [
        lambda: control.pause(done),
        lambda: control.resume(done),
        lambda: control.resume(asks),
        lambda: control.retry(done),
        lambda: control.retry(asks),
        lambda: control.give(done, Given()),
    ]
    invalid: list[Callable[[], object]] = [
        lambda: control.rerun(done, Rerun("taks1")),
        lambda: control.fork(done, "nowhere"),
        lambda: control.give(asks, Given(data={"n": float("nan")})),
    ]

    for refused in forbidden:
        with pytest.raises(StateForbids):
            refused()
    for wrong in invalid:
        with pytest.raises(InvalidRequest):
            wrong()
    with pytest.raises(ExecutionUnknown):
        control.pause(NOBODY)

    assert (len(backend.history(done)), len(backend.history(asks))) == before
    backend.cancel(asks)


def test_what_was_undone_is_not_retried(backend: NativeBackend) -> None:
    undoes = document(
        task("nothing", compensate_with="undo"),
        task("flop"),
        {"name": "undo", "type": "nothing"},
        flow_id="undoes",
    )
    undoes["flow"]["conditions"] = [
        {"name": "c", "source_task": "task1", "target_task_success": "task2", "target_task_failure": "end"}
    ]
    one = start(backend, undoes)
    view = until(backend, one, ended)
    assert view.compensated

    with pytest.raises(StateForbids, match="undone"):
        backend.control.retry(one)
    with pytest.raises(StateForbids, match="undone"):
        backend.control.rerun(one, Rerun("task2"))
    backend.control.rerun(one, Rerun("task1"))

    view = until(backend, one, lambda view: view.is_ended and len(view.compensated) == 2)
    assert view.status is ExecutionStatus.FAILED


def test_an_execution_goes_on_as_it_was_told_to_after_the_service_was_stopped(settings: Settings) -> None:
    first = bootstrap.open_backend(settings)
    one = start(first, ASKS)
    until(first, one, for_signal)
    first.control.pause(one, reason="night")
    until(first, one, paused)
    first.close(timedelta(0))

    again = bootstrap.open_backend(settings)
    assert again.describe(one).status is ExecutionStatus.PAUSED
    again.signal(one, "go")
    again.control.resume(one)

    assert until(again, one, ended).status is ExecutionStatus.COMPLETED
    again.close(timedelta(0))


@pytest.mark.parametrize("rounds", [10, pytest.param(500, marks=pytest.mark.torture)])
def test_of_many_who_ask_at_once_those_are_told_yes_whose_word_is_in_the_history(
    backend: NativeBackend, rounds: int
) -> None:
    """F32: whatever four operators ask of one execution at the same moment, each yes is an event, and each
    no changed nothing."""
    for number in range(rounds):
        one = start(backend, FLOPS if number % 2 else ASKS, {"n": number})
        until(backend, one, lambda view: view.is_ended or for_signal(view))
        yes: list[str] = []
        calls: list[Callable[[], object]] = [
            lambda one=one: backend.control.retry(one, by="retry"),  # type: ignore[misc]
            lambda one=one: backend.control.rerun(one, Rerun("task2"), by="rerun"),  # type: ignore[misc]
            lambda one=one: backend.control.give(one, Given(), by="give"),  # type: ignore[misc]
            lambda one=one: backend.control.rerun(one, Rerun("task1"), by="again"),  # type: ignore[misc]
        ]
        ready = threading.Barrier(len(calls))

        def ask(call: Callable[[], object], name: str, ready: threading.Barrier, yes: list[str]) -> None:
            ready.wait()
            with contextlib.suppress(StateForbids):
                call()
                yes.append(name)

        names = ("retry", "rerun", "give", "again")
        threads = [
            threading.Thread(target=ask, args=(call, name, ready, yes))
            for call, name in zip(calls, names, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        until(backend, one, lambda view: view.is_ended or for_signal(view))
        told = [event.by for event in backend.history(one) if isinstance(event, INTERVENTIONS)]
        assert sorted(told) == sorted(yes)
        if not backend.describe(one).is_ended:
            backend.cancel(one)


ONE_AT_ONCE: dict[str, Any] = {"concurrency": {"limit": 1}}


def for_slot(view: View) -> bool:
    return view.wake is not None and view.wake.reason is WakeReason.SLOT


HOLDING = document(task("signal", {"name": "go"}), **ONE_AT_ONCE)
"""Keeps the only slot until it is told to go on."""


def hold(backend: NativeBackend) -> str:
    """Start an execution that has the only slot now; its id."""
    holder = start(backend, HOLDING)
    until(backend, holder, for_signal)
    return holder


def rerun_in_line(backend: NativeBackend) -> tuple[str, str]:
    """An execution that has done something that can be undone, and is to do it again; and the holder of the
    slot for which it waits."""
    flow = document(
        task("nothing", compensate_with="undo"), {"name": "undo", **task("nothing")}, **ONE_AT_ONCE
    )
    flow["flow"]["conditions"] = []
    one = start(backend, flow)
    until(backend, one, ended)
    holder = hold(backend)
    backend.control.rerun(one, Rerun("task1"))
    until(backend, one, for_slot)
    return one, holder


def test_a_retry_that_waits_for_a_slot_is_cancelled_at_once(backend: NativeBackend) -> None:
    flow = document(task("flop"), task("nothing"), **ONE_AT_ONCE)
    one = start(backend, flow)
    until(backend, one, ended)
    hold(backend)
    backend.control.retry(one)
    until(backend, one, for_slot)

    backend.cancel(one)

    assert until(backend, one, ended).status is ExecutionStatus.CANCELLED
    assert tasks(backend.describe(one)) == ["task1:failure"]
    assert backend.store.violations() == []


def test_what_a_rerun_had_done_before_is_not_undone_without_a_slot(backend: NativeBackend) -> None:
    one, holder = rerun_in_line(backend)

    backend.cancel(one)
    waiting = backend.describe(one)
    backend.cancel(holder)
    over = until(backend, holder, ended)
    undone = until(backend, one, ended)

    assert for_slot(waiting)
    assert undone.status is ExecutionStatus.CANCELLED
    assert tasks(undone) == ["task1:success", "undo:success"]
    assert over.ended_at is not None
    assert undone.last_attempt.started_at >= over.ended_at
    assert backend.store.violations() == []


@pytest.mark.parametrize("opens_again", [False, True])
def test_one_that_is_paused_while_it_waits_for_a_slot_is_held_and_keeps_nobody_waiting(
    backend: NativeBackend, opens_again: bool
) -> None:
    one = start(backend, HOLDING)
    if opens_again:
        backend.cancel(one)
        until(backend, one, ended)
    holder, last = start(backend, HOLDING), start(backend, HOLDING)
    if opens_again:
        backend.control.retry(one)
    else:
        holder, one = one, holder
    until(backend, one, for_slot)
    until(backend, last, for_slot)

    backend.control.pause(one, reason="not now")
    held = until(backend, one, paused)
    backend.signal(holder, "go")
    until(backend, last, for_signal)
    still = backend.describe(one)
    backend.control.resume(one)
    until(backend, one, for_slot)
    backend.signal(last, "go")
    until(backend, one, for_signal)
    backend.control.pause(one)
    until(backend, one, paused)
    behind = start(backend, HOLDING)

    assert still.wake == held.wake
    assert for_slot(until(backend, behind, for_slot)), "one that has its slot keeps it while it is paused"
    backend.control.resume(one)
    backend.signal(one, "go")
    assert until(backend, one, ended).status is ExecutionStatus.COMPLETED
    until(backend, behind, for_signal)
    backend.cancel(behind)
    assert backend.store.violations() == []


def test_one_that_was_paused_before_it_had_a_slot_waits_for_it_to_be_undone(backend: NativeBackend) -> None:
    one, holder = rerun_in_line(backend)
    backend.control.pause(one)
    until(backend, one, paused)

    backend.cancel(one)
    waiting = backend.describe(one)
    backend.cancel(holder)

    assert for_slot(waiting)
    assert tasks(until(backend, one, ended)) == ["task1:success", "undo:success"]
    assert backend.store.violations() == []


def test_a_pause_after_a_resumption_that_waits_for_its_slot_is_not_lost(backend: NativeBackend) -> None:
    holder, one = hold(backend), start(backend, HOLDING)
    until(backend, one, for_slot)
    backend.control.pause(one)
    until(backend, one, paused)
    backend.control.resume(one)
    until(backend, one, for_slot)

    backend.control.pause(one, reason="not yet after all")
    backend.cancel(holder)
    until(backend, holder, ended)

    assert until(backend, one, paused).attempts == []


def test_one_that_is_paused_while_it_is_undone_and_then_cancelled_can_be_resumed(
    backend: NativeBackend,
) -> None:
    """The cancellation asks nothing of one that is to end anyway, so nobody takes it up."""
    tasks = (task("nothing", compensate_with="undo"), {"name": "undo", **task("sleep", {"seconds": 0.3})})
    flow = document(*tasks, task("flop"))
    flow["flow"]["conditions"] = [
        {"name": "on", "source_task": "task1", "outcome": "success", "target_task_success": "task3"}
    ]
    one = start(backend, flow)
    until(backend, one, lambda view: view.ending is not None)
    backend.control.pause(one)
    until(backend, one, paused)
    backend.cancel(one)

    deadline = time.monotonic() + 10
    while not backend.describe(one).is_ended:
        assert time.monotonic() < deadline
        with contextlib.suppress(StateForbids):
            backend.control.resume(one)
        time.sleep(0.02)
