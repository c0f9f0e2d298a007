"""References: whether the results that expressions read can be there.

A forward analysis over the ways of the flow: which tasks have surely, and which have possibly, had a
run before each task. Sets of tasks are bits of an integer, so that ten thousand tasks are no trouble.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from flow_manager.core.definition import END, Flow
from flow_manager.core.findings import Findings
from flow_manager.core.plain import Path, shown
from flow_manager.core.ways import Way, ways_out


class Reading(Protocol):
    """An expression, or the expressions of a mapping together."""

    @property
    def results_used(self) -> frozenset[str]: ...

    @property
    def results_guarded(self) -> frozenset[str]: ...


class Use(NamedTuple):
    """Results that are read at a place, and the point of the flow at which they are: before a task
    starts, after it ended, or at the end."""

    path: Path
    reading: Reading
    point: str
    is_after: bool = False


def find_bad_references(flow: Flow, errors: Findings, warnings: Findings) -> None:
    """What expressions read of tasks that do not exist, or that no route has run before."""
    uses = [use for use in _uses(flow) if use.reading.results_used]
    if not uses:
        return
    known = Runs(flow)
    for use in uses:
        surely, possibly = known.at(use.point, use.is_after)
        for name in sorted(use.reading.results_used):
            _check(flow, use, name, (known.bit(name) & surely, known.bit(name) & possibly), errors, warnings)


def _check(
    flow: Flow, use: Use, name: str, known: tuple[int, int], errors: Findings, warnings: Findings
) -> None:
    if name not in flow.tasks:
        errors.add(use.path, "unknown-task", f"no task is named {shown(name)}", like=(name, flow.tasks))
    elif not known[1]:
        detail = f"no route runs task {shown(name)} before this, so it can have no result here"
        errors.add(use.path, "no-result", detail)
    elif not known[0] and name not in use.reading.results_guarded:
        detail = f"on some route task {shown(name)} has no result here"
        hint = f'ask first: "{name}" in results'
        warnings.add(use.path, "maybe-no-result", detail, hint)


def _uses(flow: Flow) -> Iterator[Use]:
    for index, task in enumerate(flow.tasks.values()):
        if task.input is not None:
            yield Use(("tasks", index, "input"), task.input, task.name)
        if task.run_when is not None:
            yield Use(("tasks", index, "run_when"), task.run_when, task.name)
    for conditions in flow.conditions_from.values():
        for condition in conditions:
            if condition.when is not None:
                path: Path = ("conditions", condition.index, "when")
                yield Use(path, condition.when, condition.source_task, is_after=True)
    if flow.output is not None:
        yield Use(("output",), flow.output, END)


class Runs:
    """Which tasks have had a run at each point of a flow."""

    def __init__(self, flow: Flow) -> None:
        self._bits = {name: 1 << number for number, name in enumerate(flow.tasks)}
        self._surely: dict[str, int] = {}
        self._possibly: dict[str, int] = {}
        self._follow(flow)
        for task in flow.tasks.values():
            if task.compensate_with is not None and task.name in self._surely:
                self._arrive(task.compensate_with, *self.at(task.name, is_after=True))
                self._possibly[task.compensate_with] = (1 << len(flow.tasks)) - 1

    def bit(self, name: str) -> int:
        return self._bits.get(name, 0)

    def at(self, point: str, is_after: bool) -> tuple[int, int]:
        """The tasks that surely, and that possibly, have had a run; at a point that no route reaches
        nothing is amiss, so all of them have."""
        everything = (1 << len(self._bits)) - 1
        own = self._bits[point] if is_after else 0
        surely, possibly = self._surely.get(point, everything), self._possibly.get(point, everything)
        return surely | own, possibly | own

    def _follow(self, flow: Flow) -> None:
        ways = {
            name: [way for way in ways_out(flow, task) if _counts(way)] for name, task in flow.tasks.items()
        }
        self._surely[flow.start_task] = self._possibly[flow.start_task] = 0
        waiting = deque([flow.start_task])
        while waiting:
            name = waiting.popleft()
            for way in ways[name]:
                if self._arrive(way.target, *self.at(name, is_after=True)) and way.target != END:
                    waiting.append(way.target)

    def _arrive(self, point: str, surely: int, possibly: int) -> bool:
        """One more way leads to a point; whether that changes what is known of it."""
        if point not in self._surely:
            self._surely[point], self._possibly[point] = surely, possibly
            return True
        before = self._surely[point], self._possibly[point]
        self._surely[point] &= surely
        self._possibly[point] |= possibly
        return before != (self._surely[point], self._possibly[point])


def _counts(way: Way) -> bool:
    """At the end, only completed executions have an output."""
    return way.target != END or way.can_complete
