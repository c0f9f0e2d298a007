"""What a task is made of: `from task_executor import TaskExecutor, register_task`."""

from __future__ import annotations

from flow_manager.core.results import PermanentTaskError, RetryTask
from flow_manager.tasks.executor import TaskExecutor
from flow_manager.tasks.registry import TaskRegistry, register_task

__all__ = ["PermanentTaskError", "RetryTask", "TaskExecutor", "TaskRegistry", "register_task"]
