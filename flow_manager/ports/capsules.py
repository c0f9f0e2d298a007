"""Capsules: recorded executions as documents, to be taken elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol


class Capsules(Protocol):
    def export(self, execution_id: str, exported_at: datetime) -> Mapping[str, Any]:
        """The capsule of an execution, with those of its children, as a JSON value of bounded size. What did
        not fit is counted in its member `left_out`. Raises `ExecutionUnknown` and `StoreDamaged`."""
