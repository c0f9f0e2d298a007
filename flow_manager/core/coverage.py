"""Coverage: which ways of a flow executions have taken, of those that its conditions have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, get_args

from flow_manager.core.conditions import ConditionEvaluator
from flow_manager.core.definition import Flow, Outcome
from flow_manager.core.events import Event, Routed

_OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)


class Edge(NamedTuple):
    """A way out of a task that a condition chooses: because it matched, or because it was the last
    and none did. A task of a child has the names of the tasks above it before its own."""

    task: str
    condition: str
    matched: bool
    to: str

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


def edges_of(flow: Flow, path: str = "") -> Iterator[Edge]:
    """The ways that the conditions of a flow, and of its children, can choose."""
    for name, task in flow.tasks.items():
        yield from _edges_from(flow, name, path)
        if task.child is not None:
            yield from edges_of(task.child, f"{path}{name}/")


def _edges_from(flow: Flow, name: str, path: str) -> Iterator[Edge]:
    """The first condition that matches chooses, so each one only sees the outcomes left to it."""
    conditions = flow.conditions_from.get(name, ())
    evaluator = ConditionEvaluator()
    left: set[Outcome] = {"success"} if flow.tasks[name].optional else set(_OUTCOMES)
    for condition in conditions:
        matched = {outcome for outcome in left if evaluator.expects(condition, outcome)}
        if matched:
            yield Edge(path + name, condition.name, True, condition.target_task_success)
        if condition.when is None:
            left -= matched
    if conditions and left:
        last = conditions[-1]
        yield Edge(path + name, last.name, False, last.target_task_failure)


def taken(events: Iterable[Event], path: str = "") -> Iterator[Edge]:
    """The ways that the conditions of one execution have chosen."""
    for event in events:
        if isinstance(event, Routed) and event.condition is not None:
            yield Edge(path + event.task, event.condition, event.matched, event.to)
