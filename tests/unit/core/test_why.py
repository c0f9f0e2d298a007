"""Why an execution is not moving, in a sentence."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flow_manager.core.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionPaused,
    ExecutionStarted,
    RetryScheduled,
    Wait,
)
from flow_manager.core.results import TaskError
from flow_manager.core.states import FAR_AWAY, ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.core.why import explain
from tests.support.told import START, second

BEGAN = ExecutionStarted(START, "shop")
STARTED = AttemptStarted(second(1), "pay")
LATER = second(3600)
BUSY = TaskError("http.503", "busy")


def waits(kind: str, until: bool = False, **fields: object) -> AttemptStarted:
    return AttemptStarted(second(1), "pay", wait=Wait(kind, LATER if until else None, **fields))  # type: ignore[arg-type]


FAILED: list[Event] = [STARTED, AttemptEnded(second(2), "pay", outcome="failure", error=BUSY)]
CASES: dict[str, tuple[list[Event], Wake, str, str | None]] = {
    "a body": ([STARTED], Wake(WakeReason.CLAIM, START), "Task 'pay' is running.", "cancel"),
    "another attempt": (
        [*FAILED, RetryScheduled(second(2), "pay", LATER)],
        Wake(WakeReason.DUE, LATER),
        "Task 'pay' has failed (http.503) and is tried again at 2026-01-14T11:30:00.000000Z.",
        "retry",
    ),
    "a time": (
        [waits("time", True)],
        Wake(WakeReason.DUE, LATER),
        "Task 'pay' waits until 2026-01-14T11:30:00.000000Z.",
        "skip",
    ),
    "a place": (
        [],
        Wake(WakeReason.DUE, START),
        "It is due since 2026-01-14T10:30:00.000000Z and has no place yet, or no service is running.",
        None,
    ),
    "a signal": (
        [waits("signal", signal="paid")],
        Wake(WakeReason.SIGNAL, FAR_AWAY, "paid"),
        "Task 'pay' waits for the signal 'paid'.",
        "signal",
    ),
    "an answer": (
        [waits("approval", True, signal="approval/1/1", question="Ship it?", answer_by=("ann", "bob"))],
        Wake(WakeReason.SIGNAL, LATER, "approval/1/1"),
        "Task 'pay' asks ann, bob: 'Ship it?', until 2026-01-14T11:30:00.000000Z.",
        "skip",
    ),
    "children": (
        [waits("children", count=3)],
        Wake(WakeReason.CHILDREN, FAR_AWAY, "pay"),
        "Task 'pay' waits for other executions that it has started.",
        "cancel",
    ),
    "code": (
        [],
        Wake(WakeReason.CODE, START, "pay"),
        "The service that looked at it has no code for the task type 'pay'.",
        None,
    ),
    "a slot": (
        [],
        Wake(WakeReason.SLOT, FAR_AWAY, "shop"),
        "As many executions as may go on at once under 'shop' are open.",
        None,
    ),
    "a pause": (
        [ExecutionPaused(second(1), "ann", "look first")],
        Wake(WakeReason.PAUSE, START, "look first"),
        "ann has paused it: look first.",
        "resume",
    ),
    "a quarantine": (
        [STARTED],
        Wake(WakeReason.QUARANTINE, START, "task 'pay' lost its worker 3 times"),
        "It is in quarantine: task 'pay' lost its worker 3 times.",
        "retry",
    ),
    "a repair": (
        [STARTED],
        Wake(WakeReason.REPAIR, START, "its stored history cannot be read"),
        "It cannot go on: its stored history cannot be read.",
        "doctor",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_whatever_it_waits_for_is_told_in_a_sentence(name: str) -> None:
    events, wake, sentence, command = CASES[name]
    view = View.fold("e1", [BEGAN, *events]).waiting_for(wake)

    why = explain(view, view.told_at, second(10))

    assert (why.sentence, why.reason) == (sentence, wake.reason)
    assert why.moved_by
    assert (why.command or "").split(" ")[1:2] == ([command] if command else [])
    assert why.since == view.told_at
    assert why.until == (wake.due_at if "2026-01-14T11" in sentence or name == "a place" else None)


def test_every_wake_reason_has_a_sentence() -> None:
    assert {wake.reason for _, wake, _, _ in CASES.values()} == set(WakeReason)


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (None, ExecutionStatus.COMPLETED, "It has ended as completed."),
        (BUSY, ExecutionStatus.FAILED, "It has ended as failed: http.503, busy."),
    ],
)
def test_of_what_has_ended_it_is_told_how(
    error: TaskError | None, status: ExecutionStatus, sentence: str
) -> None:
    view = View.fold("e1", [BEGAN, ExecutionEnded(second(5), status, error)])

    why = explain(view, view.told_at, second(5) + timedelta(days=1))

    assert (why.sentence, why.reason, why.since, why.command) == (sentence, None, second(5), None)
