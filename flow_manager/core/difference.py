"""The difference of two flows, in terms of flows: tasks, conditions and the ways between tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from flow_manager.core.definition import Flow
from flow_manager.core.ways import ways_out

Part = Literal["flow", "task", "condition", "way"]
Kind = Literal["added", "removed", "changed"]

_APART: Final = ("tasks", "conditions")
"""Members of a document that are compared member by member."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `name` is that of the task or condition, or a way as a text; of the flow, the member.
    `member` is what of it has changed; `before` and `after` are its values, None where there is none."""

    part: Part
    kind: Kind
    name: str
    member: str = ""
    before: Any = None
    after: Any = None

    def to_json(self) -> dict[str, Any]:
        told = {"part": self.part, "kind": self.kind, "name": self.name}
        if self.member:
            told["member"] = self.member
        return told | ({"before": self.before, "after": self.after} if self.kind == "changed" else {})


def difference(before: Flow, after: Flow) -> Sequence[Change]:
    """What the second flow has otherwise than the first: its own members, then tasks, conditions and ways.
    The order of tasks does not count, and that of conditions only where they have the same source."""
    old, new = _document(before), _document(after)
    members = [name for name in {**old, **new} if name not in _APART]
    return [
        *(
            Change("flow", _kind(old, new, name), name, "", old.get(name), new.get(name))
            for name in members
            if old.get(name) != new.get(name)
        ),
        *_of_named("task", _by_name(old, "tasks"), _by_name(new, "tasks")),
        *_of_named("condition", _by_name(old, "conditions"), _by_name(new, "conditions")),
        *_of_order(before, after),
        *_of_ways(set(_ways(before)), set(_ways(after))),
    ]


def _document(flow: Flow) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(flow.document)
    return document


def _kind(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> Kind:
    return "added" if name not in old else "removed" if name not in new else "changed"


def _by_name(document: Mapping[str, Any], member: str) -> dict[str, Mapping[str, Any]]:
    return {each["name"]: each for each in document.get(member) or ()}


def _of_named(
    part: Part, old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]
) -> Iterator[Change]:
    for name in {**old, **new}:
        kind = _kind(old, new, name)
        if kind != "changed":
            yield Change(part, kind, name)
            continue
        was, now = old[name], new[name]
        for member in {**was, **now}:
            if was.get(member) != now.get(member):
                yield Change(part, "changed", name, member, was.get(member), now.get(member))


def _of_order(before: Flow, after: Flow) -> Iterator[Change]:
    """Conditions of one task that are read in another order."""
    for task in after.tasks:
        old, new = ([each.name for each in flow.conditions_from.get(task, ())] for flow in (before, after))
        was, now = [name for name in old if name in new], [name for name in new if name in old]
        if was != now:
            yield Change("task", "changed", task, "order of its conditions", was, now)


def _ways(flow: Flow) -> Iterator[str]:
    """The ways between tasks, as texts: `fetch -> store`."""
    yield f"start -> {flow.start_task}"
    for task in flow.tasks.values():
        for way in ways_out(flow, task):
            yield f"{task.name} -> {way.target}"


def _of_ways(old: set[str], new: set[str]) -> Iterator[Change]:
    for way in sorted(old | new):
        if way not in old:
            yield Change("way", "added", way)
        elif way not in new:
            yield Change("way", "removed", way)
