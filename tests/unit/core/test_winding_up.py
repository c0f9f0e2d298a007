"""Cancellation and compensation: how an execution that is to end lets go, undoes what it did, and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from flow_manager.core.children import Children, ToChildren
from flow_manager.core.decide import MOST_LOSSES, deadline_of
from flow_manager.core.decision import Finish, LookAtChildren, Loss, Park, RunAttempt
from flow_manager.core.definition import Condition, Flow, RetryPolicy, Task
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
    RetryScheduled,
    Routed,
    TaskSkipped,
    Wait,
)
from flow_manager.core.mail import Mail
from flow_manager.core.results import TaskError
from flow_manager.core.states import FAR_AWAY, ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import Phase
from tests.support.expressions import constant, expression, mapping
from tests.support.flows import flow_of
from tests.support.told import (
    ERROR,
    START,
    Told,
    answer,
    cancellation,
    child_end,
    child_of,
    children_at,
    second,
    signal,
)

RETRY = RetryPolicy(max_attempts=2, delay=timedelta(seconds=8), jitter="none")
FINAL = TaskError("shop.closed", "no use", retryable=False)


def chain(*tasks: Task | str, timeout: timedelta | None = None, last: str = "end") -> Flow:
    """One task after another as long as they succeed; compensations (`undo_...`) stand beside."""
    named = [Task(task, task) if isinstance(task, str) else task for task in tasks]
    names = [task.name for task in named if not task.name.startswith("undo_")]
    targets = [*names[1:], last]
    following = [
        Condition(f"after_{name}", name, "", "success", target, "end")
        for name, target in zip(names, targets, strict=True)
    ]
    return flow_of(*named, conditions=following, timeout=timeout)


def undoable(name: str, **fields: Any) -> tuple[Task, Task]:
    """A task, and the one that undoes it."""
    return Task(name, "a", compensate_with=f"undo_{name}", **fields), Task(f"undo_{name}", "u")


def driven(told: Told, fates: Sequence[str] = ()) -> Told:
    """To the end, each body with its fate and then with success; a second passes in each."""
    left, at = list(fates), 0.0
    while not isinstance(action := told.step(at=at), Finish):
        assert isinstance(action, RunAttempt | Park)
        if isinstance(action, Park):
            assert action.wake.reason is WakeReason.DUE
            at = max(at, (action.wake.due_at - START).total_seconds())
            continue
        at += 1
        fate = left.pop(0) if left else "success"
        if fate == "success":
            told.body(data={"run": told.view.run}, at=at)
        elif fate != "lost":
            told.body("failure", error=FINAL if fate == "final" else ERROR, at=at)
    return told


def undone(told: Told) -> list[tuple[str, int]]:
    """Which runs were undone, in order, and by which task."""
    started = [event for event in told.history if isinstance(event, AttemptStarted) and event.compensates]
    return [(event.task, event.compensates) for event in started if event.attempt == 1]


# -- cancelling


A, UNDO_A = undoable("a", retry=RETRY)
ON_A: list[Event] = [AttemptStarted(START, "a")]
FAILED = AttemptEnded(START, "a", outcome="failure", error=ERROR)
WAITING_FOR_CHILDREN = AttemptStarted(START, "c", wait=Wait("children", count=2))
ENDING = ExecutionEnding(START, ExecutionStatus.CANCELLED, TaskError("execution.cancelled", "first"), 9)
CASES: list[tuple[str, list[Event]]] = [
    ("NEW", []),
    ("READY", [*ON_A, AttemptReleased(START, "a")]),
    ("ATTEMPT_OPEN", ON_A),
    ("WAITING a time", [AttemptStarted(START, "w", wait=Wait("time", second(99)))]),
    ("WAITING a time that is over", [AttemptStarted(START, "w", wait=Wait("time", START))]),
    ("WAITING a signal", [AttemptStarted(START, "w", wait=Wait("signal", None, "paid"))]),
    ("WAITING children", [WAITING_FOR_CHILDREN]),
    ("ATTEMPT_ENDED failure", [*ON_A, FAILED]),
    ("ATTEMPT_ENDED skipped", [TaskSkipped(START, "a")]),
    ("ATTEMPT_ENDED success", [*ON_A, AttemptEnded(START, "a")]),
    ("ATTEMPT_LOST", [*ON_A, AttemptLost(START, "a")]),
    ("CANCELLED", [*ON_A, ENDING, AttemptCancelled(START, "a")]),
    ("RETRY_WAIT", [*ON_A, FAILED, RetryScheduled(START, "a", second(9))]),
    ("ROUTED to a task", [*ON_A, AttemptEnded(START, "a"), Routed(START, "a", "w")]),
    ("ROUTED to the end", [*ON_A, AttemptEnded(START, "a"), Routed(START, "a", "end")]),
    ("QUARANTINED", [*ON_A, ExecutionQuarantined(START, "a")]),
    ("ENDED", [*ON_A, AttemptEnded(START, "a"), ExecutionEnded(START)]),
]  # fmt: skip


def test_a_cancellation_in_every_phase() -> None:
    flow = chain(A, UNDO_A, Task("w", "wait"), Task("c", "for_each", child=flow_of("a")))

    lines = []
    for name, history in CASES:
        told = Told(flow, *history)
        assert told.view.phase.name == name.split()[0]
        action = told.step(at=1, mail=[cancellation()], children=children_at(still_open=2))
        said = " ".join(word.kind for word in told.said) or "-"
        recorded = ", ".join(kind.removeprefix("Execution") for kind in told.recorded) or "-"
        lines.append(f"{name:27} {recorded:31} {said:6} {type(action).__name__:10} {told.end[0]}")

    assert {name.split()[0] for name, _ in CASES} == {phase.name for phase in Phase}
    assert lines == [
        "NEW                         Ending, Ended                   -      Finish     cancelled",
        "READY                       Ending, Ended                   -      Finish     cancelled",
        "ATTEMPT_OPEN                Ending, AttemptCancelled, Ended -      Finish     cancelled",
        "WAITING a time              Ending, AttemptCancelled, Ended -      Finish     cancelled",
        "WAITING a time that is over Ending, AttemptCancelled, Ended -      Finish     cancelled",
        "WAITING a signal            Ending, AttemptCancelled, Ended -      Finish     cancelled",
        "WAITING children            Ending                          cancel Park       compensating",
        "ATTEMPT_ENDED failure       Ending, Ended                   -      Finish     cancelled",
        "ATTEMPT_ENDED skipped       Ending, Ended                   -      Finish     cancelled",
        "ATTEMPT_ENDED success       Ending, AttemptStarted          -      RunAttempt compensating",
        "ATTEMPT_LOST                Ending, Ended                   -      Finish     cancelled",
        "CANCELLED                   Ended                           -      Finish     cancelled",
        "RETRY_WAIT                  Ending, Ended                   -      Finish     cancelled",
        "ROUTED to a task            Ending, AttemptStarted          -      RunAttempt compensating",
        "ROUTED to the end           Ending, AttemptStarted          -      RunAttempt compensating",
        "QUARANTINED                 Ending, Ended                   -      Finish     cancelled",
        "ENDED                       -                               -      Finish     completed",
    ]


@pytest.mark.parametrize(("name", "history"), CASES, ids=[name for name, _ in CASES])
def test_whatever_was_under_way_a_cancelled_execution_comes_to_one_end(
    name: str, history: list[Event]
) -> None:
    flow = chain(A, UNDO_A, Task("w", "wait"), Task("c", "for_each", child=flow_of("a")))
    told = Told(flow, *history)
    was_ended = told.view.is_ended

    look = told.step(at=1, mail=[cancellation()])
    if isinstance(look, LookAtChildren):
        told.step(at=2, children=children_at(child_end(0), child_end(1, "cancelled")))
    driven(told)

    assert told.end[0] == ("completed" if was_ended else "cancelled")
    assert isinstance(told.history[-1], ExecutionEnded)
    assert sum(isinstance(event, ExecutionEnding) for event in told.history) == (not was_ended)
    successes = [
        entry.run for entry in told.view.attempts if entry.status == "success" and not entry.compensates
    ]
    assert undone(told) == [("undo_a", run) for run in successes if not was_ended]


@pytest.mark.parametrize(
    ("reason", "by", "message"),
    [
        ("", "", "the execution was cancelled"),
        ("not needed", "ann", "not needed"),
        ("", "ann", "the execution was cancelled"),
    ],
)
def test_a_cancellation_tells_why_and_who(reason: str, by: str, message: str) -> None:
    told = Told(flow_of("a"), *ON_A)

    told.step(mail=[signal("paid", 6), cancellation(7, reason, by)])

    error = TaskError("execution.cancelled", message, retryable=False)
    assert told.history[2] == ExecutionEnding(START, ExecutionStatus.CANCELLED, error, 7, by)
    assert told.view.error == error
    assert [mail.number for mail in told.mail] == [6]


def test_a_cancelled_execution_waits_for_its_children_before_it_ends() -> None:
    flow = chain(Task("c", "for_each", child=flow_of("a"), input=constant({"items": [1, 2]})))
    told = Told(flow)
    told.step()

    look = told.step(at=1, mail=[cancellation()])
    said = told.said
    parked = told.step(at=1, children=children_at(still_open=2))
    still = told.step(at=2, children=children_at(child_end(0, "cancelled"), still_open=1))
    ended = told.step(at=3, children=children_at(child_end(0, "cancelled"), child_end(1)))

    assert (look, said) == (LookAtChildren(1, 1), [ToChildren("cancel", 1, 1)])
    assert parked == still == Park(Wake(WakeReason.CHILDREN, FAR_AWAY, "c"))
    assert ended == Finish(ExecutionStatus.CANCELLED)
    assert told.tasks == ["c:cancelled"]


def test_a_cancelled_attempt_is_no_recorded_success() -> None:
    told = Told(chain(A, UNDO_A))
    told.step()

    told.step(at=1, mail=[cancellation()])

    assert (told.end[0], undone(told)) == ("cancelled", [])


def test_a_second_cancellation_is_not_taken_up() -> None:
    told = Told(chain(*undoable("a"), *undoable("b")))
    told.step()
    told.body(at=1).step(at=1)
    told.step(at=2, mail=[cancellation(1, "first")])

    told.body(at=3).step(at=3, mail=[cancellation(2, "second")])

    assert (told.end[0], told.view.error) == (
        "cancelled", TaskError("execution.cancelled", "first", retryable=False),
    )  # fmt: skip
    assert [mail.number for mail in told.mail] == [2]


# -- compensating


@pytest.mark.parametrize(
    ("fates", "ways_back"),
    [
        (["final"], []),
        (["success", "final"], ["undo_a"]),
        (["success", "success", "final"], ["undo_b", "undo_a"]),
        (["success", "success", "success", "final"], ["undo_c", "undo_b", "undo_a"]),
        (["success", "success", "success", "success"], []),
    ],
)
def test_what_succeeded_is_undone_in_reverse_if_the_execution_fails(
    fates: list[str], ways_back: list[str]
) -> None:
    flow = chain(*undoable("a"), *undoable("b"), *undoable("c"), "d")

    told = driven(Told(flow), fates)

    assert [task for task, _ in undone(told)] == ways_back
    assert told.end == (("failed", "shop.closed") if "final" in fates else ("completed", None))
    kinds = [type(event) for event in told.history]
    assert kinds.count(ExecutionEnding) == bool(ways_back)


def test_only_recorded_successes_are_undone() -> None:
    never = expression(lambda _: False)
    skipped, undo_skipped = undoable("skipped", run_when=never)
    optional, undo_optional = undoable("optional", optional=True)
    retried, undo_retried = undoable("retried", retry=RETRY)
    flow = chain("a", skipped, undo_skipped, optional, undo_optional, retried, undo_retried, "b")

    told = driven(Told(flow), ["success", "final", "failure", "success", "final"])

    assert told.tasks == [
        "a:success", "skipped:skipped", "optional:failure", "retried:failure", "retried:success", "b:failure",
        "undo_retried:success",
    ]  # fmt: skip


def test_each_run_of_a_loop_is_undone_and_sees_its_own_result() -> None:
    seen = mapping(
        lambda scope: {"undo": scope["results"]["a"]["data"]["run"], "last": scope["results"]["b"]["data"]}
    )
    flow = flow_of(
        Task("a", "a", compensate_with="undo_a"), "b", Task("undo_a", "u", input=seen),
        conditions=[
            Condition("x", "a", "", "success", "b", "end"), Condition("y", "b", "", "success", "a", "end"),
        ],
    )  # fmt: skip
    told = Told(flow)
    at = 0.0
    for _ in range(5):
        told.step(at=at)
        at += 1
        told.body(data={"run": told.view.run}, at=at)
    told.step(at=at)

    given = []
    action = told.body("failure", error=FINAL, at=at).step(at=at)
    while isinstance(action, RunAttempt):
        given.append((action.undoes, action.input))
        action = told.body(data={"run": 99}, at=at).step(at=at)

    assert given == [(run, {"undo": run, "last": None}) for run in (5, 3, 1)]
    assert told.end == ("failed", "shop.closed")


def test_a_compensation_that_fails_keeps_no_other_from_running_and_is_named() -> None:
    flow = chain(*undoable("a"), *undoable("b"), *undoable("c"), "d")

    told = driven(Told(flow), ["success", "success", "success", "final", "success", "final", "failure"])

    assert told.tasks[4:] == ["undo_c:success", "undo_b:failure", "undo_a:failure"]
    error = told.view.error
    assert error is not None
    assert (error.code, error.retryable) == ("shop.closed", False)
    assert error.message == "no use; not undone, since these failed: undo_b, undo_a"
    assert error.details == {"error": None, "compensations_failed": ["undo_b", "undo_a"]}


def test_a_compensation_is_retried_as_any_task_is() -> None:
    a, _ = undoable("a")
    told = driven(Told(chain(a, Task("undo_a", "u", retry=RETRY), "b")), ["success", "final", "failure"])

    assert told.tasks[2:] == ["undo_a:failure", "undo_a:success"]
    assert told.end == ("failed", "shop.closed")
    assert [type(event) for event in told.history[-5:]] == [
        AttemptEnded, RetryScheduled, AttemptStarted, AttemptEnded, ExecutionEnded,
    ]  # fmt: skip
    assert told.view.error == FINAL


def test_a_compensation_that_lost_its_worker_starts_again() -> None:
    told = driven(Told(chain(*undoable("a"), "b")), ["success", "final", "lost", "lost"])

    assert told.tasks[2:] == ["undo_a:lost", "undo_a:lost", "undo_a:success"]
    starts = [event for event in told.history if isinstance(event, AttemptStarted) and event.compensates]
    assert [(event.run, event.attempt, event.compensates) for event in starts] == [
        (3, 1, 1),
        (3, 2, 1),
        (3, 3, 1),
    ]


def test_a_compensation_that_must_not_start_twice_is_named_if_it_was_lost() -> None:
    a, _ = undoable("a")
    told = driven(Told(chain(a, Task("undo_a", "u", on_lost="unknown"), "b")), ["success", "final", "lost"])

    assert told.tasks[2:] == ["undo_a:unknown"]
    assert told.view.error is not None
    assert told.view.error.details["compensations_failed"] == ["undo_a"]


def test_a_compensation_that_keeps_killing_its_worker_is_quarantined() -> None:
    told = Told(chain(*undoable("a"), "b"))
    told.step()
    told.body().step()
    told.body("failure", error=FINAL)
    for _ in range(MOST_LOSSES):
        assert isinstance(told.step(loss=Loss("the process of the task body ended")), RunAttempt)

    action = told.step(loss=Loss("the process of the task body ended"))

    assert isinstance(action, Park)
    assert action.wake.reason is WakeReason.QUARANTINE
    assert told.step(mail=[cancellation()]) == action


def test_a_compensation_that_was_given_back_starts_again_under_its_number() -> None:
    told = Told(chain(*undoable("a"), "b"))
    told.step()
    told.body().step()
    told.body("failure", error=FINAL).step()

    again = Told(told.flow, *told.history[1:], AttemptReleased(START, "undo_a", 3, 1))
    again.step(at=5)

    started = AttemptStarted(second(5), "undo_a", 3, 1, compensates=1, compensates_attempt=1)
    assert again.plan.events == [started]


@pytest.mark.parametrize("mail", [[cancellation(1)], [signal("paid", 1)], [answer(1, {"approved": True})]])
def test_what_is_sent_during_a_compensation_changes_nothing(mail: list[Mail]) -> None:
    fates = ["success", "success", "final", "failure", "success"]
    a, _ = undoable("a")
    flow = chain(a, Task("undo_a", "u"), *undoable("b"), "c")
    undisturbed = driven(Told(flow), fates)

    told = Told(flow)
    told.step(at=0)
    for at, fate in enumerate(fates, 1):
        if fate == "success":
            told.body(data={"run": told.view.run}, at=at)
        else:
            told.body("failure", error=FINAL if fate == "final" else ERROR, at=at)
        told.step(at=at, mail=mail if at == 4 else [])

    assert told.history == undisturbed.history
    assert told.mail == mail


def test_the_time_of_the_execution_does_not_bound_what_undoes_it() -> None:
    a, _ = undoable("a")
    flow = chain(a, Task("undo_a", "u", retry=RETRY), Task("w", "wait", input=constant({"for": 99})),
                 timeout=timedelta(seconds=10))  # fmt: skip
    told = Told(flow)
    told.step(at=0)
    told.body(at=1).step(at=1)

    action = told.step(at=10)
    is_bounded = deadline_of(flow, told.view) is not None
    waiting = told.body("failure", at=500).step(at=500)
    told.step(at=508)
    told.body(at=9000).step(at=9000)

    assert isinstance(action, RunAttempt)
    assert not is_bounded
    assert waiting == Park(Wake(WakeReason.DUE, second(508)))
    assert told.tasks == ["a:success", "w:cancelled", "undo_a:failure", "undo_a:success"]
    assert told.end == ("failed", "flow.timeout")


def test_compensations_are_not_counted_as_task_runs_nor_bounded_by_the_length_of_the_history() -> None:
    flow = chain(*undoable("a"), *undoable("b"), last="a")

    told = driven(Told(replace(flow, max_task_runs=5)))

    assert told.end == ("failed", "limit.task_runs")
    assert undone(told) == [("undo_a", 5), ("undo_b", 4), ("undo_a", 3), ("undo_b", 2), ("undo_a", 1)]


@pytest.mark.parametrize(
    ("task", "done"),
    [
        (Task("undo_a", "transform"), "success"),
        (Task("undo_a", "wait", input=constant({"for": 5})), "success"),
        (Task("undo_a", "fail"), "failure"),
        (Task("undo_a", "succeed"), "success"),
        (Task("undo_a", "wait"), "failure"),
        (Task("undo_a", "u", input=mapping(lambda scope: scope["nothing"])), "failure"),
    ],
)
def test_a_compensation_may_be_a_task_of_any_type(task: Task, done: str) -> None:
    told = driven(
        Told(chain(Task("a", "a", compensate_with="undo_a"), task, *undoable("b"), "c")),
        ["success", "success", "final"],
    )

    assert told.tasks[3:] == ["undo_b:success", f"undo_a:{done}"]
    assert told.end == ("failed", "shop.closed")
    assert told.view.error is not None
    assert bool(told.view.error.details) is (done == "failure")


def test_a_compensation_may_wait_for_somebody() -> None:
    told = Told(chain(Task("a", "a", compensate_with="undo_a"), Task("undo_a", "signal"), "b"))
    told.step()
    told.body().step()

    parked = told.body("failure", error=FINAL).step(at=5)
    told.step(at=9, mail=[signal("undo_a", 1)])

    assert parked == Park(Wake(WakeReason.SIGNAL, FAR_AWAY, "undo_a"))
    assert told.tasks == ["a:success", "b:failure", "undo_a:success"]
    assert told.end == ("failed", "shop.closed")


def test_a_compensation_whose_code_is_missing_is_waited_for() -> None:
    told = Told(chain(*undoable("a"), "b"))
    told.step()
    told.body().step()

    parked = told.body("failure", error=FINAL).step(task_types="ab")
    ending = told.recorded
    action = told.step()

    assert parked == Park(Wake(WakeReason.CODE, START, "u"))
    assert ending == ["Routed", "ExecutionEnding"]
    assert isinstance(action, RunAttempt)


def test_a_flow_that_ends_itself_as_failed_keeps_its_output_while_it_is_undone() -> None:
    failing = Task("f", "fail", input=constant({"code": "shop.closed", "output": {"n": 1}}))

    told = driven(Told(chain(*undoable("a"), failing)))

    assert (told.end, told.view.output) == (("failed", "shop.closed"), {"n": 1})
    assert undone(told) == [("undo_a", 1)]


@pytest.mark.parametrize("task_type", ["succeed", "transform"])
def test_a_flow_that_completes_undoes_nothing(task_type: str) -> None:
    told = driven(Told(chain(*undoable("a"), Task("s", task_type))))

    assert (told.end, undone(told)) == (("completed", None), [])


def test_what_undoes_is_not_undone() -> None:
    flow = flow_of(
        Task("a", "a", compensate_with="undo_a"), "b", Task("undo_a", "u", compensate_with="undo_undo"),
        Task("undo_undo", "u"), conditions=[Condition("x", "a", "", "success", "b", "b")],
    )  # fmt: skip

    told = driven(Told(flow), ["success", "final"])

    assert undone(told) == [("undo_a", 1)]


# -- children


CHILD = chain(*undoable("a"))
PARENT = Task("c", "flow", child=CHILD)


def failed_after_children(task: Task = PARENT, *, ends: int = 1) -> Told:
    """A parent whose children have completed, and whose next task has just failed for good."""
    told = Told(chain(task, "b"))
    told.step()
    told.step(at=1, children=children_at(*map(child_end, range(ends))))
    return told.body("failure", error=FINAL, at=2)


def test_a_completed_child_is_undone_by_being_opened_again() -> None:
    told = failed_after_children()

    told.step(at=3)
    said, recorded = told.said, told.recorded
    look = told.step(at=4)
    still = told.step(at=4, children=children_at(still_open=1))
    ended = told.step(at=9, children=children_at(child_end(0, "cancelled")))

    assert said == [ToChildren("compensate", 1, 1)]
    assert recorded == ["Routed", "ExecutionEnding", "AttemptStarted"]
    assert (look, still) == (LookAtChildren(1, 1), Park(Wake(WakeReason.CHILDREN, FAR_AWAY, "c")))
    assert ended == Finish(ExecutionStatus.FAILED)
    assert told.tasks == ["c:success", "b:failure", "c:success"]
    assert told.end == ("failed", "shop.closed")


@pytest.mark.parametrize("ends", [0, 1, 3])
def test_a_list_of_children_is_undone_however_many_of_them_completed(ends: int) -> None:
    items = constant({"items": list(range(ends)), "tolerate": 9})
    told = failed_after_children(Task("c", "for_each", child=CHILD, input=items), ends=ends)

    parked = told.step(at=3)

    # None of them may have completed, and then nobody would ever tell: it looks at once.
    assert parked == Park(Wake(WakeReason.DUE, second(3)))
    ended = told.step(at=3, children=children_at(*(child_end(place, "cancelled") for place in range(ends))))
    assert ended == Finish(ExecutionStatus.FAILED)


def test_a_child_that_could_not_undo_everything_is_named_by_its_parent() -> None:
    told = failed_after_children(ends=2)
    told.step(at=3)
    not_undone = TaskError("execution.compensated", "...", False, {"compensations_failed": ["refund"]})
    ends = [child_end(0, "cancelled"), msgspec.structs.replace(child_end(1, "cancelled"), error=not_undone)]

    asked = told.step(at=4, children=Children(2, 0, 2, 99))
    ended = told.step(at=4, children=children_at(*ends))

    assert asked == LookAtChildren(1, 1, with_ends=True)
    assert ended == Finish(ExecutionStatus.FAILED)
    entry = told.view.attempts[-1]
    assert entry.error is not None
    assert (entry.status, entry.error.code, entry.error.retryable) == ("failure", "task.not_undone", False)
    assert told.view.error is not None
    assert told.view.error.details["compensations_failed"] == ["c"]


def test_the_children_of_the_attempt_that_succeeded_are_undone() -> None:
    told = Told(chain(replace(PARENT, retry=RetryPolicy(max_attempts=3)), "b"))
    told.step()
    told.step(at=1, children=children_at(child_end(0, "failed")))
    told.step(at=5)
    told.step(at=6, children=children_at(child_end(0)))

    told.body("failure", error=FINAL, at=7).step(at=7)
    said = told.said
    look = told.step(at=8)

    assert said == [ToChildren("compensate", 1, 2)]
    assert look == LookAtChildren(1, 2)


def test_the_children_that_completed_under_a_failed_attempt_are_undone_as_well() -> None:
    items = constant({"items": [1, 2, 3], "max_parallel": 3})
    retry = RetryPolicy(max_attempts=2, delay=timedelta(seconds=4), jitter="none")
    told = Told(chain(Task("c", "for_each", child=CHILD, input=items, retry=retry)))
    some_failed = children_at(child_end(0), child_end(1, "failed"), child_end(2))
    told.step(at=0)
    told.step(at=1, children=some_failed)
    told.step(at=5)

    told.step(at=6, children=some_failed)
    said = [told.said]
    told.step(at=7, children=children_at(child_end(0, "cancelled"), child_end(1, "failed")))
    said.append(told.said)
    ended = told.step(at=8, children=children_at(child_end(0, "cancelled"), child_end(1, "failed")))

    assert said == [[ToChildren("compensate", 1, 2)], [ToChildren("compensate", 1, 1)]]
    assert ended == Finish(ExecutionStatus.FAILED)
    assert told.tasks == ["c:failure", "c:failure", "c:success", "c:success"]
    assert told.end == ("failed", "for_each.failed")


def test_the_children_that_completed_before_a_cancellation_are_undone() -> None:
    told = Told(chain(Task("c", "for_each", child=CHILD, input=constant({"items": [1, 2]}))))
    told.step(at=0)
    told.step(at=1, mail=[cancellation()])

    told.step(at=2, children=children_at(child_end(0), child_end(1, "cancelled")))
    said = told.said
    ended = told.step(at=3, children=children_at(child_end(0, "cancelled"), child_end(1, "cancelled")))

    assert said == [ToChildren("compensate", 1, 1)]
    assert ended == Finish(ExecutionStatus.CANCELLED)
    assert told.tasks == ["c:cancelled", "c:success"]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_child_that_did_not_complete_has_undone_itself(status: str) -> None:
    told = Told(chain(PARENT))
    told.step()

    ended = told.step(at=1, children=children_at(child_end(0, status)))

    assert ended == Finish(ExecutionStatus.FAILED)
    assert (told.said, told.tasks) == ([], ["c:failure"])


@pytest.mark.parametrize("child", [chain("a"), flow_of("a")])
def test_children_that_can_undo_nothing_are_left_alone(child: Flow) -> None:
    told = failed_after_children(Task("c", "flow", child=child))

    action = told.step(at=3)

    assert action == Finish(ExecutionStatus.FAILED)
    assert (told.said, told.recorded) == ([], ["Routed", "ExecutionEnded"])


def test_a_compensation_of_its_own_is_preferred_to_that_of_the_children() -> None:
    told = failed_after_children(replace(PARENT, compensate_with="b"))

    action = told.step(at=3)

    assert isinstance(action, RunAttempt)
    assert (told.said, undone(told)) == ([], [("b", 1)])


def test_a_child_that_completed_undoes_what_it_did_if_its_parent_says_so() -> None:
    told = driven(Told(CHILD, parent=child_of(1)))

    told.step(at=9, mail=[Mail(1, START, "compensate")])
    told.body(at=10).step(at=11)

    undone_error = TaskError(
        "execution.compensated", "what the execution did was undone with its parent", retryable=False
    )
    assert told.end == ("cancelled", "execution.compensated")
    assert told.tasks == ["a:success", "undo_a:success"]
    assert [type(event) for event in told.history if isinstance(event, ExecutionEnded | ExecutionEnding)] == [
        ExecutionEnded, ExecutionEnding, ExecutionEnded,
    ]  # fmt: skip
    assert told.view.error == undone_error


def test_a_child_of_a_child_is_undone_as_well() -> None:
    middle = chain(PARENT)
    told = Told(middle, parent=child_of(1))
    told.step()
    told.step(at=1, children=children_at(child_end(0)))

    told.step(at=5, mail=[Mail(1, START, "compensate")])
    said = told.said
    told.step(at=6, children=children_at(child_end(0, "cancelled")))

    assert said == [ToChildren("compensate", 1, 1)]
    assert told.end == ("cancelled", "execution.compensated")


@pytest.mark.parametrize(
    "history",
    [
        [ExecutionEnded(START, ExecutionStatus.FAILED, ERROR)],
        [ENDING, ExecutionEnded(START, ExecutionStatus.CANCELLED, ERROR)],
    ],
)
def test_after_a_bad_end_there_is_nothing_to_cancel(history: list[Event]) -> None:
    told = Told(CHILD, *history)

    action = told.step(mail=[cancellation()])

    assert (told.recorded, action) == ([], Finish(told.view.status))


def test_a_compensation_that_starts_a_child_waits_for_it() -> None:
    undo = Task("undo_a", "flow", child=chain("a"))
    told = Told(chain(Task("a", "a", compensate_with="undo_a"), undo, "b"))
    told.step()
    told.body().step()

    told.body("failure", error=FINAL).step(at=1)
    started = told.started
    told.step(at=2, children=children_at(child_end(0, "failed")))

    assert [(start.run, start.attempt) for start in started] == [(3, 1)]
    assert told.tasks == ["a:success", "b:failure", "undo_a:failure"]
    assert told.view.error is not None
    assert told.view.error.details["compensations_failed"] == ["undo_a"]
