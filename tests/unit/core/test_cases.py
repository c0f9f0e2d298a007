from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from flow_manager.core.definition import Flow
from flow_manager.core.parser import FlowParser
from flow_manager.core.simulation.cases import CaseResult, coverage_of, run_cases
from flow_manager.errors import InvalidFlow
from tests.support.documents import document, task


def with_cases(*cases: Mapping[str, Any], **fields: Any) -> Flow:
    """Charge, then ship; a charge that fails is apologised for."""
    tasks = [
        task("shop.charge", name="charge"),
        task("shop.ship", name="ship"),
        task("shop.sorry", name="sorry"),
    ]
    conditions = [
        {
            "name": "charged",
            "source_task": "charge",
            "target_task_success": "ship",
            "target_task_failure": "sorry",
        },
        {"name": "shipped", "source_task": "ship", "target_task_success": "end"},
    ]
    output = {"id": "${results.charge.data.id}", "note": "fine"}
    tests = [{"name": "a case", **case} for case in cases]
    return FlowParser().parse(
        document(*tasks, **{"conditions": conditions, "output": output, "tests": tests, **fields})
    )


def result_of(expect: Mapping[str, Any], **told: Any) -> CaseResult:
    mocks = {"charge": [{"data": {"id": 7}}]}
    return run_cases(with_cases({"expect": expect, "mocks": mocks, **told}))[0]


def differences(result: CaseResult) -> list[tuple[str, Any, Any]]:
    return [(each.pointer, each.expected, each.actual) for each in result.differences]


def problems_of(flow: Flow) -> list[tuple[str, str]]:
    with pytest.raises(InvalidFlow) as caught:
        run_cases(flow)
    return [(problem.pointer, problem.code) for problem in caught.value.problems]


def test_a_case_that_comes_out_as_expected_passes() -> None:
    expect = {"status": "completed", "route": ["charge", "ship"], "output": {"id": 7, "note": "fine"}}

    result = result_of(expect)

    assert result.passed
    assert result.name == "a case"


def test_what_is_not_named_may_be_anything() -> None:
    assert result_of({"status": "completed"}).passed


@pytest.mark.parametrize(
    ("expect", "expected"),
    [
        ({"status": "failed"}, [("#/status", "failed", "completed")]),
        ({"status": "completed", "error": "shop.gone"}, [("#/error", "shop.gone", None)]),
        ({"status": "completed", "error": None}, []),
        ({"status": "completed", "route": ["charge"]}, [("#/route/1", "nothing", "ship")]),
        ({"status": "completed", "route": ["charge", "sorry", "ship"]}, [("#/route/1", "sorry", "ship")]),
        ({"status": "completed", "route": ["charge", "ship", "sorry"]}, [("#/route/2", "sorry", "nothing")]),
        ({"status": "completed", "output": None}, [("#/output", None, {"id": 7, "note": "fine"})]),
        ({"status": "completed", "output": {"id": 8, "note": "fine"}}, [("#/output/id", 8, 7)]),
        (
            {"status": "completed", "output": {"id": True, "more": 1}},
            [
                ("#/output/id", True, 7),
                ("#/output/more", 1, "nothing"),
                ("#/output/note", "nothing", "fine"),
            ],
        ),
    ],
)
def test_a_difference_is_told_with_its_place(
    expect: Mapping[str, Any], expected: list[tuple[str, Any, Any]]
) -> None:
    assert differences(result_of(expect)) == expected


@pytest.mark.parametrize(
    ("expected", "actual", "places"),
    [
        ([1, 2], [1, 3], ["#/output/id/1"]),
        ([1, 2], [1], ["#/output/id"]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, ["#/output/id/a/0/b"]),
        (1, True, ["#/output/id"]),
        (1, 1.0, []),
    ],
)
def test_values_are_compared_as_deep_as_can_be(expected: Any, actual: Any, places: list[str]) -> None:
    expect = {"status": "completed", "output": {"id": expected, "note": "fine"}}

    result = result_of(expect, mocks={"charge": [{"data": {"id": actual}}]})

    assert [each.pointer for each in result.differences] == places


def test_a_case_has_signals_faults_and_a_clock() -> None:
    case = {
        "now": "2026-02-03T00:00:00Z",
        "faults": [{"after": "charge"}],
        "mocks": {"charge": [{"error": {"code": "shop.gone"}}]},
        "expect": {"status": "failed", "error": "shop.gone", "route": ["charge"]},
    }

    result = run_cases(with_cases(case, conditions=[]))[0]

    assert result.passed
    assert [entry.status for entry in result.simulated.view.attempts] == ["lost", "failure"]


def test_cases_together_exercise_the_ways_of_a_flow() -> None:
    good = {"name": "good", "mocks": {"charge": [{"data": {"id": 7}}]}, "expect": {"status": "completed"}}
    bad = {"name": "bad", "mocks": {"charge": [{"outcome": "failure"}]}, "expect": {"status": "completed"}}
    flow = with_cases(good, bad, output=None)

    coverage = coverage_of(flow, run_cases(flow))

    assert [(edge.condition, edge.matched) for edge in coverage.exercised] == [
        ("charged", True),
        ("charged", False),
        ("shipped", True),
    ]
    assert [str(edge) for edge in coverage.not_exercised] == ["ship -(shipped does not match)-> end"]


def test_a_flow_without_cases_has_no_results() -> None:
    assert run_cases(with_cases()) == []


@pytest.mark.parametrize(
    ("case", "problems"),
    [
        ({}, [("#/tests/0", "schema")]),
        ({"expect": {"status": "failed", "rute": []}}, [("#/tests/0/expect/rute", "unknown-field")]),
        ({"expect": {"status": "done"}}, [("#/tests/0/expect/status", "schema")]),
        (
            {"expect": {"status": "failed", "route": ["chrge"]}},
            [("#/tests/0/expect/route/0", "unknown-task")],
        ),
        (
            {"expect": {"status": "failed"}, "mocks": {"chrge": [{}]}},
            [("#/tests/0/mocks/chrge", "unknown-task")],
        ),
        ({"expect": {"status": "failed"}, "expct": {}}, [("#/tests/0/expct", "unknown-field")]),
    ],
)
def test_a_case_that_cannot_be_run_is_an_error_of_its_flow(
    case: Mapping[str, Any], problems: list[tuple[str, str]]
) -> None:
    found = problems_of(with_cases(case))

    assert [(pointer.removesuffix("/expect"), code) for pointer, code in found] == problems


def test_an_input_that_the_flow_refuses_is_an_error_too() -> None:
    schema = {"properties": {"sum": {"type": "integer"}}}

    flow = with_cases({"input": {"sum": "much"}, "expect": {"status": "failed"}}, input_schema=schema)

    assert problems_of(flow) == [("#/tests/0/input/sum", "schema")]
