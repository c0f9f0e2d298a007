"""The tasks of `sample_flow.json`: fetch some numbers, add them up, store the sum.

Fetching fails by chance, 10 % of the time, so that the unhappy path is seen too. Two environment
variables rule the chance: `FLOW_MANAGER_SAMPLE_FAILURE_RATE` (from 0 to 1, default 0.1) and
`FLOW_MANAGER_SAMPLE_SEED` (an integer: the same fetches, counted from the start, then fail each time).
"""

from __future__ import annotations

import os
import random

from models import TaskExecutionResult, TaskStatus
from task_executor import TaskExecutor, register_task

FAILURE_RATE = float(os.environ.get("FLOW_MANAGER_SAMPLE_FAILURE_RATE", "0.1"))
CHANCE = random.Random(os.environ.get("FLOW_MANAGER_SAMPLE_SEED"))


@register_task("task1")
class FetchData(TaskExecutor):
    """Fetches records from a source that is sometimes not there."""

    def execute(self, context):
        if CHANCE.random() < FAILURE_RATE:
            return TaskExecutionResult(
                task_name="task1",
                status=TaskStatus.FAILURE,
                message="Failed to fetch data: the source did not answer",
            )
        records = [{"id": number, "value": number * 10} for number in range(1, 6)]
        return TaskExecutionResult(
            task_name="task1",
            status=TaskStatus.SUCCESS,
            message="Data fetched successfully",
            data={"records": records, "count": len(records)},
        )


@register_task("task2")
class ProcessData(TaskExecutor):
    """Adds up the values that task1 fetched."""

    def execute(self, context):
        records = context.results["task1"].data["records"]
        total = sum(record["value"] for record in records)
        return TaskExecutionResult(
            task_name="task2",
            status=TaskStatus.SUCCESS,
            message="Data processed successfully",
            data={"count": len(records), "total": total, "average": total / len(records)},
        )


@register_task("task3")
class StoreData(TaskExecutor):
    """Stores what task2 made of the data; here, it only says where that would be."""

    def execute(self, context):
        processed = context.results["task2"].data
        context.logger.info("storing a total of %s", processed["total"])
        return TaskExecutionResult(
            task_name="task3",
            status=TaskStatus.SUCCESS,
            message="Data stored successfully",
            data={"stored": processed, "location": f"results/{context.execution_id}"},
        )
