"""The flows and tasks of the workloads."""

from __future__ import annotations

import itertools
from typing import Any

from flow_manager.tasks.context import TaskContext
from flow_manager.tasks.registry import register_task


@register_task("bench.nothing")
async def nothing(context: TaskContext) -> None:
    """Returns at once, on the loop."""


@register_task("bench.nothing_plain")
def nothing_plain(context: TaskContext) -> None:
    """Returns at once, in a thread."""


def chain(length: int, task_type: str, flow_id: str = "bench") -> dict[str, Any]:
    """A flow document of `length` tasks, each going on to the next if it succeeded."""
    names = [f"task{number}" for number in range(1, length + 1)]
    conditions = [
        {
            "name": f"condition_{source}_result",
            "description": "",
            "source_task": source,
            "outcome": "success",
            "target_task_success": target,
            "target_task_failure": "end",
        }
        for source, target in itertools.pairwise(names)
    ]
    tasks = [{"name": name, "description": "", "type": task_type} for name in names]
    flow = {
        "id": flow_id,
        "name": "A chain",
        "start_task": names[0],
        "tasks": tasks,
        "conditions": conditions,
    }
    return {"flow": flow}
