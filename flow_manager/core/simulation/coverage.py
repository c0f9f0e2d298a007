"""Coverage: which ways of a flow executions have taken, of those that its conditions can choose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from flow_manager.core.definition import Flow
from flow_manager.core.events import Event, Routed
from flow_manager.core.ways import ways_out

_SURE: Final = frozenset({"transform", "wait"})
"""Task types that succeed, unless their input is wrong; nothing that is mocked makes them fail."""


class Edge(NamedTuple):
    """A way out of a task that a condition chooses: because it matched, or because it was the last
    and none did. A task of a child has the names of the tasks above it before its own."""

    task: str
    condition: str
    matched: bool
    to: str

    def to_json(self) -> dict[str, Any]:
        return self._asdict()

    def __str__(self) -> str:
        return f"{self.task} -({self.condition}{'' if self.matched else ' does not match'})-> {self.to}"


def edges_of(flow: Flow, path: str = "") -> Iterator[Edge]:
    """The ways that the conditions of a flow, and of its children, can choose."""
    for task in flow.tasks.values():
        for way in ways_out(flow, task):
            is_possible = task.type not in _SURE or "success" in way.outcomes
            if way.condition is not None and is_possible:
                yield Edge(path + task.name, way.condition.name, way.is_match, way.target)
        if task.child is not None:
            yield from edges_of(task.child, f"{path}{task.name}/")


def taken(events: Iterable[Event], path: str = "") -> Iterator[Edge]:
    """The ways that the conditions of one execution have chosen."""
    for event in events:
        if isinstance(event, Routed) and event.condition is not None:
            yield Edge(path + event.task, event.condition, event.matched, event.to)
