from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from flow_manager.core.attempts import format_time
from flow_manager.core.children import ParentLink
from flow_manager.core.events import (
    AttemptCancelled,
    AttemptEnded,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionEnding,
    ExecutionPaused,
    ExecutionQuarantined,
    ExecutionRerun,
    ExecutionResumed,
    ExecutionRetried,
    ExecutionStarted,
    ResultGiven,
    RetryScheduled,
    Routed,
    SignalReceived,
    TaskSkipped,
    Wait,
)
from flow_manager.core.results import TaskError
from flow_manager.core.states import ENDED, STATUS_OF, ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import Phase, View

START = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)
ERROR = TaskError("http.503", "busy", details={"status": 503})


def second(number: float) -> datetime:
    return START + timedelta(seconds=number)


STARTED = ExecutionStarted(START, "flow123", {"n": 1}, {"team": "a"})
FAILED_TWICE: list[Event] = [
    STARTED,
    AttemptStarted(second(1), "fetch", 1, 1),
    AttemptEnded(second(2), "fetch", 1, 1, "failure", "busy", None, ERROR),
    RetryScheduled(second(2), "fetch", second(4), 1, 2),
    AttemptStarted(second(4), "fetch", 1, 2),
    AttemptEnded(second(5), "fetch", 1, 2, "timeout", "late", None, ERROR),
]
ENDS_WELL: list[Event] = [
    STARTED,
    AttemptStarted(second(1), "fetch", 1, 1),
    AttemptEnded(second(2.5), "fetch", 1, 1, "success", "Data fetched", {"rows": 3}),
    Routed(second(2.5), "fetch", "end", None, matched=False),
    ExecutionEnded(second(3)),
]
CANCELLED = TaskError("execution.cancelled", "no more", retryable=False)
UNDONE: list[Event] = [
    *ENDS_WELL[:3],
    ExecutionEnding(second(3), ExecutionStatus.CANCELLED, CANCELLED, 1, "ann"),
    AttemptStarted(second(4), "give_back", 2, 1, compensates=1, compensates_attempt=1),
    AttemptEnded(second(5), "give_back", 2, 1, "success", "given back", {"rows": 0}),
]


@pytest.mark.parametrize(
    ("event", "phase"),
    [
        (TaskSkipped(START, "fetch"), Phase.ATTEMPT_ENDED),
        (AttemptStarted(START, "fetch"), Phase.ATTEMPT_OPEN),
        (AttemptStarted(START, "fetch", wait=Wait("time", START)), Phase.WAITING),
        (SignalReceived(START, "paid", 1), Phase.ATTEMPT_OPEN),
        (AttemptEnded(START, "fetch"), Phase.ATTEMPT_ENDED),
        (AttemptLost(START, "fetch"), Phase.ATTEMPT_LOST),
        (AttemptCancelled(START, "fetch"), Phase.CANCELLED),
        (AttemptReleased(START, "fetch"), Phase.READY),
        (RetryScheduled(START, "fetch", START), Phase.RETRY_WAIT),
        (Routed(START, "fetch", "end"), Phase.ROUTED),
        (ExecutionQuarantined(START, "fetch"), Phase.QUARANTINED),
        (ExecutionEnding(START), Phase.ATTEMPT_OPEN),
        (ExecutionEnded(START), Phase.ENDED),
    ],
)
def test_every_event_after_the_start_leads_to_one_phase(event: Event, phase: Phase) -> None:
    assert View.fold("e1", [*FAILED_TWICE[:2], event]).phase is phase


def test_there_is_a_fold_for_every_event() -> None:
    events = [*ENDS_WELL, *FAILED_TWICE, AttemptLost(START, "a"), AttemptReleased(START, "a")]
    events += [ExecutionQuarantined(START, "a"), TaskSkipped(START, "a"), SignalReceived(START, "paid", 1)]
    events += [
        ExecutionEnding(START),
        AttemptCancelled(START, "a"),
        ExecutionPaused(START),
        ExecutionResumed(START),
    ]
    events += [ExecutionRetried(START), ExecutionRerun(START, task="a"), ResultGiven(START, task="a")]

    assert {type(event) for event in events} == set(get_args(Event))
    assert View.fold("e1", events).last_seq == len(events)


def test_a_view_before_any_event_is_new() -> None:
    view = View("e1")

    assert (view.phase, view.status, view.last_seq) == (Phase.NEW, ExecutionStatus.RUNNING, 0)
    assert view.to_json()["start_time"] is None


def test_the_start_tells_what_the_execution_is_of() -> None:
    view = View.fold("e1", [STARTED])

    assert (view.flow_id, view.input, view.labels) == ("flow123", {"n": 1}, {"team": "a"})
    assert (view.phase, view.started_at, view.last_seq) == (Phase.NEW, START, 1)


def test_failures_of_a_task_run_are_counted_until_the_next_one() -> None:
    view = View.fold("e1", FAILED_TWICE)

    assert (view.failures, view.losses, view.outcome) == (2, 0, "timeout")
    assert (view.run, view.attempt, view.run_started_at) == (1, 2, second(1))
    view.apply(Routed(second(5), "fetch", "store", "x", matched=False, outcome="timeout"))
    assert (view.task, view.run, view.attempt, view.routed_by_failure) == ("store", 1, 0, True)
    view.apply(AttemptStarted(second(6), "store", 2, 1))
    assert (view.task, view.failures, view.run_started_at) == ("store", 0, second(6))


def test_a_success_is_no_failure() -> None:
    view = View.fold("e1", ENDS_WELL[:3])

    assert (view.failures, view.losses, view.outcome) == (0, 0, "success")


def test_a_loss_is_no_failure_and_no_result() -> None:
    view = View.fold("e1", [*FAILED_TWICE[:5], AttemptLost(second(5), "fetch", 1, 2, "killed")])

    assert (view.failures, view.losses) == (1, 1)
    assert view.results["fetch"].attempt == 1
    assert view.last_attempt.status == "lost"
    assert view.last_attempt.error == TaskError("task.lost", "killed")


def test_a_released_attempt_does_not_spend_a_number() -> None:
    view = View.fold("e1", [*FAILED_TWICE[:5], AttemptReleased(second(5), "fetch", 1, 2)])

    assert (view.attempt, view.failures, view.losses) == (1, 1, 0)
    assert view.results["fetch"].attempt == 1
    assert (view.last_attempt.status, view.last_attempt.ended_at) == ("released", second(5))


def test_a_retry_wait_ends_with_the_next_attempt() -> None:
    assert View.fold("e1", FAILED_TWICE[:4]).retry_due_at == second(4)
    assert View.fold("e1", FAILED_TWICE[:5]).retry_due_at is None


def test_the_result_of_a_task_is_that_of_its_last_run() -> None:
    again = (AttemptStarted(second(6), "fetch", 2, 1), AttemptEnded(second(7), "fetch", 2, 1, data={"n": 2}))

    view = View.fold("e1", [*FAILED_TWICE, *again])

    assert view.results["fetch"].data == {"n": 2}
    assert [attempt.run for attempt in view.attempts] == [1, 1, 2]


def test_a_skipped_run_is_a_result_without_an_attempt() -> None:
    view = View.fold("e1", [*FAILED_TWICE, TaskSkipped(second(6), "notify", 2)])

    assert (view.run, view.attempt, view.task, view.outcome) == (2, 0, "notify", "success")
    assert view.results["notify"].as_result() == {
        "status": "skipped", "data": None, "message": "", "error": None, "attempts": 0,
    }  # fmt: skip


def test_an_attempt_without_a_body_tells_what_it_waits_for_until_the_next_one() -> None:
    wait = Wait("signal", second(9), "paid")
    received = SignalReceived(second(2), "paid", 1, {"sum": 7}, "shop")

    view = View.fold("e1", [STARTED, AttemptStarted(second(1), "pay", wait=wait)])
    assert (view.wait, view.signal, view.last_attempt.status) == (wait, None, "waiting")
    view.apply(received)
    assert (view.phase, view.signal) == (Phase.WAITING, received)
    view.apply(AttemptEnded(second(2), "pay", data={"sum": 7}))
    view.apply(AttemptStarted(second(3), "fetch", 2))
    assert (view.wait, view.signal, view.last_attempt.status) == (None, None, "running")


def test_a_cancelled_attempt_has_no_result() -> None:
    view = View.fold(
        "e1", [*FAILED_TWICE[:5], ExecutionEnding(second(5)), AttemptCancelled(second(5), "fetch", 1, 2)]
    )

    assert (view.last_attempt.status, view.last_attempt.ended_at) == ("cancelled", second(5))
    assert view.results["fetch"].attempt == 1
    assert (view.failures, view.losses, view.deaths) == (1, 0, 0)


def test_a_compensation_is_a_task_run_whose_result_nobody_sees() -> None:
    view = View.fold("e1", UNDONE)

    assert (view.run, view.compensates, view.compensated) == (2, 1, {(1, 1)})
    assert [entry.compensates for entry in view.attempts] == [0, 1]
    assert view.results.keys() == {"fetch"}
    assert [entry.to_json().get("compensates") for entry in view.attempts] == [None, 1]


def test_an_execution_that_is_undoing_says_so() -> None:
    view = View.fold("e1", UNDONE)

    assert (view.status, view.is_ended) == (ExecutionStatus.COMPENSATING, False)
    for reason, status in STATUS_OF.items():
        is_moving = status in (ExecutionStatus.RUNNING, ExecutionStatus.WAITING)
        told = View.fold("e1", UNDONE).waiting_for(Wake(reason, START))
        assert told.status is (ExecutionStatus.COMPENSATING if is_moving else status)


def test_an_execution_that_is_opened_again_has_not_ended_until_it_ends_again() -> None:
    parent = ParentLink("e0", 2, 1, 0, 1)
    first_life = [ExecutionStarted(START, "flow123", {"n": 1}, {}, parent), *ENDS_WELL[1:]]
    undone = TaskError("execution.compensated", "undone", retryable=False)

    view = View.fold("e1", [*first_life, ExecutionEnding(second(4), ExecutionStatus.CANCELLED, undone, 1)])

    assert (view.phase, view.status, view.ended_at) == (Phase.READY, ExecutionStatus.COMPENSATING, None)
    view.apply(ExecutionEnded(second(5), ExecutionStatus.CANCELLED, undone))
    assert (view.phase, view.status, view.error) == (Phase.ENDED, ExecutionStatus.CANCELLED, undone)
    assert (view.parent, view.ended_at) == (parent, second(5))


def test_an_ended_execution_that_waits_for_something_has_been_opened_again() -> None:
    view = View.fold("e1", ENDS_WELL).waiting_for(Wake(WakeReason.DUE, second(9)))

    assert (view.is_ended, view.status, view.ended_at) == (False, ExecutionStatus.WAITING, None)


def test_an_execution_that_was_opened_again_tells_nothing_of_its_last_end() -> None:
    ended = ExecutionEnded(second(5), ExecutionStatus.CANCELLED, TaskError("execution.cancelled", "no"), 7)

    view = View.fold("e1", [*UNDONE, ended]).waiting_for(Wake(WakeReason.SLOT, second(9)))

    assert (view.status, view.error, view.output) == (ExecutionStatus.WAITING, None, None)


def test_the_body_of_a_child_tells_its_parent_and_its_output() -> None:
    began = ExecutionStarted(START, "flow123", {}, {}, ParentLink("e0", 2, 1, 7, 1))

    body = View.fold("e1", [began, ExecutionEnded(second(1), output={"sum": 7})]).to_json()

    assert (body["parent"], body["output"]) == ({"execution_id": "e0", "run": 2}, {"sum": 7})
    assert not {"parent", "output"} & View.fold("e1", ENDS_WELL).to_json().keys()


def test_the_body_of_an_ended_execution() -> None:
    assert View.fold("e1", ENDS_WELL).to_json() == {
        "execution_id": "e1",
        "flow_id": "flow123",
        "status": "completed",
        "execution_history": [
            {
                "task_name": "fetch",
                "status": "success",
                "message": "Data fetched",
                "data": {"rows": 3},
                "run": 1,
                "attempt": 1,
                "start_time": "2026-01-14T10:30:01.000000Z",
                "end_time": "2026-01-14T10:30:02.500000Z",
                "duration_ms": 1500.0,
                "error": None,
            }
        ],
        "start_time": "2026-01-14T10:30:00.000000Z",
        "end_time": "2026-01-14T10:30:03.000000Z",
        "labels": {"team": "a"},
    }


def test_the_body_of_a_failed_execution_carries_its_error() -> None:
    ended = ExecutionEnded(second(6), ExecutionStatus.FAILED, ERROR)

    body = View.fold("e1", [*FAILED_TWICE, ended]).to_json()

    assert body["status"] == "failed"
    error = {"code": "http.503", "message": "busy", "retryable": True, "details": {"status": 503}}
    assert body["error"] == error
    assert [entry["error"] for entry in body["execution_history"]] == [error, error]


def test_an_open_attempt_has_no_end_yet() -> None:
    body = View.fold("e1", FAILED_TWICE[:2]).to_json()

    (entry,) = body["execution_history"]
    assert (entry["status"], entry["end_time"], entry["duration_ms"]) == ("running", None, None)
    assert (body["status"], body["end_time"]) == ("running", None)
    assert "error" not in body
    assert "waiting" not in body


@pytest.mark.parametrize("reason", WakeReason)
def test_a_waiting_execution_tells_for_what(reason: WakeReason) -> None:
    view = View.fold("e1", FAILED_TWICE[:4]).waiting_for(Wake(reason, second(4), "why"))

    body = view.to_json()

    assert body["status"] == STATUS_OF[reason]
    assert STATUS_OF[reason] not in ENDED
    waiting = {"reason": reason.value, "due_at": "2026-01-14T10:30:04.000000Z", "detail": "why"}
    assert body.get("waiting") == (None if reason is WakeReason.CLAIM else waiting)


@pytest.mark.parametrize("events", [FAILED_TWICE, UNDONE])
def test_folding_at_once_and_one_by_one_are_the_same(events: list[Event]) -> None:
    view = View("e1")
    for number, event in enumerate(events, 1):
        view.apply(event)
        assert view == View.fold("e1", events[:number])


def test_times_are_written_in_utc_to_the_microsecond() -> None:
    assert format_time(START + timedelta(microseconds=7)) == "2026-01-14T10:30:00.000007Z"
