"""The Python client of the HTTP API."""

from flow_manager.client.client import Client
from flow_manager.core.answers import (
    Accepted,
    Child,
    ComparisonSummary,
    Diagnosis,
    Execution,
    ExecutionLine,
    FlowVersion,
    HistoryEntry,
    OpenQuestion,
    ServiceHealth,
    Simulated,
    TaskTypeLine,
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
