"""What many expressions may be together, where each of them alone is allowed."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count, takewhile
from typing import Any

import pytest

from flow_manager.core.compiling import Expressions
from flow_manager.core.conditions import ConditionEvaluator, ConditionFailed
from flow_manager.core.definition import Condition
from flow_manager.core.expressions import (
    Expression,
    ExpressionError,
    ExpressionFault,
    Place,
    TooManyExpressions,
    compile_expression,
)
from flow_manager.core.mappings import ValueMapping, compile_mapping
from flow_manager.core.parser import FlowParser
from flow_manager.errors import Problem
from tests.support.documents import document, task

NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
SCOPE: dict[str, Any] = {
    "input": {
        "long": list(range(8_000)),
        "deep": [[]] * 80_000,
        "text": "lorem, ipsum " * 15_000,
        "count": 3,
    },
    "results": {},
    "result": {"data": {"total": 150}},
    "outcome": "success",
    "execution": {"id": "e-1", "started_at": NOW, "labels": {}, "task_runs": 1},
    "flow": {"id": "order", "version": 0},
    "now": NOW,
}
HEAVY = [
    "input.long.all(x, x >= 0)",
    "input.long.exists(x, x == 0)",
    "size(input.deep) > 0",
    "input.deep[0] == []",
    "size(input) > 0",
    "input.text.replace('m', 'n') != ''",
    "input.text.trim() != ''",
    r"''.matches(r'\pL\pL\pL') || true",
]
parser = FlowParser({"nothing": None})


def mapping(source: str, times: int) -> ValueMapping:
    """The same expression many times, compiled once."""
    expression = compile_expression(source, Place.TASK_INPUT)

    def compiled(_source: str, _place: Place) -> Expression:
        return expression

    return compile_mapping({"a": ["${" + source + "}"] * times}, Place.TASK_INPUT, compiled)


def errors_of(flow: dict[str, Any]) -> list[Problem]:
    return list(parser.check(flow).errors)


# -- of a step


@pytest.mark.parametrize("source", HEAVY)
def test_an_expression_that_a_mapping_may_hold_once_it_cannot_hold_often(source: str) -> None:
    assert mapping(source, 1).evaluate(SCOPE) == {"a": [True]}

    with pytest.raises(ExpressionError, match="in the same mapping") as caught:
        mapping(source, 1_000).evaluate(SCOPE)

    name, index = caught.value.path
    assert (caught.value.code, caught.value.expression, name) == ("expression.limit", source, "a")
    assert 1 <= int(index) < 200


@pytest.mark.parametrize("source", HEAVY)
def test_conditions_of_one_task_are_bounded_together(source: str) -> None:
    when = compile_expression(f"!({source})", Place.CONDITION)
    conditions = [
        Condition(f"c{number}", "task", "", "success", "yes", "no", when, number) for number in range(1_000)
    ]

    with pytest.raises(ConditionFailed) as caught:
        ConditionEvaluator().route(conditions, "success", lambda: SCOPE)

    assert caught.value.error.code == "expression.limit"
    assert 1 <= int(caught.value.condition[1:]) < 200


@pytest.mark.parametrize(
    "source",
    [
        "input.count",
        "input.count + 1",
        "result.data.total > 100 && input.count == 3",
        "'a' + string(input.count)",
        "execution.id != flow.id && now > execution.started_at",
        "[1, 2, 3].exists(x, x == input.count)",
    ],
)
def test_a_thousand_ordinary_expressions_have_room_in_a_step(source: str) -> None:
    expression = compile_expression(source, Place.CONDITION if "result" in source else Place.TASK_INPUT)

    values = compile_mapping(["${1}"] * 1_000, Place.TASK_INPUT, lambda _source, _place: expression)

    assert values.evaluate(SCOPE) == [expression.evaluate(SCOPE)] * 1_000


def test_each_step_begins_anew() -> None:
    one = mapping(HEAVY[0], 5)

    assert [one.evaluate(SCOPE) for _ in range(20)] == [{"a": [True] * 5}] * 20


# -- of a document


def test_the_first_expression_that_is_not_looked_at_is_told_and_nothing_behind_it() -> None:
    texts = [f"${{[{'1,' * 1_900}{number}]}}" for number in range(100)]
    flow = document(
        task("nothing", {"a": texts, "b": "${nope}", "c": "${"}), task("nothing", run_when="nope")
    )

    [problem] = errors_of(flow)

    assert problem.code == "too-many-expressions"
    where, _, index = problem.pointer.rpartition("/")
    assert where == "#/flow/tasks/0/input/a"
    assert 10 < int(index) < 100
    assert problem.hint is not None


def test_what_is_wrong_before_it_is_told_too() -> None:
    texts = ["${nope}", *(f"${{[{'1,' * 1_900}{number}]}}" for number in range(100))]

    assert [problem.code for problem in errors_of(document(task("nothing", {"a": texts})))] == [
        "unknown-name",
        "too-many-expressions",
    ]


def test_the_same_text_counts_once() -> None:
    text = "${[" + "1," * 1_900 + "1]}"

    assert errors_of(document(task("nothing", {"a": [text] * 100}))) == []


def test_children_count_with_their_parent() -> None:
    def child(number: int) -> dict[str, Any]:
        texts = [f"${{[{'1,' * 1_900}{number}{digit}]}}" for digit in range(5)]
        return task("flow", {"flow": document(task("nothing", {"a": texts}))["flow"]})

    assert errors_of(document(child(1))) == []
    assert [problem.code for problem in errors_of(document(*map(child, range(20))))] == [
        "too-many-expressions"
    ]


@pytest.mark.parametrize(
    "text",
    ["1," * 1_900 + "'", "1," * 1_900 + "#", "1," * 1_900, "1 1", "nope", "nope(1)", r"''.matches(r'\pL(')"],
)
def test_faulty_expressions_come_to_an_end_too(text: str) -> None:
    expressions = Expressions(size=0)

    def is_looked_at(number: int) -> bool:
        try:
            expressions.compile(f"{text} // {number}", Place.OUTPUT)
        except TooManyExpressions:
            return False
        except ExpressionFault:
            return True
        raise AssertionError(text)

    assert 10 < sum(1 for _ in takewhile(is_looked_at, count())) <= 10_000
    assert expressions.are_too_many


def test_ten_thousand_tasks_may_have_an_ordinary_condition_each() -> None:
    tasks = [task("nothing", name=f"t{number}", description="") for number in range(10_000)]
    flow = document(*tasks)
    for number, condition in enumerate(flow["flow"]["conditions"]):
        condition["when"] = f"result.data.total > {number} && input.kind == 'a'"

    assert errors_of(flow) == []
