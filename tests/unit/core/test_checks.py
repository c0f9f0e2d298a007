from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.core.conditions import ConditionEvaluator
from flow_manager.core.definition import END, Flow, Outcome
from flow_manager.core.parser import FlowParser
from flow_manager.core.report import Report

OUTCOMES: list[Outcome] = ["success", "failure", "timeout", "unknown"]


def task(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, **fields}


def after(
    source: str, success: str | None = None, failure: str | None = None, **fields: Any
) -> dict[str, Any]:
    targets = {"target_task_success": success, "target_task_failure": failure}
    written = {name: target for name, target in targets.items() if target is not None}
    return {"source_task": source, **written, **fields}


def check(
    tasks: list[dict[str, Any]],
    conditions: list[dict[str, Any]],
    start: str = "a",
    types: dict[str, None] | None = None,
) -> Report:
    named = [{"name": f"c{index}"} | each for index, each in enumerate(conditions)]
    flow = {"id": "f", "name": "F", "start_task": start, "tasks": tasks, "conditions": named}
    return FlowParser(types).check(flow)


def errors(report: Report) -> list[tuple[str, str]]:
    return [(problem.code, problem.pointer) for problem in report.errors]


def warnings(report: Report) -> list[tuple[str, str]]:
    return [(problem.code, problem.pointer) for problem in report.warnings]


A, B, C = task("a"), task("b"), task("c")


@pytest.mark.parametrize(
    ("tasks", "conditions", "start", "expected"),
    [
        ([A], [], "b", [("unknown-task", "#/start_task")]),
        ([A], [], "end", [("unknown-task", "#/start_task")]),
        ([A], [after("b")], "a", [("unknown-task", "#/conditions/0/source_task")]),
        ([A], [after("end")], "a", [("unknown-task", "#/conditions/0/source_task")]),
        ([A, B], [after("a", "bb", "end")], "a", [("unknown-task", "#/conditions/0/target_task_success")]),
        ([A, B], [after("a", "b", "bb")], "a", [("unknown-task", "#/conditions/0/target_task_failure")]),
        ([A, A], [], "a", [("duplicate-name", "#/tasks/1/name")]),
        ([A, task("A")], [], "a", [("ambiguous-name", "#/tasks/1/name")]),
        ([A, task("end")], [], "a", [("reserved-name", "#/tasks/1/name")]),
        ([A, task("End")], [], "a", [("reserved-name", "#/tasks/1/name")]),
        (
            [A],
            [after("a", name="c", outcome="timeout"), after("a", failure="end", name="c")],
            "a",
            [("duplicate-name", "#/conditions/1/name")],
        ),
    ],
)
def test_names_are_unique_and_lead_somewhere(
    tasks: list[dict[str, Any]], conditions: list[dict[str, Any]], start: str, expected: list[tuple[str, str]]
) -> None:
    assert errors(check(tasks, conditions, start)) == expected


def test_conditions_may_be_named_like_tasks_and_like_the_end() -> None:
    assert check([A], [after("a", failure="end", name="a"), after("a", name="end", failure="end")]).is_valid


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([A], []),
        ([task("x", type="a"), A], []),
        ([A, task("b")], [("unknown-task", "#/tasks/1/name")]),
        ([A, task("b", type="c")], [("unknown-task", "#/tasks/1/type")]),
    ],
)
def test_a_type_must_be_registered(tasks: list[dict[str, Any]], expected: list[tuple[str, str]]) -> None:
    assert errors(check(tasks, [], types={"a": None})) == expected


def test_the_nearest_task_is_suggested() -> None:
    wrong_target = check([task("ship"), task("bill")], [after("ship", "bil", "end")], "ship")
    wrong_start = check([task("ship")], [], "shipp")
    wrong_type = check([task("ship")], [], "ship", types={"shop": None, "archive": None})

    assert wrong_target.errors[0].detail == "no task is named 'bil'"
    assert [report.errors[0].hint for report in (wrong_target, wrong_start, wrong_type)] == [
        "did you mean 'bill'?",
        "did you mean 'ship'?",
        "did you mean 'shop'?",
    ]


def test_a_wrong_target_is_not_also_a_way_without_end_or_a_task_never_reached() -> None:
    report = check([A, B], [after("a", "bb", "a")])

    assert errors(report) == [("unknown-task", "#/conditions/0/target_task_success")]
    assert warnings(report) == []


@pytest.mark.parametrize(
    ("tasks", "conditions", "expected"),
    [
        ([A], [after("a", "a", "a")], ["#/tasks/0"]),
        ([A, B], [after("a", "b", "a"), after("b", "a", "b")], ["#/tasks/0"]),
        ([A, B, C], [after("a", "b", "b"), after("b", "c", "c"), after("c", "b", "b")], ["#/tasks/1"]),
        ([A, B], [after("a", "end", "end"), after("b", "b", "b")], ["#/tasks/1"]),
        ([A], [after("a", "a", "end"), after("a", "a", "end", outcome="failure")], ["#/tasks/0"]),
        ([A | {"optional": True}], [after("a", "a", "end")], ["#/tasks/0"]),
        ([A, B], [after("a", "a", "a"), after("b", "b", "b")], ["#/tasks/0", "#/tasks/1"]),
    ],
)
def test_a_circle_without_a_way_to_the_end_is_an_error(
    tasks: list[dict[str, Any]], conditions: list[dict[str, Any]], expected: list[str]
) -> None:
    assert errors(check(tasks, conditions)) == [("no-exit", pointer) for pointer in expected]


@pytest.mark.parametrize(
    ("tasks", "conditions"),
    [
        ([A], []),
        ([A], [after("a", "a", "end")]),
        ([A], [after("a", "a")]),
        ([A], [after("a", "end", "a")]),
        ([A, B], [after("a", "b", "a"), after("b", "a", "end")]),
        ([A, B], [after("a", "b", "b")]),
        ([A], [after("a", "a", "a"), after("a", "end", "a", outcome="timeout")]),
    ],
)
def test_a_circle_with_a_way_to_the_end_is_a_polling_loop(
    tasks: list[dict[str, Any]], conditions: list[dict[str, Any]]
) -> None:
    assert check(tasks, conditions).is_valid


@pytest.mark.parametrize(
    ("tasks", "conditions", "expected"),
    [
        ([A, B], [], [("unreachable", "#/tasks/1")]),
        ([A, B, C], [after("b", "c", "end")], [("unreachable", "#/tasks/1"), ("unreachable", "#/tasks/2")]),
        ([A], [after("a", "end")], [("no-failure-route", "#/conditions/0/target_task_failure")]),
        ([A], [after("a")], [("no-failure-route", "#/conditions/0/target_task_failure")]),
        ([A, B], [after("a", "b"), after("a", "b", "end", outcome="timeout")], []),
        ([A, B], [after("a", "b"), after("a", "end", outcome="failure")], []),
        (
            [A, B],
            [after("a", "b"), after("a", outcome="unknown")],
            [("no-failure-route", "#/conditions/1/target_task_failure")],
        ),
        ([A | {"optional": True}], [after("a", "end")], []),
        (
            [A],
            [after("a", "end", "end"), after("a", "end", "end")],
            [("never-matches", "#/conditions/1/outcome")],
        ),
        (
            [A],
            [after("a", outcome="failure"), after("a", outcome="timeout", failure="end")],
            [("never-matches", "#/conditions/1/outcome")],
        ),
        ([A], [after("a", outcome="timeout"), after("a", outcome="failure", failure="end")], []),
        (
            [A | {"optional": True}],
            [after("a", failure="end"), after("a", "end", "end", outcome="failure")],
            [("never-matches", "#/conditions/1/outcome")],
        ),
        (
            [A, B],
            [after("a", "b", "b"), after("a", "end", "end", outcome="timeout")],
            [("never-taken", "#/conditions/0/target_task_failure")],
        ),
        (
            [A, B],
            [after("a", "b", "end"), after("a", "b", "b", outcome="failure")],
            [("never-taken", "#/conditions/1/target_task_failure")],
        ),
        (
            [A, B],
            [after("a", "end", "end"), after("a", "end", "b", outcome="failure")],
            [
                ("unreachable", "#/tasks/1"),
                ("never-taken", "#/conditions/1/target_task_failure"),
            ],
        ),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(
    tasks: list[dict[str, Any]], conditions: list[dict[str, Any]], expected: list[tuple[str, str]]
) -> None:
    report = check(tasks, conditions)

    assert report.is_valid
    assert warnings(report) == expected


def test_a_circle_of_ten_thousand_tasks_needs_no_recursion() -> None:
    number = 10_000
    tasks = [task(f"t{each}") for each in range(number)]
    conditions = [
        after(f"t{each}", following := f"t{(each + 1) % number}", following) for each in range(number)
    ]

    assert number > sys.getrecursionlimit()
    assert errors(check(tasks, conditions, "t0")) == [("no-exit", "#/tasks/0")]


names = st.sampled_from("abcd")
written_conditions = st.lists(
    st.builds(
        after,
        names,
        st.none() | st.sampled_from([*"abcd", END]),
        st.none() | st.sampled_from([*"abcd", END]),
        outcome=st.sampled_from(OUTCOMES),
    ),
    max_size=8,
)
written_tasks = st.tuples(*(st.builds(task, st.just(name), optional=st.booleans()) for name in "abcd")).map(
    list
)


def routes(flow: Flow, name: str) -> set[str]:
    """Where the evaluator leads to from a task, over all its outcomes."""
    outcomes: list[Outcome] = ["success"] if flow.tasks[name].optional else OUTCOMES
    conditions = flow.conditions_from.get(name, ())
    return {ConditionEvaluator().route(conditions, outcome, dict).to for outcome in outcomes}


def reachable(flow: Flow, start: str) -> set[str]:
    reached: set[str] = set()
    waiting = {start}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= (routes(flow, name) if name != END else set()) - reached
    return reached


@given(written_tasks, written_conditions)
def test_the_checks_see_exactly_the_routes_that_the_evaluator_takes(
    tasks: list[dict[str, Any]], conditions: list[dict[str, Any]]
) -> None:
    # Another start task with a way out, and no route to the rest, would make no difference to exits.
    report = check(tasks, conditions)
    if report.flow is None:
        assert {problem.code for problem in report.errors} == {"no-exit"}
        return

    reached = reachable(report.flow, "a")
    unreachable = {f"#/tasks/{index}" for index, name in enumerate("abcd") if name not in reached}
    assert {pointer for code, pointer in warnings(report) if code == "unreachable"} == unreachable
    assert all(END in reachable(report.flow, name) for name in "abcd")


@given(written_tasks, written_conditions)
def test_a_flow_without_exit_has_a_task_that_never_reaches_the_end(
    tasks: list[dict[str, Any]], conditions: list[dict[str, Any]]
) -> None:
    report = check(tasks, conditions)
    # The same flow with one more way out for each task that is complained about is valid.
    stuck = [tasks[int(problem.pointer.rsplit("/", 1)[1])]["name"] for problem in report.errors]
    freed = [each for each in conditions if each["source_task"] not in stuck]

    assert bool(stuck) == (not report.is_valid)
    assert check(tasks, freed).is_valid
