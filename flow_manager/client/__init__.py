"""The Python client of the HTTP API."""

from flow_manager.client.client import Client
from flow_manager.core.answers import (
    Accepted,
    Child,
    Diagnosis,
    Execution,
    ExecutionLine,
    HistoryEntry,
    OpenQuestion,
    ServiceHealth,
    TaskTypeLine,
)
from flow_manager.core.flow_answers import (
    ComparisonSummary,
    FlowVersion,
    Simulated,
    Tested,
    Validity,
    WhatIfAnswer,
)
from flow_manager.errors import FlowManagerError, ProblemError, ServiceUnreachable

__all__ = [
    "Accepted",
    "Child",
    "Client",
    "ComparisonSummary",
    "Diagnosis",
    "Execution",
    "ExecutionLine",
    "FlowManagerError",
    "FlowVersion",
    "HistoryEntry",
    "OpenQuestion",
    "ProblemError",
    "ServiceHealth",
    "ServiceUnreachable",
    "Simulated",
    "TaskTypeLine",
    "Tested",
    "Validity",
    "WhatIfAnswer",
]
