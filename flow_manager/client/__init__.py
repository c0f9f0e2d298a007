"""The Python client of the HTTP API."""

from flow_manager.client.client import Client
from flow_manager.client.flows import PublishedFlow
from flow_manager.core.answers import (
    Accepted,
    ActedOn,
    Child,
    Diagnosis,
    Execution,
    ExecutionLine,
    ExecutionList,
    HistoryEntry,
    OpenQuestion,
    Reason,
    Repaired,
    ServiceHealth,
    TaskTypeLine,
)
from flow_manager.core.flow_answers import (
    ComparisonSummary,
    DeletedFlow,
    FlowVersion,
    Simulated,
    StartedAll,
    StartedItem,
    Tested,
    Validity,
    WhatIfAnswer,
)
from flow_manager.core.schedule_answers import Backfilled, Schedule, ScheduleFire
from flow_manager.errors import FlowManagerError, ProblemError, ServiceUnreachable

__all__ = [
    "Accepted",
    "ActedOn",
    "Backfilled",
    "Child",
    "Client",
    "ComparisonSummary",
    "DeletedFlow",
    "Diagnosis",
    "Execution",
    "ExecutionLine",
    "ExecutionList",
    "FlowManagerError",
    "FlowVersion",
    "HistoryEntry",
    "OpenQuestion",
    "ProblemError",
    "PublishedFlow",
    "Reason",
    "Repaired",
    "Schedule",
    "ScheduleFire",
    "ServiceHealth",
    "ServiceUnreachable",
    "Simulated",
    "StartedAll",
    "StartedItem",
    "TaskTypeLine",
    "Tested",
    "Validity",
    "WhatIfAnswer",
]
