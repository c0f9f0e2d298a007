"""Attempts as the history tells them: entries of `execution_history`, and results."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from flow_manager.core.results import TaskError


def format_time(moment: datetime) -> str:
    """ISO 8601 in UTC, to the microsecond."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


class Attempt(msgspec.Struct):
    """One attempt of a task run: an entry of the execution history. Open until `ended_at` is set."""

    task: str
    run: int
    attempt: int
    started_at: datetime
    ended_at: datetime | None = None
    status: str = "running"
    message: str = ""
    data: Any = None
    error: TaskError | None = None
    compensates: int = 0
    """The run that it undoes, if it undoes one."""
    given_by: str = ""
    """Who gave the result in place of a body, if somebody did."""
    completed: int = 0
    """How many of its children had completed when it was cancelled."""

    def to_json(self) -> dict[str, Any]:
        """The entry of `execution_history`: the brief's four fields and what else is known."""
        took = None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds() * 1000
        entry = {
            "task_name": self.task,
            "status": self.status,
            "message": self.message,
            "data": self.data,
            "run": self.run,
            "attempt": self.attempt,
            "start_time": format_time(self.started_at),
            "end_time": None if self.ended_at is None else format_time(self.ended_at),
            "duration_ms": None if took is None else round(took, 3),
            "error": None if self.error is None else self.error.to_json(),
        }
        if self.compensates:
            entry["compensates"] = self.compensates
        if self.given_by:
            entry["given_by"] = self.given_by
        return entry

    def as_result(self) -> dict[str, Any]:
        """The result as expressions see it."""
        return {
            "status": self.status,
            "data": self.data,
            "message": self.message,
            "error": None if self.error is None else self.error.to_json(),
            "attempts": self.attempt,
        }
