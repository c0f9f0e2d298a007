"""What tasks hand back and flows are made of: `from models import TaskExecutionResult, TaskStatus`."""

from __future__ import annotations

from flow_manager.core.definition import Condition, Flow, Task
from flow_manager.core.results import TaskError, TaskExecutionResult, TaskStatus
from flow_manager.core.states import ExecutionStatus

__all__ = ["Condition", "ExecutionStatus", "Flow", "Task", "TaskError", "TaskExecutionResult", "TaskStatus"]
