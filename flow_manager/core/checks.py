"""Checks of a flow that need no run: names, references, and the ways from the start to the end.

They read the written form and not its model, so that they can say what they see even of a
document that has other faults. All are linear in the size of the flow and none recurses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flow_manager.core.definition import END
from flow_manager.core.document import MOST_CONDITIONS, MOST_TASKS
from flow_manager.core.document_words import NAME_PATTERN
from flow_manager.core.findings import Findings
from flow_manager.core.plain import Path, shown
from flow_manager.core.steps import LAST_STEPS

_SUCCESS: Final = 1
_ALL: Final = 15
_MATCHED_BY: Final = {"success": _SUCCESS, "failure": _ALL - _SUCCESS, "timeout": 4, "unknown": 8}
"""The outcomes that each outcome of a condition stands for, as sets of bits."""


@dataclass(slots=True)
class _Task:
    index: int
    name: str
    type: str | None
    is_optional: bool
    compensate_with: object = None
    is_last: bool = False
    """Whether it ends the flow by itself."""
    conditions: list[_Condition] = field(default_factory=list)
    next: list[str] = field(default_factory=list)
    """Every task that a route leads to, and `end`."""


@dataclass(slots=True)
class _Condition:
    index: int
    outcome: object
    on_success: object
    on_failure: object
    is_guarded: bool
    """Whether it has a `when`, and so may not match though its outcome does."""


class Checks:
    """The checks of one document body. Each adds to `errors` or `warnings`."""

    def __init__(self, body: Mapping[str, Any], errors: Findings, warnings: Findings) -> None:
        self._body = body
        self._errors = errors
        self._warnings = warnings
        self._tasks: dict[str, _Task] = {}
        self._names: list[str] = []
        self._is_complete = True
        """Whether every reference is known to lead somewhere."""

    def run(self, task_types: Mapping[str, object] | None) -> None:
        tasks, conditions = self._body.get("tasks"), self._body.get("conditions", [])
        if not isinstance(tasks, list) or not isinstance(conditions, list) or not tasks:
            return
        if len(tasks) > MOST_TASKS or len(conditions) > MOST_CONDITIONS:
            return
        self._read_tasks(tasks)
        self._names = [*self._tasks, END]
        if task_types is not None:
            self._check_types(task_types)
        self._read_conditions(conditions)
        start = self._body.get("start_task")
        self._check_reference(start, ("start_task",))
        for task in self._tasks.values():
            self._find_routes(task)
        self._check_compensations(start)
        self._find_dead_ends()
        if isinstance(start, str) and start in self._tasks and self._is_complete:
            self._find_unreachable(start)

    def _read_tasks(self, tasks: list[Any]) -> None:
        folded: dict[str, str] = {}
        for index, task in enumerate(tasks):
            name = task.get("name") if isinstance(task, dict) else None
            if not isinstance(name, str):
                self._is_complete = False
                continue
            path: Path = ("tasks", index, "name")
            first = folded.setdefault(name.lower(), name)
            if name in self._tasks:
                self._add_duplicate(path, name, f"task {self._tasks[name].index + 1}")
                continue
            if name.lower() == END:
                self._errors.add(path, "reserved-name", f"'{END}' is where a flow ends, and names no task")
            elif first != name and NAME_PATTERN.fullmatch(name):
                detail = f"{shown(name)} and {shown(first)} differ only in upper and lower case"
                self._errors.add(path, "ambiguous-name", detail)
            kind = task.get("type")
            written = kind if isinstance(kind, str) else None
            self._tasks[name] = _Task(
                index,
                name,
                written,
                task.get("optional") is True,
                task.get("compensate_with"),
                (written or name) in LAST_STEPS,
            )

    def _add_duplicate(self, path: Path, name: str, first: str) -> None:
        if NAME_PATTERN.fullmatch(name):
            detail = f"the name {shown(name)} is taken by {first}; names are unique"
            self._errors.add(path, "duplicate-name", detail)

    def _check_types(self, task_types: Mapping[str, object]) -> None:
        for task in self._tasks.values():
            kind = task.name if task.type is None else task.type
            if kind not in task_types and NAME_PATTERN.fullmatch(kind):
                path: Path = ("tasks", task.index, "name" if task.type is None else "type")
                detail = f"no task is registered as {shown(kind)}; name its module with --task-module"
                self._errors.add(path, "unknown-task", detail, like=(kind, task_types.keys()))

    def _read_conditions(self, conditions: list[Any]) -> None:
        names: dict[str, int] = {}
        for index, condition in enumerate(conditions):
            if not isinstance(condition, dict):
                self._is_complete = False
                continue
            at: Path = ("conditions", index)
            name = condition.get("name")
            if isinstance(name, str) and names.setdefault(name, index) != index:
                self._add_duplicate((*at, "name"), name, f"condition {names[name] + 1}")
            source = condition.get("source_task")
            self._check_reference(source, (*at, "source_task"))
            targets = [condition.get("target_task_success", END), condition.get("target_task_failure")]
            self._check_reference(targets[0], (*at, "target_task_success"), or_end=True)
            if "target_task_failure" in condition:
                self._check_reference(targets[1], (*at, "target_task_failure"), or_end=True)
            if isinstance(source, str) and source in self._tasks:
                outcome = condition.get("outcome", "success")
                guarded = condition.get("when") is not None
                self._tasks[source].conditions.append(
                    _Condition(index, outcome, targets[0], targets[1], guarded)
                )

    def _check_reference(self, name: object, path: Path, or_end: bool = False) -> None:
        if isinstance(name, str) and (name in self._tasks or (or_end and name == END)):
            return
        self._is_complete = False
        if isinstance(name, str):
            detail = f"no task is named {shown(name)}"
            self._errors.add(
                path, "unknown-task", detail, like=(name, self._names if or_end else self._tasks)
            )

    def _find_routes(self, task: _Task) -> None:
        """Follow the conditions as an execution would, with the outcomes that are still possible."""
        if not task.conditions or task.is_last:
            task.next.append(END)
            return
        left = _SUCCESS if task.is_optional else _ALL
        last = task.conditions[-1]
        for condition in task.conditions:
            matched = _MATCHED_BY.get(condition.outcome, left) if isinstance(condition.outcome, str) else left
            at: Path = ("conditions", condition.index)
            if left & matched:
                task.next.append(self._known(condition.on_success))
            else:
                detail = "this never matches: its outcome cannot occur, or is matched by an earlier condition"
                self._warnings.add((*at, "outcome"), "never-matches", detail)
            if not condition.is_guarded:
                left &= ~matched
            if condition.on_failure not in (None, END) and not (left and condition is last):
                detail = (
                    "this is never used: only the last condition of a task, where none matches, leads there"
                )
                self._warnings.add((*at, "target_task_failure"), "never-taken", detail)
        if left:
            task.next.append(self._known(END if last.on_failure is None else last.on_failure))
        if left & ~_SUCCESS and last.on_failure is None:
            path: Path = ("conditions", last.index, "target_task_failure")
            detail = f"nothing says where the flow goes if task {shown(task.name)} fails; it ends"
            hint = f'write "target_task_failure": "{END}" if that is meant'
            self._warnings.add(path, "no-failure-route", detail, hint)

    def _known(self, target: object) -> str:
        """The target, or `end` for one that is unknown: what is wrong with it has been said."""
        return target if isinstance(target, str) and target in self._tasks else END

    def _check_compensations(self, start: object) -> None:
        """A task that undoes another is no part of the routes, and nothing undoes it."""
        targets = {name for task in self._tasks.values() for name in task.next}
        targets |= {start} if isinstance(start, str) else set()
        for task in self._tasks.values():
            name = task.compensate_with
            if not isinstance(name, str):
                continue
            at: Path = ("tasks", task.index, "compensate_with")
            undoing = self._tasks.get(name)
            if undoing is None:
                self._check_reference(name, at)
            elif undoing is task:
                self._errors.add(at, "bad-compensation", "a task cannot undo itself")
            elif name in targets or undoing.conditions:
                detail = f"task {shown(name)} is part of a route; what undoes a task is not"
                self._errors.add(at, "bad-compensation", detail)
            elif undoing.compensate_with is not None:
                detail = f"task {shown(name)} is undone itself; what undoes a task is not"
                self._errors.add(at, "bad-compensation", detail)

    def _find_dead_ends(self) -> None:
        """Tasks from which no way leads to the end go round in circles; each circle is told once."""
        came_from: dict[str, list[str]] = {name: [] for name in self._tasks}
        came_from[END] = []
        for task in self._tasks.values():
            for following in task.next:
                came_from[following].append(task.name)
        with_exit = _reached(END, came_from)
        seen: set[str] = set()
        for name in self._tasks:
            walked: dict[str, None] = {}
            while name not in with_exit and name not in seen:
                seen.add(name)
                walked[name] = None
                name = self._tasks[name].next[0]
            if name in walked:
                self._add_circle([*walked][[*walked].index(name) :])

    def _add_circle(self, circle: list[str]) -> None:
        first = min(circle, key=lambda name: self._tasks[name].index)
        named = ", ".join(shown(name) for name in circle[:5]) + (" ..." if len(circle) > 5 else "")
        detail = (
            f"task {shown(first)} leads only to itself: the flow can never end"
            if len(circle) == 1
            else f"the tasks {named} lead only to each other: the flow can never end"
        )
        hint = f"give one of them a target that leads to '{END}'"
        self._errors.add(("tasks", self._tasks[first].index), "no-exit", detail, hint)

    def _find_unreachable(self, start: str) -> None:
        reached = _reached(start, {name: task.next for name, task in self._tasks.items()})
        reached |= {str(task.compensate_with) for task in self._tasks.values() if task.name in reached}
        for name, task in self._tasks.items():
            if name not in reached:
                detail = f"no route leads to task {shown(name)}"
                self._warnings.add(("tasks", task.index), "unreachable", detail)


def _reached(start: str, following: Mapping[str, Iterable[str]]) -> set[str]:
    """Every name that can be reached from `start`, itself included."""
    reached, waiting = {start}, deque([start])
    while waiting:
        for name in following.get(waiting.popleft(), ()):
            if name not in reached:
                reached.add(name)
                waiting.append(name)
    return reached
