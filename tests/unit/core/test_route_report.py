"""Every way through a flow, told without running it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flow_manager.core.definition import Condition, Flow, Task
from flow_manager.core.expressions import Place, compile_expression
from flow_manager.core.parser import FlowParser
from flow_manager.core.routes import routes_of
from tests.support.flows import flow_of


def lines(flow: Flow) -> list[str]:
    return [str(route) for route in routes_of(flow).routes]


def condition(name: str, source: str, outcome: Any = "success", **fields: Any) -> Condition:
    return Condition(name, source, outcome=outcome, **fields)


def test_a_task_without_conditions_ends_well_or_badly() -> None:
    assert lines(flow_of("a")) == [
        "a -(success)-> end: completed",
        "a -(failure)-> end: failed",
    ]


def test_a_failure_that_a_condition_expects_is_handled() -> None:
    flow = flow_of("a", "b", conditions=[condition("c", "a", "failure", target_task_success="b")])

    report = routes_of(flow)

    assert lines(flow) == [
        "a -(failure)-> b -(success)-> end: completed",
        "a -(failure)-> b -(failure)-> end: failed",
        "a -(success)-> end: completed",
    ]
    assert report.unhandled_failures == ("b",)


def test_a_condition_with_an_expression_leaves_its_outcome_to_the_next() -> None:
    when = compile_expression("result.data.n > 1", Place.CONDITION)
    flow = flow_of(
        "a",
        "b",
        conditions=[
            condition("large", "a", target_task_success="b", when=when),
            condition("small", "a"),
        ],
    )

    assert lines(flow) == [
        "a -(success, if result.data.n > 1)-> b -(success)-> end: completed",
        "a -(success, if result.data.n > 1)-> b -(failure)-> end: failed",
        "a -(success)-> end: completed",
        "a -(failure)-> end: failed",
    ]


def test_an_optional_task_never_fails_and_a_fail_task_always_does() -> None:
    flow = flow_of(
        Task("a", "a", optional=True),
        Task("stop", "fail"),
        conditions=[condition("c", "a", target_task_success="stop")],
    )

    report = routes_of(flow)

    assert lines(flow) == ["a -(success)-> stop -(failure)-> end: failed"]
    assert report.unhandled_failures == ()


def test_a_loop_is_walked_once() -> None:
    flow = flow_of("a", conditions=[condition("again", "a", "failure", target_task_success="a")])

    report = routes_of(flow)

    assert lines(flow) == ["a -(failure)-> a -(success)-> end: completed", "a -(success)-> end: completed"]
    assert [route.has_loop for route in report.routes] == [True, False]


def test_what_undoes_a_task_is_on_no_route() -> None:
    flow = flow_of(Task("a", "a", compensate_with="undo"), "undo")

    assert routes_of(flow).unhandled_failures == ("a",)


@pytest.mark.parametrize("tasks", [30, 10_000])
def test_the_number_of_routes_and_the_time_to_find_them_are_bounded(tasks: int) -> None:
    names = [f"t{number}" for number in range(tasks)]
    conditions = []
    for number, name in enumerate(names[:-2]):
        conditions += [
            {
                "name": f"c{number}",
                "source_task": name,
                "target_task_success": names[number + 1],
                "target_task_failure": names[number + 2],
            }
        ]
    document = {
        "id": "wide",
        "name": "Wide",
        "start_task": names[0],
        "tasks": [{"name": name} for name in names],
        "conditions": conditions,
    }
    flow = FlowParser().parse(document)

    began = time.process_time()
    report = routes_of(flow)
    taken = time.process_time() - began

    assert report.is_truncated
    assert len(report.routes) <= 100
    assert taken < 1.0
