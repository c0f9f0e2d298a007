"""How a task run begins: whether it is wanted, what it is given, and what needs no worker."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flow_manager.core.children import MOST_DEPTH
from flow_manager.core.decide import MOST_EVENTS_PER_STEP, next_action
from flow_manager.core.decision import Circumstances, Finish, Park, Plan, RunAttempt
from flow_manager.core.definition import Condition, RetryPolicy, Task
from flow_manager.core.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    ExecutionEnded,
    Routed,
    TaskSkipped,
)
from flow_manager.core.results import TaskError
from flow_manager.core.schemas import Schema
from flow_manager.core.starting import MOST_EVENTS
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.core.steps import STEP_TYPES
from tests.support.expressions import FakeExpression, constant, expression, mapping
from tests.support.flows import flow_of
from tests.support.told import START, Told, child_of, children_at, second

CHILD = flow_of("a")
ALWAYS, NEVER = expression(lambda _: True), expression(lambda _: False)
BROKEN = expression(lambda scope: scope["nothing"], "nothing.at.all")


def step(task_type: str, **input: Any) -> Task:
    return Task("s", task_type, input=constant(input), child=CHILD)


def after(source: str, target: str, otherwise: str = "end") -> Condition:
    return Condition(f"after_{source}", source, "", "success", target, otherwise)


# -- what a task is given


def test_a_task_without_an_input_is_given_nothing() -> None:
    action = Told(flow_of("a")).step()

    assert isinstance(action, RunAttempt)
    assert action.input == {}


def test_a_constant_input_is_not_evaluated_in_any_scope() -> None:
    given = constant({"n": 1})

    action = Told(flow_of(Task("a", "a", input=given))).step(secrets={"key": "value"})

    assert isinstance(action, RunAttempt)
    assert action.input == {"n": 1}
    assert isinstance(given, FakeExpression)
    assert list(given.scopes) == [{}]


def test_an_input_sees_the_execution_the_earlier_results_and_the_secrets() -> None:
    given = mapping(lambda scope: {"id": scope["execution"]["id"], "rows": scope["results"]["a"]["data"]})
    told = Told(flow_of("a", Task("b", "b", input=given), conditions=[after("a", "b")]), input={"n": 1})
    told.step()

    action = told.body(data={"rows": 3}).step(at=7, secrets={"key": "value"})

    assert isinstance(action, RunAttempt)
    assert action.input == {"id": "e1", "rows": {"rows": 3}}
    assert isinstance(given, FakeExpression)
    (scope,) = given.scopes
    assert (scope["input"], scope["now"], scope["secrets"]) == ({"n": 1}, second(7), {"key": "value"})
    assert scope["execution"] == {"id": "e1", "started_at": START, "labels": {}, "task_runs": 1}
    assert scope["flow"] == {"id": "test", "version": 0}


def test_every_attempt_of_a_run_is_given_the_same() -> None:
    seen = mapping(lambda scope: {
        "now": scope["now"],
        "runs": scope["execution"]["task_runs"],
        "results": {name: scope["results"][name]["data"] for name in scope["results"]},
    })  # fmt: skip
    task = Task("b", "b", input=seen, retry=RetryPolicy(max_attempts=5, delay=timedelta(seconds=4)))
    flow = flow_of("a", task, conditions=[after("a", "b"), after("b", "b")])
    told = Told(flow)
    told.step(at=0)
    actions = [told.body(data={"from": "a"}, at=1).step(at=2)]

    told.body("failure", {"tried": 1}, at=3).step(at=3)
    actions.append(told.step(at=9))
    actions.append(told.step(at=12))  # the worker was lost
    told.body("failure", {"tried": 3}, at=13).step(at=13)
    actions.append(told.step(at=50))
    again = told.body(data={"from": "b"}, at=60).step(at=61)

    given = [action.input for action in actions if isinstance(action, RunAttempt)]
    assert given == [{"now": second(2), "runs": 1, "results": {"a": {"from": "a"}}}] * 4
    assert isinstance(again, RunAttempt)
    assert again.input == {
        "now": second(61), "runs": 2, "results": {"a": {"from": "a"}, "b": {"from": "b"}},
    }  # fmt: skip


def test_an_input_that_has_no_value_fails_the_execution_and_is_named() -> None:
    told = Told(flow_of(Task("a", "a", input=mapping(lambda scope: scope["nothing"], "nothing.at.all"))))

    action = told.step()

    assert action == Finish(ExecutionStatus.FAILED)
    error = told.view.error
    assert error is not None
    assert (error.code, error.retryable) == ("expression.failed", False)
    assert error.details["where"] == "the input of task 'a'"
    assert told.recorded == ["ExecutionEnded"]


# -- whether it is wanted


def test_a_run_that_is_not_wanted_is_skipped_and_routes_as_a_success() -> None:
    task = Task("s", "a", run_when=NEVER)
    told = Told(flow_of(task, "b", "c", conditions=[after("s", "b", "c")]))

    action = told.step(at=5)

    assert told.plan.events == [
        TaskSkipped(second(5), "s", 1),
        Routed(second(5), "s", "b", "after_s", matched=True, outcome="success"),
        AttemptStarted(second(5), "b", 2),
    ]
    assert isinstance(action, RunAttempt)
    assert told.tasks == ["s:skipped", "b:running"]


@pytest.mark.parametrize(
    "conditions", [[], [after("s", "end")], [Condition("x", "s", "", "failure", "end", "end")]]
)
def test_a_flow_may_end_with_a_skipped_task_and_is_completed(conditions: list[Condition]) -> None:
    told = Told(flow_of(Task("s", "a", run_when=NEVER), conditions=conditions))

    action = told.step()

    assert action == Finish(ExecutionStatus.COMPLETED)
    assert told.end == ("completed", None)


@pytest.mark.parametrize("task_type", ["a", "unheard-of", *STEP_TYPES])
def test_a_task_of_any_type_can_be_skipped(task_type: str) -> None:
    task = Task("s", task_type, run_when=NEVER, input=BROKEN_INPUT, child=CHILD)
    told = Told(flow_of(task, "b", conditions=[after("s", "b")]))

    told.step(may_start=True)

    assert told.tasks == ["s:skipped", "b:running"]


BROKEN_INPUT = mapping(lambda scope: scope["nothing"])


def test_conditions_and_later_tasks_see_that_a_task_was_skipped() -> None:
    was_skipped = expression(lambda scope: scope["result"]["status"] == "skipped")
    status = mapping(lambda scope: {"status": scope["results"]["s"]["status"]})
    chosen = Condition("x", "s", "", "success", "b", "c", when=was_skipped)
    flow = flow_of(Task("s", "a", run_when=NEVER), Task("b", "b", input=status), "c", conditions=[chosen])

    action = Told(flow).step()

    assert isinstance(action, RunAttempt)
    assert (action.task.name, action.input) == ("b", {"status": "skipped"})


def test_what_is_wanted_is_decided_once_for_each_run() -> None:
    twice = FakeExpression(lambda scope: scope["execution"]["task_runs"] != 1, "twice")
    task = Task("s", "a", run_when=expression(twice.evaluate), retry=RetryPolicy(max_attempts=3))
    told = Told(flow_of(task, conditions=[after("s", "s")], max_task_runs=3))

    told.step()
    told.body("failure").step(at=0)
    told.step(at=5)
    told.body(at=5).step(at=6)

    assert told.tasks == ["s:failure", "s:success", "s:skipped", "s:running"]
    assert [entry.run for entry in told.view.attempts] == [1, 1, 2, 3]
    assert [scope["now"] for scope in twice.scopes] == [second(0), second(6), second(6)]


def test_a_run_when_that_has_no_value_fails_the_execution_and_is_named() -> None:
    told = Told(flow_of(Task("s", "a", run_when=BROKEN)))

    told.step()

    error = told.view.error
    assert error is not None
    assert (error.code, error.details["where"]) == ("expression.failed", "run_when of task 's'")
    assert "nothing" in error.message


def test_skipped_runs_count_towards_the_most_task_runs() -> None:
    task = Task("s", "a", run_when=NEVER)
    told = Told(flow_of(task, conditions=[after("s", "s")], max_task_runs=7))

    action = told.step()

    assert action == Finish(ExecutionStatus.FAILED)
    assert told.end == ("failed", "limit.task_runs")
    assert told.tasks == ["s:skipped"] * 7


# -- what has its result at once


@pytest.mark.parametrize(
    ("task", "outcome", "data", "code", "end"),
    [
        (step("transform", n=1, deep={"a": [1, None]}), "success", {"n": 1, "deep": {"a": [1, None]}}, None,
         ("running", None)),
        (step("transform"), "success", {}, None, ("running", None)),
        (step("succeed"), "success", None, None, ("completed", None)),
        (step("succeed", message="done", output={"n": 1}), "success", {"n": 1}, None, ("completed", None)),
        (step("fail"), "failure", None, "flow.failed", ("failed", "flow.failed")),
        (step("fail", code="shop.closed", message="come back later", output={"n": 1}), "failure", {"n": 1},
         "shop.closed", ("failed", "shop.closed")),
    ],
)  # fmt: skip
def test_a_task_without_a_body_has_its_result_at_once(
    task: Task, outcome: str, data: Any, code: str | None, end: tuple[str, str | None]
) -> None:
    told = Told(flow_of(task, "b", conditions=[after("s", "b", "b")]))

    told.step(at=5, task_types="b")

    entry = told.view.results["s"]
    assert (entry.status, entry.data) == (outcome, data)
    assert (None if entry.error is None else entry.error.code) == code
    assert entry.started_at == entry.ended_at == second(5)
    assert told.end == end


@pytest.mark.parametrize(("task_type", "status"), [("succeed", "completed"), ("fail", "failed")])
def test_an_early_end_has_its_reason_and_its_output(task_type: str, status: str) -> None:
    told = Told(
        flow_of(step(task_type, message="enough", output={"n": 1}), "b", conditions=[after("s", "b", "b")])
    )

    action = told.step()

    assert action == Finish(ExecutionStatus(status))
    assert (told.view.output, told.view.results["s"].message) == ({"n": 1}, "enough")
    assert told.recorded == ["AttemptStarted", "AttemptEnded", "ExecutionEnded"]
    assert (told.view.error is None) == (status == "completed")


def test_an_early_end_that_is_not_wanted_does_not_end_the_flow() -> None:
    task = Task("s", "fail", run_when=NEVER)
    told = Told(flow_of(task, "b", conditions=[after("s", "b")]))

    action = told.step()

    assert isinstance(action, RunAttempt)


def test_an_early_end_is_the_end_though_the_task_is_optional() -> None:
    task = Task("s", "fail", optional=True, retry=RetryPolicy(max_attempts=9))
    told = Told(flow_of(task, "b", conditions=[after("s", "b", "b")]))

    told.step()

    assert told.end == ("failed", "flow.failed")


@pytest.mark.parametrize(
    ("task", "place"),
    [
        (step("wait"), "a wait has either 'for' or 'until'"),
        (step("wait", **{"for": 5, "until": "2026-01-14T10:30:00Z"}), "a wait has either 'for' or 'until'"),
        (step("wait", until="tomorrow"), "'until' is not a time"),
        (step("wait", until="2026-01-14T10:30:00"), "a time needs its zone"),
        (step("wait", **{"for": 0}), "for: "),
        (step("wait", **{"for": "367d"}), "for: "),
        (step("signal", nam="paid"), "nam: "),
        (step("signal", name="a name"), "name: "),
        (step("approval"), "question: "),
        (step("approval", question="Pay?", form=[1]), "form: "),
        (step("flow", input=[1]), "input: "),
        (step("for_each"), "items: "),
        (step("for_each", items={"a": 1}), "items: "),
        (step("for_each", items=[1] * 10_001), "items: "),
        (step("for_each", items=[1], max_parallel=0), "max_parallel: "),
        (step("for_each", items=[1], tolerate=-1), "tolerate: "),
    ],
)  # fmt: skip
def test_an_input_that_does_not_fit_is_a_failure_of_the_task_that_can_be_routed(
    task: Task, place: str
) -> None:
    expected = Condition("x", "s", "", "failure", "b", "end")
    told = Told(flow_of(replace(task, retry=RetryPolicy(max_attempts=9)), "b", conditions=[expected]))

    told.step()

    error = told.view.results["s"].error
    assert error is not None
    assert (error.code, error.retryable) == ("task.input_invalid", False)
    assert place in error.message
    assert told.tasks == ["s:failure", "b:running"]


@pytest.mark.parametrize(
    "task", [step("succeed", why="so"), step("fail", why="so"), step("fail", code="No Code")]
)
def test_an_early_end_with_an_input_that_does_not_fit_is_a_failed_end(task: Task) -> None:
    told = Told(flow_of(task, "b", conditions=[after("s", "b", "b")]))

    told.step()

    assert told.end == ("failed", "task.input_invalid")


@pytest.mark.parametrize(
    ("task", "outcome"),
    [
        (step("transform", n=1), "success"),
        (step("transform", n="one"), "failure"),
        (step("succeed", output={"n": 1}), "success"),
        (step("succeed", output={"n": "one"}), "failure"),
        (step("fail", output={"n": "one"}), "failure"),
    ],
)
def test_the_result_of_a_task_without_a_body_must_fit_its_schema(task: Task, outcome: str) -> None:
    schema = Schema.compile({"properties": {"n": {"type": "integer"}}, "required": ["n"]})
    told = Told(flow_of(replace(task, output_schema=schema), conditions=[after("s", "end")]))

    told.step()

    entry = told.view.results["s"]
    assert entry.status == outcome
    if task.type == "fail":
        assert told.end == ("failed", "flow.failed")
    elif outcome == "failure":
        assert told.end == ("failed", "task.output_invalid")
        assert entry.data is None


def test_a_form_that_is_no_schema_is_a_failure_of_the_task() -> None:
    told = Told(flow_of(step("approval", question="Pay?", form={"type": "nonsense"})))

    told.step()

    assert told.end == ("failed", "task.input_invalid")
    assert told.view.error is not None
    assert "form" in told.view.error.message


@pytest.mark.parametrize(
    ("task", "inputs", "place"),
    [
        (step("flow", input={"n": 1}), [{"n": 1, "unit": "kg"}], None),
        (step("flow", input={"n": 1, "unit": "t"}), [{"n": 1, "unit": "t"}], None),
        (step("flow", input={"n": "one"}), [], "child 0"),
        (step("flow"), [], "child 0"),
        (
            step("for_each", items=["x"], input={"n": 1}),
            [{"n": 1, "item": "x", "index": 0, "unit": "kg"}],
            None,
        ),
        (step("for_each", items=["x", 5], input={"n": 1}), [], "child 1"),
    ],
)
def test_children_are_given_what_fits_their_flow_or_none_is_started(
    task: Task, inputs: list[dict[str, Any]], place: str | None
) -> None:
    fields = {"n": {"type": "integer"}, "unit": {"default": "kg"}, "item": {"type": "string"}}
    child = replace(CHILD, input_schema=Schema.compile({"properties": fields, "required": ["n"]}))
    told = Told(flow_of(replace(task, child=child)))

    told.step()

    assert [start.input for start in told.started] == inputs
    if place is not None:
        assert told.end == ("failed", "task.input_invalid")
        assert told.view.error is not None
        assert place in told.view.error.message


def test_a_step_that_has_no_time_left_lets_others_have_their_turn() -> None:
    tasks = [Task(f"t{each}", "transform") for each in range(9)]
    flow = flow_of(*tasks, conditions=[after(f"t{each}", f"t{each + 1}") for each in range(8)])
    view, turns, plan = Told(flow).view, 0, Plan()
    given = Circumstances(second(0), 0.0, ())

    while not view.is_ended:
        plan, turns = Plan(), turns + 1
        action = next_action(flow, view, plan, given, lambda: False)
        assert view.is_ended or action == Park(Wake(WakeReason.DUE, second(0)))
        assert plan.events

    assert turns >= 7
    assert [entry.status for entry in view.attempts] == ["success"] * 9


@pytest.mark.parametrize("number", [1, 10, 60, 150, 500])
def test_many_tasks_without_a_body_in_a_row_let_others_have_their_turn(number: int) -> None:
    tasks = [Task(f"t{each}", "transform") for each in range(number)]
    following = [after(f"t{each}", f"t{each + 1}") for each in range(number - 1)]
    told = Told(flow_of(*tasks, conditions=following))

    steps: list[int] = []
    while not told.view.is_ended:
        action = told.step(at=len(steps))
        steps.append(len(told.plan.events))
        assert action == (
            Finish(ExecutionStatus.COMPLETED)
            if told.view.is_ended
            else Park(Wake(WakeReason.DUE, second(len(steps) - 1)))
        )

    assert max(steps) <= MOST_EVENTS_PER_STEP + 2
    assert sum(steps) == 3 * number + 1
    assert len(steps) == -(-3 * number // (MOST_EVENTS_PER_STEP + 1)) or number < 60
    assert told.tasks == [f"t{each}:success" for each in range(number)]


def test_a_loop_of_tasks_without_a_body_ends_at_the_most_task_runs() -> None:
    told = Told(flow_of(Task("s", "transform"), conditions=[after("s", "s")], max_task_runs=1000))

    while not told.view.is_ended:
        told.step()

    assert told.end == ("failed", "limit.task_runs")
    assert len(told.view.attempts) == 1000


# -- bounds


@pytest.mark.parametrize(
    ("depth", "is_too_deep"), [(None, False), (1, False), (MOST_DEPTH - 1, False), (MOST_DEPTH, True)]
)
@pytest.mark.parametrize("task", [step("flow"), step("for_each", items=[1])])
def test_children_of_children_are_bounded(task: Task, depth: int | None, is_too_deep: bool) -> None:
    expected = Condition("x", "s", "", "failure", "b", "end")
    link = None if depth is None else child_of(depth)
    told = Told(flow_of(task, "b", conditions=[expected]), parent=link)

    told.step()

    if is_too_deep:
        error = told.view.results["s"].error
        assert error is not None
        assert error.code == "limit.depth"
        assert told.tasks == ["s:failure", "b:running"]
        assert told.started == []
    else:
        assert told.tasks == ["s:waiting"]
        assert len(told.started) == 1


@pytest.mark.parametrize(("events", "goes_on"), [(MOST_EVENTS, True), (MOST_EVENTS + 3, False)])
def test_a_history_that_is_too_long_ends_the_execution_before_its_next_task_run(
    events: int, goes_on: bool
) -> None:
    history: list[Event] = []
    for run in range(1, events // 3 + 1):
        history += [
            AttemptStarted(START, "a", run),
            AttemptEnded(START, "a", run),
            Routed(START, "a", "a", "x"),
        ]
    told = Told(flow_of("a", conditions=[after("a", "a")], max_task_runs=10**6), *history)

    action = told.step()

    if goes_on:
        assert isinstance(action, RunAttempt)
    else:
        (end,) = told.plan.events
        assert isinstance(end, ExecutionEnded)
        assert told.end == ("failed", "limit.history")
    assert told.view.last_seq <= MOST_EVENTS + 5


# -- the output of the flow


def test_the_output_of_a_flow_is_made_of_what_its_tasks_left() -> None:
    total = mapping(lambda scope: {"total": scope["results"]["a"]["data"]["n"] + scope["input"]["n"]})
    told = Told(replace(flow_of("a"), output=total), input={"n": 1})
    told.step()

    told.body(data={"n": 2}).step()

    assert (told.end, told.view.output) == (("completed", None), {"total": 3})


def test_an_output_that_has_no_value_fails_the_execution() -> None:
    told = Told(replace(flow_of("a"), output=BROKEN_INPUT))
    told.step()

    told.body().step()

    assert told.end == ("failed", "expression.failed")
    assert told.view.error is not None
    assert told.view.error.details["where"] == "the output of the flow"


def test_a_condition_that_has_no_value_routes_nowhere_and_is_named() -> None:
    broken = Condition("is_paid", "a", "", "success", "b", "b", when=BROKEN)
    told = Told(flow_of("a", "b", conditions=[broken]))
    told.step()

    told.body().step()

    assert told.tasks == ["a:success"]
    assert told.view.error == TaskError(
        "expression.failed",
        "condition 'is_paid' could not be evaluated: no such key: 'nothing'",
        retryable=False,
        details={
            "where": "condition 'is_paid'",
            "expression": "nothing.at.all",
            "reason": "no such key: 'nothing'",
        },
    )


def test_a_condition_is_only_asked_about_an_outcome_that_it_expects() -> None:
    asked = FakeExpression(lambda _: True, "asked")
    chain = [
        Condition("x", "a", "", "timeout", "end", "end", when=expression(asked.evaluate)),
        Condition("y", "a", "", "success", "b", "end"),
    ]
    told = Told(flow_of("a", "b", conditions=chain))
    told.step()

    told.body().step()

    assert (asked.scopes, told.view.task) == ([], "b")


def test_children_are_started_under_the_attempt_that_waits_for_them() -> None:
    flow = flow_of("a", step("for_each", items=[1, 2]), conditions=[after("a", "s")])
    told = Told(flow)
    told.step()

    told.body().step()

    assert [(start.run, start.attempt, start.index) for start in told.started] == [(2, 1, 0), (2, 1, 1)]
    assert told.step(children=children_at(still_open=2)) is not None
    assert told.started == []
