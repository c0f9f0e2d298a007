from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from flow_manager.core.capsule import FORMAT, read_capsule, summary_json
from flow_manager.core.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    Routed,
)
from flow_manager.core.view import View
from flow_manager.errors import InvalidRequest
from tests.support.documents import document, task

NOW = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)
EXECUTION = "0198c0de-0000-7000-8000-000000000001"
HISTORY: list[Event] = [
    ExecutionStarted(NOW, "flow", {"n": 1}),
    AttemptStarted(NOW, "task1"),
    AttemptEnded(NOW, "task1"),
    Routed(NOW, "task1", "end"),
    ExecutionEnded(NOW),
]
CAPSULE: dict[str, Any] = {
    "format": FORMAT,
    "exported_at": "2026-01-14T10:30:00Z",
    "execution": summary_json(View.fold(EXECUTION, HISTORY)),
    "definition": document(task("a"))["flow"],
    "history": [msgspec.to_builtins(event) for event in HISTORY],
    "children": [],
}


def changed(change: Any) -> dict[str, Any]:
    capsule = copy.deepcopy(CAPSULE)
    change(capsule)
    return capsule


def test_a_capsule_is_read_as_it_was_written() -> None:
    capsule = read_capsule(CAPSULE)

    assert (capsule.execution_id, capsule.left_out, capsule.input) == (EXECUTION, 0, {"n": 1})
    assert list(capsule.history) == HISTORY
    assert list(capsule.flow.tasks) == ["task1"]


@pytest.mark.parametrize("value", [None, [], "text", 7, {}, {"flow": {}}])
def test_another_kind_of_file_is_told_from_a_capsule(value: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_capsule(value)

    assert [(each.pointer, each.code) for each in refused.value.problems] == [("#/format", "required")]


@pytest.mark.parametrize(
    ("change", "pointer", "word"),
    [
        (lambda c: c.update(format="flow-manager-capsule/2"), "#/format", "newer version"),
        (lambda c: c.update(format="zip"), "#/format", "another kind"),
        (lambda c: c.update(format=None), "#/format", "another kind"),
        (lambda c: c.pop("execution"), "#/execution", "how its execution stood"),
        (lambda c: c["execution"].update(execution_id=7), "#/execution/execution_id", "text"),
        (lambda c: c.pop("definition"), "#/definition", "object"),
        (lambda c: c["definition"]["tasks"][0].pop("name"), "#/definition/tasks/0/name", ""),
        (lambda c: c.pop("history"), "#/history", "list of events"),
        (lambda c: c.update(history=[]), "#/history", "list of events"),
        (lambda c: c.update(history={"0": {}}), "#/history", "list of events"),
        (lambda c: c["history"][1].pop("task"), "#/history/1", "task"),
        (lambda c: c["history"][1].update(run="one"), "#/history/1/run", "int"),
        (lambda c: c["history"][2].update(type="blest"), "#/history/2/type", "blest"),
        (lambda c: c["history"].insert(1, 7), "#/history/1", "object"),
        (lambda c: c["history"].pop(0), "#/history/0/type", "begins with"),
        (lambda c: c["history"].append(c["history"][0]), "#/history/5/type", "once"),
        (lambda c: c["history"].pop(1), "#/history/1", "cannot follow"),
        (lambda c: c.update(left_out={"events": -1}), "#/left_out/events", "whole number"),
        (lambda c: c.update(left_out=7), "#/left_out/events", "whole number"),
    ],
)
def test_a_damaged_capsule_is_refused_with_the_place(change: Any, pointer: str, word: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_capsule(changed(change))

    told = {each.pointer: each.detail for each in refused.value.problems}
    assert word in told[pointer]


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidRequest, match="3 problems") as refused:
        read_capsule({"format": FORMAT, "history": [{}]})

    assert [each.pointer for each in refused.value.problems] == ["#/execution", "#/definition", "#/history/0"]
