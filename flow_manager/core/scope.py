"""What the expressions of a flow can see."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flow_manager.core.attempts import Attempt
from flow_manager.core.definition import Flow
from flow_manager.core.view import View


class Results(Mapping[str, dict[str, Any]]):
    """The last result of each task, made when it is asked for."""

    __slots__ = ("_attempts",)

    def __init__(self, attempts: Mapping[str, Attempt]) -> None:
        self._attempts = attempts

    def __getitem__(self, task: str) -> dict[str, Any]:
        return self._attempts[task].as_result()

    def __iter__(self) -> Any:
        return iter(self._attempts)

    def __len__(self) -> int:
        return len(self._attempts)


def scope_of(flow: Flow, view: View, now: datetime) -> dict[str, Any]:
    """The names that are known everywhere."""
    return {
        "input": view.input,
        "results": Results(view.results),
        "execution": {
            "id": view.execution_id,
            "started_at": view.started_at or now,
            "labels": view.labels,
            "task_runs": view.run,
        },
        "flow": {"id": flow.id, "version": view.flow_version},
        "now": now,
    }


def scope_after(flow: Flow, view: View, now: datetime) -> dict[str, Any]:
    """The names that a condition knows: those, and what came of its source task."""
    entry = view.attempts[-1]
    return scope_of(flow, view, now) | {"result": entry.as_result(), "outcome": view.outcome}
