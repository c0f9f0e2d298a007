"""Flows for the tests of the core, made without a document."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from flow_manager.core.definition import Condition, Flow, Task


def flow_of(
    *tasks: Task | str,
    conditions: Sequence[Condition] = (),
    timeout: timedelta | None = None,
    max_task_runs: int = 1000,
) -> Flow:
    """A flow that starts at the first task. A task given by its name alone is of a type of that name."""
    named = [Task(task, task) if isinstance(task, str) else task for task in tasks]
    conditions_from: dict[str, tuple[Condition, ...]] = {}
    for condition in conditions:
        before = conditions_from.get(condition.source_task, ())
        conditions_from[condition.source_task] = (*before, condition)
    return Flow(
        id="test",
        name="A test",
        start_task=named[0].name,
        tasks={task.name: task for task in named},
        conditions_from=conditions_from,
        description="",
        labels={},
        timeout=timeout,
        max_task_runs=max_task_runs,
        document="{}",
        digest="0" * 64,
    )
