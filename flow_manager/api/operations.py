"""The table of all operations. A test holds it against the routes of the application."""

from __future__ import annotations

from typing import Final

from flow_manager.api import (
    operations_executions,
    operations_flows,
    operations_published,
    operations_schedules,
    operations_search,
    operations_service,
)
from flow_manager.api.operation import Operation

OPERATIONS: Final[tuple[Operation, ...]] = (
    *operations_flows.OPERATIONS,
    *operations_published.OPERATIONS,
    *operations_search.OPERATIONS,
    *operations_executions.OPERATIONS,
    *operations_schedules.OPERATIONS,
    *operations_service.OPERATIONS,
)
