"""References: whether the results that expressions read can be there.

Which tasks have had a run before a point of the flow, `core.runs` tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from flow_manager.core.definition import END, Flow
from flow_manager.core.findings import Findings
from flow_manager.core.plain import Path, shown
from flow_manager.core.runs import Runs


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
