from __future__ import annotations

from collections.abc import Container
from datetime import UTC, datetime, timedelta

import pytest

from flow_manager.core.decide import MOST_DEATHS, MOST_LOSSES, deadline_of, decide, next_action
from flow_manager.core.decision import (
    WORKER_DIED,
    Action,
    Circumstances,
    DecideAgain,
    Finish,
    Loss,
    Park,
    Plan,
    RunAttempt,
)
from flow_manager.core.definition import Condition, Flow, Outcome, RetryPolicy, Task
from flow_manager.core.events import (
    AttemptCancelled,
    AttemptEnded,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionEnding,
    ExecutionQuarantined,
    ExecutionStarted,
    RetryScheduled,
    Routed,
    Wait,
)
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import Phase, View
from tests.support.flows import flow_of

START = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)
NOW = START + timedelta(seconds=100)
ERROR = TaskError("task.failed", "no answer")
FINAL = TaskError("task.failed", "no use", retryable=False)
RETRY = RetryPolicy(max_attempts=2, delay=timedelta(seconds=8))


def second(number: float) -> datetime:
    return START + timedelta(seconds=number)


def view_of(*events: Event) -> View:
    return View.fold("e1", (ExecutionStarted(START, "test"), *events))


def given(
    now: datetime = NOW,
    types: Container[str] = ("a", "b", "c"),
    may_start: bool = True,
    loss: Loss = WORKER_DIED,
) -> Circumstances:
    return Circumstances(now, chance=0.25, task_types=types, may_start=may_start, loss=loss)


def decided(flow: Flow, view: View, circumstances: Circumstances | None = None) -> tuple[list[Event], Action]:
    """What is recorded until there is something to do, and what that is."""
    plan = Plan()
    action = next_action(flow, view, plan, circumstances or given())
    return plan.events, action


def started(attempt: int = 1, run: int = 1, at: float = 0, task: str = "a") -> AttemptStarted:
    return AttemptStarted(second(at), task, run, attempt)


def ended(
    outcome: Outcome = "success",
    error: TaskError | None = None,
    attempt: int = 1,
    run: int = 1,
    at: float = 1,
    task: str = "a",
) -> AttemptEnded:
    return AttemptEnded(second(at), task, run, attempt, outcome, error=error)


def lost(attempt: int = 1) -> AttemptLost:
    return AttemptLost(second(1), "a", 1, attempt, "gone")


def test_each_phase_has_its_answer() -> None:
    flow = flow_of(
        Task("a", "a", retry=RETRY), "b", conditions=[Condition("c", "a", target_task_success="b")]
    )
    waiting = AttemptStarted(second(0), "a", wait=Wait("time", second(500)))
    over = AttemptStarted(second(0), "a", wait=Wait("time", second(5)))
    ending = ExecutionEnding(second(1), ExecutionStatus.CANCELLED)
    scheduled = RetryScheduled(second(1), "a", second(3), 1, 2)
    histories: list[tuple[Event, ...]] = [
        (),
        (started(), AttemptReleased(second(1), "a")),
        (started(),),
        (waiting,),
        (over,),
        (started(), ended()),
        (started(), ended("failure", ERROR)),
        (started(), ended("failure", FINAL)),
        (started(), lost()),
        (started(), lost(), started(2), lost(2), started(3), lost(3)),
        (started(), ending, AttemptCancelled(second(1), "a")),
        (started(), ended("failure", ERROR), scheduled),
        (started(), ended(), Routed(second(1), "a", "b", "c")),
        (started(), ended(), Routed(second(1), "a", "end", "c")),
        (started(), ended("failure", FINAL), Routed(second(1), "a", "end", "c", False, "failure")),
        (started(), lost(), started(2), lost(2), started(3), lost(3), ExecutionQuarantined(second(1), "a")),
        (started(), ended(), Routed(second(1), "a", "end", "c"), ExecutionEnded(second(1))),
    ]

    lines = []
    for history in histories:
        view = view_of(*history)
        phase = view.phase.name
        decision = decide(flow, view, given())
        for event in decision.events:
            view.apply(event)
        recorded = ", ".join(type(event).__name__ for event in decision.events) or "-"
        lines.append(f"{phase:13} {recorded:20} {type(decision.action).__name__:11} {view.phase.name}")

    assert {line.split()[0] for line in lines} == {phase.name for phase in Phase}
    assert lines == [
        "NEW           AttemptStarted       RunAttempt  ATTEMPT_OPEN",
        "READY         AttemptStarted       RunAttempt  ATTEMPT_OPEN",
        "ATTEMPT_OPEN  AttemptLost          DecideAgain ATTEMPT_LOST",
        "WAITING       -                    Park        WAITING",
        "WAITING       AttemptEnded         DecideAgain ATTEMPT_ENDED",
        "ATTEMPT_ENDED Routed               DecideAgain ROUTED",
        "ATTEMPT_ENDED RetryScheduled       Park        RETRY_WAIT",
        "ATTEMPT_ENDED Routed               DecideAgain ROUTED",
        "ATTEMPT_LOST  AttemptStarted       RunAttempt  ATTEMPT_OPEN",
        "ATTEMPT_LOST  ExecutionQuarantined Park        QUARANTINED",
        "CANCELLED     ExecutionEnded       Finish      ENDED",
        "RETRY_WAIT    AttemptStarted       RunAttempt  ATTEMPT_OPEN",
        "ROUTED        AttemptStarted       RunAttempt  ATTEMPT_OPEN",
        "ROUTED        ExecutionEnded       Finish      ENDED",
        "ROUTED        ExecutionEnded       Finish      ENDED",
        "QUARANTINED   -                    Park        QUARANTINED",
        "ENDED         -                    Finish      ENDED",
    ]


def test_an_execution_starts_at_its_start_task() -> None:
    events, action = decided(flow_of("a", "b"), view_of())

    assert events == [AttemptStarted(NOW, "a", 1, 1)]
    assert action == RunAttempt(Task("a", "a"))


def test_the_condition_chooses_the_next_task_and_the_choice_is_recorded() -> None:
    flow = flow_of("a", "b", "c", conditions=[Condition("x", "a", "", "success", "b", "c")])

    for result, target, matched in [(ended(), "b", True), (ended("timeout", ERROR), "c", False)]:
        events, action = decided(flow, view_of(started(), result))

        assert events == [
            Routed(NOW, "a", target, "x", matched, result.outcome),
            AttemptStarted(NOW, target, 2, 1),
        ]
        assert action == RunAttempt(Task(target, target))


def condition(outcome: Outcome) -> list[Condition]:
    return [Condition("x", "a", outcome=outcome)]


@pytest.mark.parametrize(
    ("conditions", "outcome", "optional", "fails"),
    [
        ([], "success", False, False),
        ([], "failure", False, True),
        ([], "unknown", False, True),
        ([], "failure", True, False),
        (condition("success"), "success", False, False),
        (condition("success"), "failure", False, True),
        (condition("success"), "timeout", False, True),
        (condition("success"), "failure", True, False),
        (condition("failure"), "failure", False, False),
        (condition("failure"), "timeout", False, False),
        (condition("failure"), "success", False, False),
        (condition("failure"), "timeout", True, False),
        (condition("timeout"), "timeout", False, False),
        (condition("timeout"), "failure", False, True),
        (condition("timeout"), "failure", True, False),
    ],
)
def test_a_failure_that_no_condition_expected_fails_the_execution(
    conditions: list[Condition], outcome: Outcome, optional: bool, fails: bool
) -> None:
    flow = flow_of(Task("a", "a", optional=optional), conditions=conditions)
    error = None if outcome == "success" else ERROR

    events, action = decided(flow, view_of(started(), ended(outcome, error)))

    status = ExecutionStatus.FAILED if fails else ExecutionStatus.COMPLETED
    assert events[-1] == ExecutionEnded(NOW, status, ERROR if fails else None)
    assert action == Finish(status)


def test_an_optional_task_that_fails_is_retried_and_then_routes_as_a_success() -> None:
    task = Task("a", "a", optional=True, retry=RETRY)
    flow = flow_of(task, "b", "c", conditions=[Condition("x", "a", "", "success", "b", "c")])
    first = (started(), ended("failure", ERROR))

    assert isinstance(decided(flow, view_of(*first))[1], Park)
    events, action = decided(flow, view_of(*first, started(2), ended("failure", ERROR, attempt=2)))

    assert events[0] == Routed(NOW, "a", "b", "x", matched=True, outcome="failure")
    assert action == RunAttempt(Task("b", "b"))


@pytest.mark.parametrize(("runs", "limit", "goes_on"), [(1, 2, True), (2, 2, False), (1, 1, False)])
def test_task_runs_are_bounded(runs: int, limit: int, goes_on: bool) -> None:
    flow = flow_of("a", conditions=[Condition("x", "a", "", "success", "a", "end")], max_task_runs=limit)
    history: list[Event] = []
    for run in range(1, runs + 1):
        history += [started(run=run), ended(run=run), Routed(second(1), "a", "a", "x")]

    events, action = decided(flow, view_of(*history))

    if goes_on:
        assert events == [AttemptStarted(NOW, "a", runs + 1, 1)]
    else:
        (event,) = events
        assert isinstance(event, ExecutionEnded)
        assert event.error is not None
        assert (event.status, event.error.code) == (ExecutionStatus.FAILED, "limit.task_runs")
        assert action == Finish(ExecutionStatus.FAILED)


def test_the_last_task_run_that_is_allowed_may_end_the_flow() -> None:
    _, action = decided(flow_of("a", max_task_runs=1), view_of(started(), ended()))

    assert action == Finish(ExecutionStatus.COMPLETED)


def test_a_failure_is_retried_after_a_wait() -> None:
    flow = flow_of(Task("a", "a", retry=RETRY))

    events, action = decided(flow, view_of(started(), ended("failure", ERROR)))

    due_at = NOW + timedelta(seconds=2)
    assert events == [RetryScheduled(NOW, "a", due_at, 1, 2)]
    assert action == Park(Wake(WakeReason.DUE, due_at))


def test_a_retry_is_never_early() -> None:
    flow = flow_of(Task("a", "a", retry=RETRY))
    waiting = (started(), ended("failure", ERROR), RetryScheduled(second(1), "a", second(9), 1, 2))

    assert decided(flow, view_of(*waiting), given(second(8.9))) == (
        [],
        Park(Wake(WakeReason.DUE, second(9))),
    )
    assert decided(flow, view_of(*waiting), given(second(9))) == (
        [AttemptStarted(second(9), "a", 1, 2)],
        RunAttempt(flow.tasks["a"]),
    )


@pytest.mark.parametrize(
    ("outcome", "error"), [("success", None), ("unknown", ERROR), ("failure", FINAL), ("timeout", FINAL)]
)
def test_these_outcomes_are_never_retried(outcome: Outcome, error: TaskError | None) -> None:
    flow = flow_of(Task("a", "a", retry=RETRY))

    _, action = decided(flow, view_of(started(), ended(outcome, error)))

    assert isinstance(action, Finish)


@pytest.mark.parametrize(("failures", "losses", "is_retried"), [(1, 0, True), (1, 2, True), (2, 0, False)])
def test_lost_attempts_do_not_use_up_the_retries(failures: int, losses: int, is_retried: bool) -> None:
    flow = flow_of(Task("a", "a", retry=RETRY))
    history: list[Event] = []
    for attempt in range(1, losses + 1):
        history += [started(attempt), lost(attempt)]
    for attempt in range(losses + 1, losses + failures + 1):
        history += [started(attempt), ended("failure", ERROR, attempt)]

    _, action = decided(flow, view_of(*history))

    assert isinstance(action, Park) is is_retried


def test_a_lost_attempt_starts_again_without_any_retries() -> None:
    flow = flow_of("a")

    events, action = decided(flow, view_of(started()))

    assert [type(event) for event in events] == [AttemptLost, AttemptStarted]
    assert events[1] == AttemptStarted(NOW, "a", 1, 2)
    assert action == RunAttempt(flow.tasks["a"])


def test_the_outcome_of_a_lost_attempt_is_unknown_if_it_must_not_start_twice() -> None:
    task = Task("a", "a", on_lost="unknown", retry=RetryPolicy(max_attempts=9))
    flow = flow_of(task, "b", conditions=[Condition("x", "a", "", "unknown", "b", "end")])

    events, action = decided(flow, view_of(started()))

    result = events[0]
    assert isinstance(result, AttemptEnded)
    assert result.error is not None
    assert (result.outcome, result.error.code) == ("unknown", "task.lost")
    assert events[1:] == [Routed(NOW, "a", "b", "x", True, "unknown"), AttemptStarted(NOW, "b", 2, 1)]
    assert action == RunAttempt(Task("b", "b"))


def test_a_task_that_keeps_killing_its_worker_is_quarantined() -> None:
    flow = flow_of("a", timeout=timedelta(seconds=200))
    view = view_of()
    for losses in range(MOST_LOSSES):
        _, action = decided(flow, view)
        assert isinstance(action, RunAttempt)
        assert view.is_isolated == (losses == MOST_LOSSES - 1)

    events, action = decided(flow, view, given(loss=Loss("the process of the task body ended")))

    reason = "task 'a' lost its worker 3 times"
    parked = Park(Wake(WakeReason.QUARANTINE, NOW, reason))
    assert [type(event) for event in events] == [AttemptLost, ExecutionQuarantined]
    assert events[1] == ExecutionQuarantined(NOW, "a", reason)
    assert action == parked
    assert view.status is ExecutionStatus.QUARANTINED
    assert decided(flow, view) == ([], parked)


def test_a_bystander_that_ran_in_a_process_of_its_own_is_not_blamed_for_the_death_of_the_service() -> None:
    flow = flow_of("a")
    view = view_of()
    for _ in range(MOST_LOSSES):
        decided(flow, view)

    events, action = decided(flow, view)

    gone = AttemptLost(NOW, "a", 1, MOST_LOSSES, WORKER_DIED.reason, blame=False)
    assert events == [gone, AttemptStarted(NOW, "a", 1, MOST_LOSSES + 1, isolated=True)]
    assert isinstance(action, RunAttempt)


def test_a_task_run_that_loses_its_worker_without_end_is_quarantined_whoever_is_to_blame() -> None:
    flow = flow_of("a")
    view = view_of()
    for _ in range(MOST_DEATHS):
        _, action = decided(flow, view)
        assert isinstance(action, RunAttempt)

    _, action = decided(flow, view)

    assert action == Park(Wake(WakeReason.QUARANTINE, NOW, f"task 'a' lost its worker {MOST_DEATHS} times"))


def test_losses_of_one_task_run_are_not_counted_against_the_next() -> None:
    flow = flow_of("a", conditions=[Condition("x", "a", "", "success", "a", "end")])
    history = (started(), lost(), started(2), lost(2), started(3), ended(attempt=3))
    again = (Routed(second(1), "a", "a", "x"), started(run=2))

    _, action = decided(flow, view_of(*history, *again))

    assert isinstance(action, RunAttempt)


@pytest.mark.parametrize(
    "history",
    [
        (),
        (started(), AttemptReleased(second(1), "a")),
        (started(), lost()),
        (started(), ended(), Routed(second(1), "a", "a", "x")),
        (started(), ended("failure", ERROR), RetryScheduled(second(1), "a", second(2))),
    ],
)
def test_an_attempt_that_cannot_start_is_waited_for_without_a_trace(history: tuple[Event, ...]) -> None:
    flow = flow_of("a", conditions=[Condition("x", "a", "", "success", "a", "end")])

    full = decided(flow, view_of(*history), given(may_start=False))
    missing = decided(flow, view_of(*history), given(types=("b",)))

    assert full == ([], Park(Wake(WakeReason.DUE, NOW)))
    assert missing == ([], Park(Wake(WakeReason.CODE, NOW, "a")))


def test_what_is_missing_is_the_type_of_the_task() -> None:
    _, action = decided(flow_of(Task("a", "shop.send")), view_of())

    assert action == Park(Wake(WakeReason.CODE, NOW, "shop.send"))


def test_a_result_is_recorded_and_routed_though_nothing_may_start() -> None:
    flow = flow_of("a", "b", conditions=[Condition("x", "a", "", "success", "b", "end")])

    going_on = decided(flow, view_of(started(), ended()), given(may_start=False))
    last = decided(flow_of("a"), view_of(started(), ended()), given(may_start=False))

    assert going_on == ([Routed(NOW, "a", "b", "x")], Park(Wake(WakeReason.DUE, NOW)))
    assert last[1] == Finish(ExecutionStatus.COMPLETED)


def test_a_released_attempt_starts_again_under_its_number() -> None:
    flow = flow_of(Task("a", "a", retry=RETRY))
    history = (started(), ended("failure", ERROR), started(2), AttemptReleased(second(2), "a", 1, 2))

    events, _ = decided(flow, view_of(*history))

    assert events == [AttemptStarted(NOW, "a", 1, 2)]


@pytest.mark.parametrize(
    "history",
    [
        (),
        (started(),),
        (started(), AttemptReleased(second(1), "a")),
        (started(), lost()),
        (started(), ended("failure", ERROR)),
        (started(), ended("failure", ERROR), RetryScheduled(second(1), "a", second(500))),
        (started(), ended(), Routed(second(1), "a", "a", "x")),
    ],
)
def test_an_execution_that_takes_too_long_fails(history: tuple[Event, ...]) -> None:
    conditions = [Condition("x", "a", "", "success", "a", "end")]
    flow = flow_of(Task("a", "a", retry=RETRY), conditions=conditions, timeout=timedelta(seconds=100))

    early, _ = decided(flow, view_of(*history), given(second(99.9)))
    events, action = decided(flow, view_of(*history), given(second(100)))

    assert not any(isinstance(event, ExecutionEnded) for event in early)
    error = TaskError("flow.timeout", "the execution did not end within 100 s", retryable=False)
    assert events[-1] == ExecutionEnded(second(100), ExecutionStatus.FAILED, error)
    assert not any(isinstance(event, AttemptStarted) for event in events)
    assert action == Finish(ExecutionStatus.FAILED)


def test_the_end_of_an_open_attempt_is_recorded_before_the_execution_times_out() -> None:
    flow = flow_of("a", timeout=timedelta(seconds=10))

    events, _ = decided(flow, view_of(started()))

    assert [type(event) for event in events] == [AttemptLost, ExecutionEnded]


@pytest.mark.parametrize("elapsed", [1, 2])
def test_a_wait_ends_when_the_execution_times_out(elapsed: float) -> None:
    flow = flow_of(Task("a", "a", retry=RETRY), timeout=timedelta(seconds=2.5))
    view = view_of(started(), ended("failure", ERROR))

    _, parked = decided(flow, view, given(second(1)))
    _, still = decided(flow, view, given(second(elapsed)))

    assert parked == still == Park(Wake(WakeReason.DUE, second(2.5)))


def test_an_execution_without_a_timeout_has_no_deadline() -> None:
    assert deadline_of(flow_of("a"), view_of()) is None
    assert deadline_of(flow_of("a", timeout=timedelta(seconds=7)), view_of()) == second(7)


@pytest.mark.parametrize("status", [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED])
def test_after_the_end_nothing_happens(status: ExecutionStatus) -> None:
    flow = flow_of("a", timeout=timedelta(seconds=1))

    assert decided(flow, view_of(ExecutionEnded(second(1), status))) == ([], Finish(status))


def test_a_decision_changes_nothing() -> None:
    flow, view = flow_of("a"), view_of(started())

    decision = decide(flow, view, given())

    assert isinstance(decision.action, DecideAgain)
    assert view == view_of(started())
    assert decide(flow, view, given()) == decision
