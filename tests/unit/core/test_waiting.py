"""Attempts without a body: what each kind of them waits for, and how its wait ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from flow_manager.core.children import ChildEnd, Children, ChildStart, ToChildren
from flow_manager.core.decision import Finish, LookAtChildren, Park, RunAttempt
from flow_manager.core.definition import Condition, Flow, RetryPolicy, Task
from flow_manager.core.events import (
    AttemptCancelled,
    AttemptEnded,
    ExecutionEnded,
    ExecutionEnding,
    SignalReceived,
    Wait,
)
from flow_manager.core.mail import Mail
from flow_manager.core.results import TaskError
from flow_manager.core.states import FAR_AWAY, ExecutionStatus, Wake, WakeReason
from flow_manager.core.waiting import MOST_RESULT
from tests.support.expressions import constant, expression, mapping
from tests.support.flows import flow_of
from tests.support.told import (
    Told,
    answer,
    cancellation,
    child_end,
    children_at,
    second,
    signal,
)

SECONDS = [timedelta(seconds=number) for number in range(100)]
CHILD = flow_of("a")


def waits(task_type: str, timeout: timedelta | None = None, /, **input: Any) -> Told:
    """An execution whose first task is of this type; then comes `b`."""
    task = Task("w", task_type, input=constant(input), timeout=timeout)
    return Told(flow_of(task, "b", conditions=[Condition("x", "w", "", "success", "b", "b")]))


def result(told: Told) -> tuple[str, Any, str | None]:
    """Of the waiting attempt: how it ended, with which data, and the code of its error."""
    entry = told.view.results["w"]
    return entry.status, entry.data, None if entry.error is None else entry.error.code


# -- a time


@pytest.mark.parametrize(
    ("input", "until"),
    [
        ({"for": 5}, 5),
        ({"for": 0.5}, 0.5),
        ({"for": "1m"}, 60),
        ({"for": "PT1M30S"}, 90),
        ({"until": "2026-01-14T10:30:07Z"}, 7),
        ({"until": "2026-01-14T12:30:07+02:00"}, 7),
        ({"until": "2026-01-14T10:30:07.25Z"}, 7.25),
    ],
)
def test_a_wait_is_over_at_its_time_and_never_before(input: dict[str, Any], until: float) -> None:
    told = waits("wait", **input)

    parked = told.step(at=0)
    early = told.step(at=until - 0.000001)
    over = told.step(at=until)

    assert parked == early == Park(Wake(WakeReason.DUE, second(until)))
    assert isinstance(over, RunAttempt)
    told_until = second(until).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert result(told) == ("success", {"until": told_until}, None)


@pytest.mark.parametrize("input", [{"until": "2026-01-14T10:30:00Z"}, {"until": "1999-01-01T00:00:00Z"}])
def test_a_wait_for_a_time_that_has_passed_is_over_at_once(input: dict[str, Any]) -> None:
    told = waits("wait", **input)

    action = told.step(at=0)

    assert isinstance(action, RunAttempt)
    assert told.recorded == ["AttemptStarted", "AttemptEnded", "Routed", "AttemptStarted"]


def test_while_a_wait_lasts_nothing_is_recorded_however_often_it_is_looked_at() -> None:
    told = waits("wait", **{"for": 50})
    told.step(at=0)

    looks = {told.step(at=at) for at in range(1, 50)}

    assert looks == {Park(Wake(WakeReason.DUE, second(50)))}
    assert len(told.history) == 2


def test_a_wait_that_is_looked_at_late_is_over_once() -> None:
    told = waits("wait", **{"for": 5})
    told.step(at=0)

    told.step(at=5000)

    assert told.tasks == ["w:success", "b:running"]
    assert told.view.attempts[0].ended_at == second(5000)


@pytest.mark.parametrize(
    ("task_type", "input", "detail"),
    [
        ("wait", {"for": 50}, ""),
        ("signal", {}, "w"),
        ("signal", {"timeout": 50}, "w"),
        ("approval", {"question": "Pay?"}, "approval/1/1"),
        ("flow", {}, "w"),
        ("for_each", {"items": [1]}, "w"),
    ],
)
def test_a_wait_of_any_kind_is_bounded_by_the_time_of_the_whole_execution(
    task_type: str, input: dict[str, Any], detail: str
) -> None:
    task = Task("w", task_type, input=constant(input), child=CHILD)
    told = Told(flow_of(task, timeout=timedelta(seconds=20)))
    one_open = children_at(still_open=1)

    parked = told.step(at=0)
    still = told.step(at=19.9, children=one_open)
    cancelled = told.step(at=20, children=one_open)
    ended = told.step(at=20, children=children_at(child_end(0, "cancelled")))

    assert isinstance(parked, Park)
    assert (parked.wake.due_at, parked.wake.detail) == (second(20), detail)
    assert still == parked
    has_children = task_type in ("flow", "for_each")
    assert isinstance(cancelled, Park if has_children else Finish)
    assert isinstance(ended, Finish)
    assert told.tasks == ["w:cancelled"]
    assert told.end == ("failed", "flow.timeout")
    error = told.view.error
    assert told.history[2:] == [
        ExecutionEnding(second(20), ExecutionStatus.FAILED, error),
        AttemptCancelled(second(20), "w"),
        ExecutionEnded(second(20), ExecutionStatus.FAILED, error),
    ]


# -- a signal


@pytest.mark.parametrize(
    ("sent", "outcome"),
    [
        pytest.param([(0, "before")], "success", id="it was there before the wait began"),
        pytest.param([(5, "during")], "success", id="it comes while it is waited for"),
        pytest.param([(10, "at")], "success", id="it comes with the deadline"),
        pytest.param([], "timeout", id="it does not come"),
    ],
)
def test_a_signal_ends_the_wait_for_it_whenever_it_comes(sent: list[tuple[float, str]], outcome: str) -> None:
    told = waits("signal", name="paid", timeout=10)

    for at in (0, 5, 9.999999, 10):
        mail = [signal("paid", 1, {"when": when}, "shop") for sent_at, when in sent if sent_at == at]
        if told.step(at=at, mail=mail) != Park(Wake(WakeReason.SIGNAL, second(10), "paid")):
            break

    if outcome == "success":
        assert result(told) == ("success", {"payload": {"when": sent[0][1]}, "by": "shop"}, None)
        received = [event for event in told.history if isinstance(event, SignalReceived)]
        assert received == [SignalReceived(second(at), "paid", 1, {"when": sent[0][1]}, "shop")]
    else:
        assert result(told) == ("timeout", None, "signal.timeout")
        assert told.view.attempts[0].ended_at == second(10)


def test_a_signal_that_comes_after_the_deadline_stays_where_it_is() -> None:
    told = waits("signal", name="paid", timeout=10)
    told.step(at=0)
    told.step(at=10)

    told.body(at=11).step(at=11, mail=[signal("paid", 1)])

    assert result(told) == ("timeout", None, "signal.timeout")
    assert [each.number for each in told.mail] == [1]


@pytest.mark.parametrize(
    ("sent", "taken", "left"),
    [
        (["paid"], 1, []),
        (["sent"], None, [1]),
        (["sent", "paid"], 2, [1]),
        (["paid", "sent"], 1, [2]),
        (["paid", "paid"], 1, [2]),
        (["Paid", "paid.", "approval/1/1"], None, [1, 2, 3]),
    ],
)
def test_the_first_signal_of_the_name_is_taken_and_the_others_stay(
    sent: list[str], taken: int | None, left: list[int]
) -> None:
    told = waits("signal", name="paid")

    told.step(mail=[signal(name, number) for number, name in enumerate(sent, 1)])

    received = [event.number for event in told.history if isinstance(event, SignalReceived)]
    assert received == ([] if taken is None else [taken])
    assert [each.number for each in told.mail] == left
    assert told.view.phase.name == ("WAITING" if taken is None else "ATTEMPT_OPEN")


@pytest.mark.parametrize("together", [True, False])
def test_signals_are_taken_one_by_one_in_the_order_in_which_they_were_sent(together: bool) -> None:
    task = Task("w", "signal", input=constant({"name": "paid"}))
    told = Told(flow_of(task, conditions=[Condition("x", "w", "", "success", "w", "end")]))
    sent = [signal("paid", number, {"number": number}) for number in range(1, 6)]

    for part in [sent] if together else [[each] for each in sent]:
        parked = told.step(mail=part)

    received = [event.number for event in told.history if isinstance(event, SignalReceived)]
    assert received == [1, 2, 3, 4, 5]
    data = [entry.data["payload"]["number"] for entry in told.view.attempts if entry.status == "success"]
    assert data == [1, 2, 3, 4, 5]
    assert parked == Park(Wake(WakeReason.SIGNAL, FAR_AWAY, "paid"))


@pytest.mark.parametrize(
    ("input", "timeout", "wait"),
    [
        ({}, None, Wait("signal", None, "w")),
        ({"name": "paid"}, None, Wait("signal", None, "paid")),
        ({"timeout": 7}, None, Wait("signal", second(7), "w")),
        ({}, 8, Wait("signal", second(8), "w")),
        ({"timeout": 7}, 8, Wait("signal", second(7), "w")),
        ({"timeout": 9}, 8, Wait("signal", second(8), "w")),
    ],
)
def test_a_signal_is_waited_for_by_its_name_and_until_the_first_of_its_deadlines(
    input: dict[str, Any], timeout: int | None, wait: Wait
) -> None:
    told = waits("signal", SECONDS[timeout] if timeout is not None else None, **input)

    told.step(at=0)

    assert told.view.wait == wait


# -- an answer


YES = {"approved": True, "comment": "fine"}
NO = {"approved": False, "comment": "too much"}


@pytest.mark.parametrize(
    ("said", "by", "outcome", "data", "code"),
    [
        (YES, "ann", "success", YES | {"by": "ann"}, None),
        (YES, "", "success", YES | {"by": ""}, None),
        (NO, "ann", "failure", NO | {"by": "ann"}, "approval.rejected"),
        (NO, "", "failure", NO | {"by": ""}, "approval.rejected"),
        (None, "", "timeout", None, "approval.timeout"),
    ],
)
def test_an_approval_ends_with_its_answer_or_without_one(
    said: dict[str, Any] | None, by: str, outcome: str, data: Any, code: str | None
) -> None:
    told = waits("approval", question="Pay?", timeout=10)
    parked = told.step(at=0)

    mail = [] if said is None else [answer(1, said, by)]
    told.step(at=10, mail=mail)

    assert parked == Park(Wake(WakeReason.SIGNAL, second(10), "approval/1/1"))
    assert result(told) == (outcome, data, code)
    assert told.mail == []


def test_an_approval_tells_what_is_asked_in_which_form_and_of_whom() -> None:
    told = waits("approval", SECONDS[9], question="Pay?", form={"type": "object"}, answer_by=["ann", "bob"])

    told.step(at=0)

    form = {"type": "object"}
    assert told.view.wait == Wait("approval", second(9), "approval/1/1", 0, "Pay?", form, ("ann", "bob"))


def test_an_answer_is_for_one_question_and_not_for_the_next() -> None:
    task = Task("w", "approval", input=constant({"question": "Again?"}))
    told = Told(flow_of(task, conditions=[Condition("x", "w", "", "success", "w", "end")]))
    not_meant = [signal("approval/1/1", 1, YES), answer(2, YES, to="approval/1/2"), signal("w", 3)]

    parked = told.step(mail=not_meant)
    parked_again = told.step(mail=[answer(4, YES), answer(5, NO)])

    assert parked == Park(Wake(WakeReason.SIGNAL, FAR_AWAY, "approval/1/1"))
    assert parked_again == Park(Wake(WakeReason.SIGNAL, FAR_AWAY, "approval/2/1"))
    assert [each.number for each in told.mail] == [1, 2, 3, 5]


@pytest.mark.parametrize(("task_type", "said"), [("signal", None), ("approval", NO), ("approval", None)])
def test_what_people_did_or_did_not_do_is_not_retried(task_type: str, said: dict[str, Any] | None) -> None:
    input = {"question": "Pay?"} if task_type == "approval" else {}
    task = Task("w", task_type, input=constant(input), timeout=SECONDS[5], retry=RetryPolicy(max_attempts=9))
    told = Told(flow_of(task))
    told.step(at=0)

    action = told.step(at=5, mail=[] if said is None else [answer(1, said)])

    assert action == Finish(ExecutionStatus.FAILED)
    assert len(told.view.attempts) == 1


# -- one child


ONCE = RetryPolicy()


def parent(retry: RetryPolicy = ONCE, **input: Any) -> Told:
    return Told(flow_of(Task("w", "flow", input=constant(input), child=CHILD, retry=retry)))


def test_a_child_starts_with_its_input_and_is_waited_for() -> None:
    told = parent(input={"n": 7})

    parked = told.step(at=0)

    assert told.started == [ChildStart(CHILD, 1, 1, 0, {"n": 7})]
    assert parked == Park(Wake(WakeReason.CHILDREN, FAR_AWAY, "w"))
    assert told.view.wait == Wait("children", count=1)


def test_how_children_ended_is_asked_for_when_all_have_and_if_it_is_not_too_much() -> None:
    told = for_each(range(2), max_parallel=2)
    told.step(at=0)

    asked = told.step(at=1, children=Children(2, 0, 0, MOST_RESULT))
    told.step(at=1, children=Children(2, 0, 0, MOST_RESULT + 1))

    assert asked == LookAtChildren(1, 1, with_ends=True)
    assert told.view.attempts[0].error is not None
    assert told.view.attempts[0].error.code == "limit.output_size"


def test_a_parent_looks_at_its_child_before_it_decides() -> None:
    told = parent()
    told.step(at=0)

    look = told.step(at=1)
    still = told.step(at=1, children=children_at(still_open=1))

    assert look == LookAtChildren(1, 1)
    assert still == Park(Wake(WakeReason.CHILDREN, FAR_AWAY, "w"))
    assert (told.started, len(told.history)) == ([], 2)


@pytest.mark.parametrize(
    ("end", "outcome", "data", "error"),
    [
        (
            child_end(0, output={"n": 1}),
            "success",
            {"execution_id": "c0", "status": "completed", "output": {"n": 1}, "error": None},
            None,
        ),
        (
            child_end(0, "failed"),
            "failure",
            {
                "execution_id": "c0",
                "status": "failed",
                "output": None,
                "error": {"code": "child.0", "message": "it went wrong", "retryable": True, "details": None},
            },
            TaskError("child.0", "child c0: it went wrong"),
        ),
        (
            ChildEnd(0, "c0", ExecutionStatus.CANCELLED),
            "failure",
            {"execution_id": "c0", "status": "cancelled", "output": None, "error": None},
            TaskError("flow.failed", "child c0 ended as cancelled"),
        ),
    ],
)
def test_the_end_of_a_child_is_the_result_of_the_task(
    end: ChildEnd, outcome: str, data: Any, error: TaskError | None
) -> None:
    told = parent()
    told.step(at=0)

    told.step(at=5, children=children_at(end))

    entry = told.view.results["w"]
    assert (entry.status, entry.data, entry.error) == (outcome, data, error)


def test_a_retry_of_a_failed_child_is_another_child() -> None:
    told = parent(RetryPolicy(max_attempts=2, delay=SECONDS[8]))
    told.step(at=0)

    waiting = told.step(at=1, children=children_at(child_end(0, "failed")))
    told.step(at=3)

    assert waiting == Park(Wake(WakeReason.DUE, second(3)))
    assert told.started == [ChildStart(CHILD, 1, 2, 0, {})]
    assert told.step(at=4) == LookAtChildren(1, 2)


# -- many children


def for_each(items: Sequence[Any], flow: Flow | None = None, **input: Any) -> Told:
    task = Task("w", "for_each", input=constant({"items": list(items), **input}), child=CHILD)
    return Told(flow or flow_of(task))


def indexes(told: Told) -> list[int]:
    return [start.index for start in told.started]


def test_each_item_has_a_child_that_knows_it() -> None:
    told = for_each(["x", {"y": 1}], input={"shop": 3})

    told.step(at=0)

    assert [start.input for start in told.started] == [
        {"shop": 3, "item": "x", "index": 0},
        {"shop": 3, "item": {"y": 1}, "index": 1},
    ]
    assert told.view.wait == Wait("children", count=2)


def test_no_items_are_no_children_and_a_success_at_once() -> None:
    told = for_each([])

    action = told.step(at=0)

    assert action == Finish(ExecutionStatus.COMPLETED)
    assert result(told) == ("success", {"results": [], "failed": 0}, None)
    assert told.started == []


@pytest.mark.parametrize(
    ("items", "parallel", "started", "still_open", "more"),
    [
        (5, 10, 5, 3, []),
        (5, 2, 2, 2, []),
        (5, 2, 2, 1, [2]),
        (5, 2, 2, 0, [2, 3]),
        (5, 2, 4, 1, [4]),
        (5, 2, 4, 0, [4]),
        (5, 2, 5, 2, []),
        (5, 1, 3, 0, [3]),
        (5, 1, 3, 1, []),
        (1, 1, 1, 1, []),
    ],
)
def test_at_most_so_many_children_are_open_at_once(
    items: int, parallel: int, started: int, still_open: int, more: list[int]
) -> None:
    told = for_each(range(items), max_parallel=parallel)
    told.step(at=0)
    first = indexes(told)

    told.step(at=1, children=Children(started, still_open, 0))

    assert first == list(range(min(items, parallel)))
    assert indexes(told) == more
    assert told.view.phase.name == "WAITING"


def test_ten_children_are_open_at_once_unless_it_is_said_otherwise() -> None:
    told = for_each(range(100))

    told.step(at=0)

    assert indexes(told) == list(range(10))


@pytest.mark.parametrize(
    ("statuses", "tolerate", "outcome", "failed", "index"),
    [
        ("ccc", 0, "success", 0, None),
        ("cfc", 0, "failure", 1, 1),
        ("cfc", 1, "success", 1, None),
        ("cxf", 1, "failure", 2, 2),
        ("fff", 3, "success", 3, None),
        ("fff", 2, "failure", 3, 0),
    ],
)
def test_the_results_are_in_the_order_of_the_items_and_so_many_may_be_bad(
    statuses: str, tolerate: int, outcome: str, failed: int, index: int | None
) -> None:
    names = {"c": "completed", "f": "failed", "x": "cancelled"}
    told = for_each(statuses, tolerate=tolerate)
    told.step(at=0)

    ends = [child_end(place, names[letter], {"n": place}) for place, letter in enumerate(statuses)]
    told.step(at=1, children=children_at(*ends))

    entry = told.view.results["w"]
    assert (entry.status, entry.data["failed"]) == (outcome, failed)
    found = [(each["execution_id"], each["status"], each["output"]) for each in entry.data["results"]]
    assert found == [(f"c{place}", names[letter], {"n": place}) for place, letter in enumerate(statuses)]
    if index is None:
        assert entry.error is None
    else:
        assert entry.error is not None
        assert entry.error.code == "for_each.failed"
        assert entry.error.details["first"]["index"] == index
        assert entry.error.details["first"]["error"]["code"] == f"child.{index}"


@pytest.mark.parametrize(
    ("started", "still_open", "bad", "tolerate", "goes_on"),
    [(4, 2, 1, 0, False), (4, 2, 1, 1, True), (4, 2, 2, 1, False), (4, 0, 1, 0, False)],
)
def test_a_failure_that_is_not_tolerated_starts_no_more_children_and_cancels_the_open_ones(
    started: int, still_open: int, bad: int, tolerate: int, goes_on: bool
) -> None:
    told = for_each(range(9), max_parallel=4, tolerate=tolerate)
    told.step(at=0)

    ends = [child_end(place, "failed" if place < bad else "completed") for place in range(started)]
    look = Children(started, still_open, bad, 0, None if still_open else tuple(ends))
    told.step(at=1, children=look)

    assert bool(told.started) is goes_on
    assert told.said == ([ToChildren("cancel", 1, 1)] if still_open and not goes_on else [])
    assert told.view.phase.name == ("WAITING" if still_open else "ENDED")


def test_of_a_list_that_was_given_up_the_results_of_those_that_started_are_kept() -> None:
    told = for_each(range(9), max_parallel=2)
    told.step(at=0)

    told.step(at=1, children=children_at(child_end(0, "failed"), child_end(1, "cancelled")))

    entry = told.view.results["w"]
    assert [each["status"] for each in entry.data["results"]] == ["failed", "cancelled"]
    assert entry.message == "1 of 2 children failed"


@pytest.mark.parametrize("tolerate", [0, 5])
def test_results_that_are_too_large_together_fail_the_task(tolerate: int) -> None:
    half = {"text": "x" * (MOST_RESULT // 2)}
    told = for_each(range(2), tolerate=tolerate)
    told.step(at=0)

    told.step(at=1, children=children_at(child_end(0, output=half), child_end(1, output=half)))

    assert result(told) == ("failure", None, "limit.output_size")
    assert told.end == ("failed", "limit.output_size")


def test_the_items_may_come_from_an_expression_and_stay_what_they_were() -> None:
    task = Task("w", "for_each", child=CHILD, input=mapping(lambda scope: {
        "items": scope["results"]["a"]["data"]["items"], "max_parallel": 2,
    }))  # fmt: skip
    flow = flow_of("a", task, conditions=[Condition("x", "a", "", "success", "w", "end")])
    told = Told(flow)
    told.step()
    told.body(data={"items": ["x", "y", "z"]}).step(at=1)
    first = [start.input["item"] for start in told.started]

    told.step(at=9, children=Children(2, 1, 0))

    assert first == ["x", "y"]
    assert [start.input["item"] for start in told.started] == ["z"]


def test_a_list_that_cannot_be_read_any_more_cancels_what_is_open_and_fails_the_execution() -> None:
    items = mapping(lambda scope: {"items": [scope["secrets"]["key"]] * 3, "max_parallel": 2})
    told = Told(flow_of(Task("w", "for_each", child=CHILD, input=items)))
    told.step(secrets={"key": "x"})

    parked = told.step(at=1, children=Children(2, 1, 0))
    said = told.said
    ended = told.step(at=2, children=children_at(child_end(0), child_end(1, "cancelled")))

    assert (parked, said) == (Park(Wake(WakeReason.CHILDREN, FAR_AWAY, "w")), [ToChildren("cancel", 1, 1)])
    assert ended == Finish(ExecutionStatus.FAILED)
    assert told.end == ("failed", "expression.failed")
    assert told.tasks == ["w:cancelled"]


@pytest.mark.parametrize("task_type", ["flow", "for_each"])
def test_children_have_the_time_of_their_task_and_are_cancelled_when_it_is_up(task_type: str) -> None:
    input = constant({"items": [1, 2]} if task_type == "for_each" else {})
    task = Task("w", task_type, input=input, child=CHILD, timeout=SECONDS[10])
    told = Told(flow_of(task, "b", conditions=[Condition("x", "w", "", "timeout", "b", "end")]))
    one_open = children_at(still_open=1) if task_type == "flow" else children_at(child_end(0), still_open=1)

    parked = told.step(at=0)
    early = told.step(at=9.9, children=one_open)
    still_nothing_said = told.said
    late = told.step(at=10, children=one_open)
    said = told.said
    last = child_end(0, "cancelled") if task_type == "flow" else child_end(1, "cancelled")
    told.step(at=11, children=children_at(*(() if task_type == "flow" else (child_end(0),)), last))

    assert parked == early == Park(Wake(WakeReason.CHILDREN, second(10), "w"))
    assert (still_nothing_said, said) == ([], [ToChildren("cancel", 1, 1)])
    assert late == Park(Wake(WakeReason.CHILDREN, FAR_AWAY, "w"))
    assert result(told) == ("timeout", None, "task.timeout")
    assert told.tasks == ["w:timeout", "b:running"]


@pytest.mark.parametrize(
    ("statuses", "tolerate", "outcome"),
    [
        ("cc", 0, "success"),
        ("cf", 0, "failure"),
        ("cf", 1, "success"),
        ("cx", 1, "timeout"),
        ("c", 1, "timeout"),
        ("x", 1, "timeout"),
        ("f", 1, "timeout"),
    ],
)
def test_a_list_is_in_time_if_all_its_children_have_ended_however_late_it_is_looked_at(
    statuses: str, tolerate: int, outcome: str
) -> None:
    names = {"c": "completed", "f": "failed", "x": "cancelled"}
    input = constant({"items": [1, 2], "max_parallel": 1, "tolerate": tolerate})
    told = Told(flow_of(Task("w", "for_each", input=input, child=CHILD, timeout=SECONDS[10])))
    told.step(at=0)

    ends = [child_end(place, names[letter]) for place, letter in enumerate(statuses)]
    told.step(at=50, children=children_at(*ends))

    assert result(told)[0] == outcome
    assert told.started == []


def test_children_whose_time_is_up_are_retried_as_any_task_is() -> None:
    retry = RetryPolicy(max_attempts=2, delay=SECONDS[4], jitter="none")
    told = Told(flow_of(Task("w", "flow", child=CHILD, timeout=SECONDS[10], retry=retry)))
    told.step(at=0)
    told.step(at=10, children=children_at(still_open=1))

    waiting = told.step(at=11, children=children_at(child_end(0, "cancelled")))
    parked = told.step(at=15)

    assert waiting == Park(Wake(WakeReason.DUE, second(15)))
    assert parked == Park(Wake(WakeReason.CHILDREN, second(25), "w"))
    assert told.started == [ChildStart(CHILD, 1, 2, 0, {})]


# -- the same for all


@pytest.mark.parametrize(
    ("task_type", "input"),
    [("wait", {"for": 5}), ("signal", {"name": "w"}), ("flow", {}), ("for_each", {"items": [1]})],
)
@pytest.mark.parametrize("cuts", [[], [0], [0, 1], [0, 1, 2]])
def test_a_wait_is_the_same_after_a_crash(task_type: str, input: dict[str, Any], cuts: list[int]) -> None:
    task = Task("w", task_type, input=constant(input), child=CHILD)
    told = Told(flow_of(task))

    for number, (at, mail) in enumerate([(0.0, []), (1.0, []), (5.0, [signal("w", 1)])]):
        ends = [child_end(0)] if at == 5 else []
        told.step(at, mail=mail, children=children_at(*ends, still_open=not ends))
        if number in cuts:  # only the history is left
            mail_left, told = told.mail, Told(told.flow, *told.history[1:])
            told.mail = mail_left

    assert told.end == ("completed", None)
    assert told.tasks == ["w:success"]


def test_a_wait_needs_no_worker_and_no_code() -> None:
    told = waits("wait", **{"for": 5})

    parked = told.step(at=0, task_types=())

    assert parked == Park(Wake(WakeReason.DUE, second(5)))


def test_while_nothing_may_start_a_wait_does_not_begin_but_one_that_began_can_end() -> None:
    told = waits("wait", **{"for": 5})

    assert told.step(at=0, may_start=False) == Park(Wake(WakeReason.DUE, second(0)))
    told.step(at=0)
    told.step(at=5, may_start=False)

    assert result(told)[0] == "success"


def test_a_cancellation_comes_before_a_signal_that_came_with_it() -> None:
    told = waits("signal", name="paid")
    told.step(at=0)

    told.step(at=1, mail=[signal("paid", 1), cancellation(2)])

    assert told.end == ("cancelled", "execution.cancelled")
    assert not any(isinstance(event, SignalReceived) for event in told.history)


def test_conditions_see_what_was_waited_for() -> None:
    paid = expression(lambda scope: scope["result"]["data"]["payload"]["sum"] > 5)
    task = Task("w", "signal")
    flow = flow_of(task, "b", "c", conditions=[Condition("x", "w", "", "success", "b", "c", when=paid)])

    chosen = {}
    for sum_paid in (7, 3):
        told = Told(flow)
        told.step(mail=[signal("w", 1, {"sum": sum_paid})])
        chosen[sum_paid] = told.view.task

    assert chosen == {7: "b", 3: "c"}


def mail_of(*kinds: str) -> list[Mail]:
    return [signal(kind, number) for number, kind in enumerate(kinds, 1)]


def test_a_signal_nobody_waits_for_does_not_disturb_a_body() -> None:
    told = Told(flow_of("a"))
    told.step(mail=mail_of("paid"))

    told.body().step(at=1)

    assert told.end == ("completed", None)
    assert [type(event) for event in told.history if isinstance(event, SignalReceived | AttemptEnded)] == [
        AttemptEnded
    ]
