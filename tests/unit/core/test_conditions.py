from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.core.conditions import ConditionEvaluator, Route
from flow_manager.core.definition import Condition, Outcome

evaluator = ConditionEvaluator()


def chain(*outcomes: Outcome) -> list[Condition]:
    """Conditions c0, c1 ... of one task, with the targets yes0, no0, yes1, no1 ..."""
    return [
        Condition(f"c{number}", "task", "", outcome, f"yes{number}", f"no{number}")
        for number, outcome in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ("expected", "matching"),
    [
        ("success", {"success"}),
        ("failure", {"failure", "timeout", "unknown"}),
        ("timeout", {"timeout"}),
        ("unknown", {"unknown"}),
    ],
)
def test_a_condition_matches_its_outcome(expected: Outcome, matching: set[Outcome]) -> None:
    (condition,) = chain(expected)

    assert {outcome for outcome in get_args(Outcome) if evaluator.expects(condition, outcome)} == matching


@pytest.mark.parametrize(
    ("conditions", "outcome", "route"),
    [
        ([], "success", Route("end", None, matched=False)),
        ([], "failure", Route("end", None, matched=False)),
        (chain("success"), "success", Route("yes0", "c0", matched=True)),
        (chain("success"), "failure", Route("no0", "c0", matched=False)),
        (chain("success"), "timeout", Route("no0", "c0", matched=False)),
        (chain("failure"), "unknown", Route("yes0", "c0", matched=True)),
        (chain("failure"), "success", Route("no0", "c0", matched=False)),
        (chain("success", "failure"), "failure", Route("yes1", "c1", matched=True)),
        (chain("failure", "timeout"), "timeout", Route("yes0", "c0", matched=True)),
        (chain("timeout", "failure"), "timeout", Route("yes0", "c0", matched=True)),
        (chain("timeout", "failure"), "failure", Route("yes1", "c1", matched=True)),
        (chain("timeout", "failure"), "success", Route("no1", "c1", matched=False)),
        (chain("success", "success"), "success", Route("yes0", "c0", matched=True)),
        (chain("success", "success"), "failure", Route("no1", "c1", matched=False)),
    ],
)
def test_the_first_match_or_else_the_last_condition_chooses(
    conditions: Sequence[Condition], outcome: Outcome, route: Route
) -> None:
    assert evaluator.route(conditions, outcome, dict) == route


def test_a_missing_target_is_the_end() -> None:
    conditions = [Condition("c0", "task")]

    assert evaluator.route(conditions, "success", dict).to == "end"
    assert evaluator.route(conditions, "failure", dict).to == "end"


@given(st.lists(st.sampled_from(get_args(Outcome)), max_size=6), st.sampled_from(get_args(Outcome)))
def test_what_stands_behind_a_match_is_never_looked_at(outcomes: list[Outcome], outcome: Outcome) -> None:
    conditions = chain(*outcomes)
    route = evaluator.route(conditions, outcome, dict)

    matching = [condition.name for condition in conditions if evaluator.expects(condition, outcome)]

    assert route.matched is bool(matching)
    assert route.condition == next(iter(matching or [each.name for each in conditions[-1:]]), None)
