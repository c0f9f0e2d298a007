"""Flow documents for the tests of the whole service."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any


def document(*tasks: Mapping[str, Any], flow_id: str = "test", **fields: Any) -> dict[str, Any]:
    """A flow whose tasks follow one another as long as they succeed. A task without a name is
    called `task` and its number."""
    named = [{"name": f"task{number}", **task} for number, task in enumerate(tasks, 1)]
    conditions = [
        {
            "name": f"condition{number}",
            "source_task": source["name"],
            "outcome": "success",
            "target_task_success": target["name"],
            "target_task_failure": "end",
        }
        for number, (source, target) in enumerate(itertools.pairwise(named), 1)
    ]
    flow = {"id": flow_id, "name": "A test", "start_task": named[0]["name"], "tasks": named}
    return {"flow": {**flow, "conditions": conditions, **fields}}


def task(task_type: str, input: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A task of a type, with its input and whatever else."""
    return {"type": task_type, **({"input": dict(input)} if input else {}), **fields}
