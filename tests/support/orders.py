"""Orders for a worker, made of little."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flow_manager.core.attempts import Attempt
from flow_manager.ports.worker import AttemptOrder

MIDNIGHT = datetime(2026, 1, 14, tzinfo=UTC)


def order(
    task_type: str,
    task_input: Mapping[str, Any] | None = None,
    *,
    timeout: float | None = None,
    attempt: int = 1,
    earlier: Mapping[str, Attempt] | None = None,
) -> AttemptOrder:
    """An attempt of the third task run of execution `e1`."""
    return AttemptOrder(
        "e1", "shop", "charge", task_type, 3, attempt, {"order": 7}, task_input or {}, earlier or {}, timeout
    )


def ended(task: str, run: int, data: Any, status: str = "success") -> Attempt:
    return Attempt(task, run, 1, MIDNIGHT, MIDNIGHT, status, f"{task} ended", data)
