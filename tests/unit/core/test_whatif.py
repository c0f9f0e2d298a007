from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from flow_manager.core.definition import Flow
from flow_manager.core.events import (
    AttemptReleased,
    AttemptStarted,
    Event,
    ExecutionPaused,
    ExecutionRerun,
    ExecutionResumed,
    ExecutionRetried,
    ExecutionStarted,
    ResultGiven,
)
from flow_manager.core.parser import FlowParser
from flow_manager.core.simulation.mocks import parse_simulation
from flow_manager.core.simulation.replay import Difference, Need
from flow_manager.core.simulation.simulate import simulate
from flow_manager.core.simulation.whatif import Comparison, WhatIf, summary_of, what_if
from tests.support.documents import document, task

SAME = Comparison("same")


def flow_of(*tasks: Mapping[str, Any], **fields: Any) -> Flow:
    return FlowParser().parse(document(*tasks, **fields))


def recorded(flow: Flow, **told: Any) -> Sequence[Event]:
    return simulate(flow, parse_simulation(told, flow)).events


def condition(source: str, to: str, otherwise: str = "end", **fields: Any) -> dict[str, Any]:
    name = f"c-{source}-{to}"
    return {
        "name": name,
        "source_task": source,
        "target_task_success": to,
        "target_task_failure": otherwise,
        **fields,
    }


PAID = flow_of(task("shop.charge"), task("shop.ship"))
"""task1, then task2."""


def test_a_flow_that_was_not_edited_takes_the_recorded_route() -> None:
    assert what_if(PAID, recorded(PAID)) == SAME


@pytest.mark.parametrize("kind", [ExecutionRetried, ExecutionRerun, ResultGiven])
def test_a_recording_reaches_as_far_as_the_flow_went_by_itself(kind: type[Event]) -> None:
    history = list(recorded(PAID, mocks={"task2": [{"error": {"code": "shop.closed"}}]}))
    intervened = [*history[:4], kind(history[3].at), *history[4:]]  # type: ignore[call-arg]

    assert what_if(PAID, intervened) == SAME
    assert what_if(flow_of(task("shop.charge")), intervened) == Comparison(
        "differs", Difference("task1", 1, "still open", "end: completed")
    )


def test_a_pause_changes_no_route() -> None:
    history = list(recorded(PAID))
    at = history[3].at

    assert what_if(PAID, [*history[:3], ExecutionPaused(at), ExecutionResumed(at), *history[3:]]) == SAME


def test_an_edited_condition_takes_another_route() -> None:
    edited = flow_of(
        task("shop.charge"),
        task("shop.ship"),
        conditions=[condition("task1", "task2", when="result.data.sum > 10")],
    )

    big = what_if(edited, recorded(PAID, mocks={"task1": [{"data": {"sum": 11}}]}))
    small = what_if(edited, recorded(PAID, mocks={"task1": [{"data": {"sum": 9}}]}))

    assert big == SAME
    assert small == Comparison("differs", Difference("task1", 1, "task2", "end: completed"))


def test_a_result_that_was_never_recorded_is_needed() -> None:
    edited = flow_of(task("shop.charge"), task("shop.check"), task("shop.ship"))

    found = what_if(edited, recorded(flow_of(task("shop.charge"))))

    assert found == Comparison(
        "needs", Difference("task1", 1, "end: completed", "task2"), Need("task2", 1, 1)
    )


def test_another_start_is_a_difference_at_the_start() -> None:
    edited = flow_of(task("a", name="task2"), task("b", name="task1"))

    found = what_if(edited, recorded(PAID))

    assert found.difference == Difference("", 0, "task1", "task2")


def test_another_end_is_a_difference() -> None:
    edited = flow_of(task("shop.charge"), task("fail"), conditions=[condition("task1", "task2")])

    found = what_if(edited, recorded(PAID))

    assert found == Comparison("differs", Difference("task2", 2, "end: completed", "end: failed"))


def test_a_task_that_is_skipped_now_is_a_difference() -> None:
    edited = flow_of(task("shop.charge"), task("shop.ship", run_when="input.big"))

    big = what_if(edited, recorded(PAID, input={"big": True}))
    small = what_if(edited, recorded(PAID, input={"big": False}))

    assert big == SAME
    assert small == Comparison("differs", Difference("task1", 1, "task2", "task2 (skipped)"))


def test_a_task_that_was_skipped_has_no_result() -> None:
    original = flow_of(task("shop.charge"), task("shop.ship", run_when="false"))

    found = what_if(PAID, recorded(original))

    assert found == Comparison(
        "needs", Difference("task1", 1, "task2 (skipped)", "task2"), Need("task2", 1, 1)
    )


def test_results_are_used_in_the_order_of_the_runs_of_their_task() -> None:
    loop = [condition("task1", "task1", when="result.data.n < 3"), condition("task1", "task2")]
    original = flow_of(task("poll"), task("x"), conditions=loop)
    history = recorded(original, mocks={"task1": [{"data": {"n": n}} for n in (1, 2, 3)]})
    sooner = [condition("task1", "task1", when="result.data.n < 2"), loop[1]]
    later = [condition("task1", "task1", when="result.data.n < 4"), loop[1]]

    assert what_if(original, history) == SAME
    assert what_if(flow_of(task("poll"), task("x"), conditions=sooner), history).difference == Difference(
        "task1", 2, "task1", "task2"
    )
    assert what_if(flow_of(task("poll"), task("x"), conditions=later), history).need == Need("task1", 4, 1)


# -- attempts


def retried(most: int, **fields: Any) -> Flow:
    return flow_of(task("x", retry={"max_attempts": most, "jitter": "none", **fields}), task("y"))


def test_attempts_are_replayed_as_they_were() -> None:
    busy = {"error": {"code": "shop.busy"}}
    history = recorded(retried(3), mocks={"task1": [busy, busy, {}]})

    assert what_if(retried(3), history) == SAME
    assert what_if(retried(9), history) == SAME
    assert what_if(retried(3, delay="1h", max_delay="2h"), history) == SAME
    assert what_if(retried(2), history).difference == Difference("task1", 1, "task2", "end: failed")
    assert what_if(retried(3, never_on=["shop"]), history).outcome == "differs"
    assert what_if(retried(3, delay="1h", max_delay="2h", budget="90m"), history).outcome == "differs"


def test_an_attempt_more_than_was_recorded_is_needed() -> None:
    history = recorded(retried(2), mocks={"task1": [{"outcome": "failure"}]})

    assert what_if(retried(3), history).need == Need("task1", 1, 3)


def test_a_jittered_wait_that_was_recorded_fits_its_budget() -> None:
    flow = flow_of(task("x", retry={"max_attempts": 4, "delay": "10s", "budget": "25s"}))

    for chance in (0.0, 0.3, 0.6, 0.99):
        history = recorded(flow, mocks={"task1": [{"outcome": "failure", "duration": 1}]}, chance=chance)
        assert what_if(flow, history) == SAME


def test_a_lost_attempt_is_lost_again() -> None:
    careful = flow_of(task("x", on_lost="unknown"), task("y"))
    history = recorded(PAID, faults=[{"after": "task1"}])

    assert what_if(PAID, history) == SAME
    assert what_if(careful, history).difference == Difference("task1", 1, "task2", "end: failed")
    assert what_if(PAID, recorded(careful, faults=[{"after": "task1"}])).need == Need("task1", 1, 2)


def test_an_attempt_that_was_given_back_counts_as_its_next_start() -> None:
    began, started, *rest = recorded(PAID)
    assert isinstance(started, AttemptStarted)
    released = AttemptReleased(started.at, started.task, started.run, started.attempt)

    assert what_if(PAID, [began, started, released, started, *rest]) == SAME


# -- time


def test_the_timeout_of_a_flow_is_held_against_the_recorded_times() -> None:
    history = recorded(PAID, mocks={"task1": [{"duration": "2m"}]})

    assert what_if(flow_of(task("x"), task("y"), timeout="3m"), history) == SAME
    assert what_if(flow_of(task("x"), task("y"), timeout="1m"), history).difference == Difference(
        "task1", 1, "task2", "end: failed"
    )


def test_a_longer_wait_counts_against_the_timeout_of_a_flow() -> None:
    def waiting(duration: str) -> Flow:
        return flow_of(task("wait", {"for": duration}), task("x"), timeout="1h")

    history = recorded(waiting("1m"))

    assert what_if(waiting("59m"), history) == SAME
    assert what_if(waiting("61m"), history).difference == Difference("task1", 1, "task2", "end: failed")


# -- signals, answers, children


def signalled(**fields: Any) -> Flow:
    return flow_of(task("signal", {"name": "paid", **fields}), task("x"))


def test_a_recorded_signal_comes_again() -> None:
    history = recorded(signalled(timeout="2h"), signals=[{"name": "paid", "after": "1h"}])

    assert what_if(signalled(timeout="2h"), history) == SAME
    assert what_if(signalled(timeout="3h"), history) == SAME
    assert what_if(signalled(), history) == SAME
    assert what_if(signalled(timeout="30m"), history).difference == Difference(
        "task1", 1, "task2", "end: failed"
    )


def test_a_recorded_timeout_of_a_signal_is_one_again() -> None:
    history = recorded(signalled(timeout="1h"))

    assert what_if(signalled(timeout="1h"), history) == SAME
    assert what_if(signalled(timeout="30m"), history) == SAME


def test_a_recorded_answer_comes_again() -> None:
    asking = flow_of(task("approval", {"question": "Ship?"}), task("x"))
    history = recorded(asking, mocks={"task1": [{"data": {"approved": False}, "duration": "1d"}]})
    patient = flow_of(
        task("approval", {"question": "Ship?"}),
        task("x"),
        conditions=[condition("task1", "task2", outcome="failure")],
    )

    assert what_if(asking, history) == SAME
    assert what_if(patient, history).difference == Difference("task1", 1, "end: failed", "task2")


def test_the_results_of_children_are_those_that_were_recorded() -> None:
    child = document(task("x"), flow_id="child")["flow"]
    flow = flow_of(task("for_each", {"flow": child, "items": [1, 2]}), task("y"))

    assert what_if(flow, recorded(flow, mocks={"task1/task1": [{"duration": "1h"}]})) == SAME


def test_what_was_undone_is_undone_again() -> None:
    def undoable(*more: Mapping[str, Any], **fields: Any) -> Flow:
        booked = task("book", name="book", compensate_with="undo", **fields)
        conditions = [condition("book", "pay")]
        return flow_of(booked, task("pay", name="pay"), task("undo", name="undo"), conditions=conditions)

    history = recorded(undoable(), mocks={"pay": [{"outcome": "failure"}], "undo": [{"duration": "1m"}]})

    assert what_if(undoable(), history) == SAME
    assert what_if(undoable(optional=True), history) == SAME


def test_a_compensation_that_never_ran_is_needed() -> None:
    plain = flow_of(task("book"), task("pay"), task("undo"), conditions=[condition("task1", "task2")])
    undoing = flow_of(
        task("book", compensate_with="task3"),
        task("pay"),
        task("undo"),
        conditions=[condition("task1", "task2")],
    )

    found = what_if(undoing, recorded(plain, mocks={"task2": [{"outcome": "failure"}]}))

    assert found == Comparison("needs", None, Need("task3", 1, 1))


# -- open and odd histories


def test_an_execution_that_has_not_ended_is_the_same_as_far_as_it_has_come() -> None:
    asking = flow_of(task("x"), task("approval", {"question": "Ship?"}), task("y"))
    history = recorded(asking)

    assert what_if(asking, history) == SAME
    for length in range(1, len(history) + 1):
        assert what_if(asking, history[:length]) == SAME


def test_an_input_that_the_edited_flow_refuses_is_a_difference() -> None:
    strict = flow_of(task("x"), task("y"), input_schema={"required": ["sum"]})

    found = what_if(strict, recorded(PAID))

    assert found.difference == Difference("", 0, "task1", "refused: the input does not fit")


def test_what_does_not_begin_with_a_start_is_no_history() -> None:
    history = recorded(PAID)

    with pytest.raises(ValueError, match="begins with the start"):
        what_if(PAID, history[1:])


def test_expressions_see_the_execution_as_it_was() -> None:
    history = recorded(PAID, labels={"team": "shop"})
    edited = flow_of(
        task("x"),
        task("y"),
        conditions=[
            condition("task1", "task2", when="execution.labels.team == 'shop' && execution.id == 'e7'")
        ],
    )

    assert WhatIf(edited).compare(history, "e7") == SAME
    assert WhatIf(edited).compare(history, "e8").outcome == "differs"


# -- many


def test_a_summary_counts_outcomes_differences_and_needs() -> None:
    difference = Difference("task1", 1, "task2", "end: completed")
    comparisons = [
        SAME,
        Comparison("differs", difference),
        Comparison("differs", difference),
        Comparison("needs", None, Need("task3", 1, 1)),
    ]

    assert summary_of(comparisons) == {
        "same": 1,
        "differs": 2,
        "needs": 1,
        "differences": [{"task": "task1", "recorded": "task2", "new": "end: completed", "executions": 2}],
        "needed": [{"task": "task3", "executions": 1}],
    }
    assert comparisons[1].to_json() == {"outcome": "differs", "difference": msgspec.to_builtins(difference)}


def test_a_recorded_start_is_not_changed() -> None:
    schema = {"properties": {"n": {"default": 3}}}
    history = recorded(PAID)
    began = history[0]

    what_if(flow_of(task("x"), task("y"), input_schema=schema), history)

    assert isinstance(began, ExecutionStarted)
    assert began.input == {}
