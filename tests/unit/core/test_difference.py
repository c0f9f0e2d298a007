from __future__ import annotations

from typing import Any

import pytest

from flow_manager.core.difference import difference
from flow_manager.core.parser import FlowParser
from tests.support.documents import document, task

A, B, C = (task("transform", name=name) for name in "abc")


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    parse = FlowParser().parse
    return [
        (each.kind, each.part, each.name, each.member) for each in difference(parse(before), parse(after))
    ]


def leading(*targets: str) -> list[dict[str, Any]]:
    """Conditions of the first task, in this order."""
    return [
        {"name": f"to-{target}", "source_task": "a", "when": "true", "target_task_success": target}
        for target in targets
    ]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (document(A, B), []),
        (document(A, B, name="Other"), [("changed", "flow", "name", "")]),
        (document(A, B, timeout=5), [("added", "flow", "timeout", "")]),
        (document({**A, "timeout": 5}, B), [("changed", "task", "a", "timeout")]),
        (
            document(A, B, C),
            [
                ("added", "task", "c", ""),
                ("added", "condition", "condition2", ""),
                ("added", "way", "b -> c", ""),
                ("added", "way", "c -> end", ""),
            ],
        ),
        (
            document(A),
            [
                ("removed", "task", "b", ""),
                ("removed", "condition", "condition1", ""),
                ("removed", "way", "a -> b", ""),
                ("removed", "way", "b -> end", ""),
            ],
        ),
    ],
)
def test_what_a_flow_has_otherwise_is_told_in_its_own_terms(
    after: dict[str, Any], expected: list[tuple[str, str, str, str]]
) -> None:
    assert changes(document(A, B), after) == expected


def test_the_order_of_tasks_is_no_difference() -> None:
    before = document(A, B, C)
    after = {"flow": {**before["flow"], "tasks": [C, A, B]}}

    assert changes(before, after) == []


def test_the_order_of_conditions_of_one_task_is_a_difference() -> None:
    before = document(A, B, C, conditions=leading("b", "c"))
    after = document(A, B, C, conditions=leading("c", "b"))

    assert changes(before, after) == [("changed", "task", "a", "order of its conditions")]


def test_a_change_tells_both_values() -> None:
    (change,) = difference(
        FlowParser().parse(document(A, name="One")), FlowParser().parse(document(A, name="Two"))
    )

    assert change.to_json() == {
        "part": "flow", "kind": "changed", "name": "name", "before": "One", "after": "Two"
    }  # fmt: skip
