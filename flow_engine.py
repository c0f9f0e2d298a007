"""The engine's classes, under the name that the first brief gave their place."""

from __future__ import annotations

from flow_manager.core.conditions import ConditionEvaluator
from flow_manager.core.parser import FlowParser
from flow_manager.engine.orchestrator import FlowOrchestrator

__all__ = ["ConditionEvaluator", "FlowOrchestrator", "FlowParser"]
