from __future__ import annotations

import copy
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow_manager.core.cel_functions import FUNCTIONS, HAS, LOOPS
from flow_manager.core.expressions import (
    NAMES,
    Expression,
    ExpressionError,
    ExpressionFault,
    Place,
    compile_expression,
)

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "expressions.md"
SLOWEST = 0.25
"""Seconds of processor time for what is to end within 50 ms, on a machine that does other things too."""

NOW = datetime(2026, 1, 5, 9, 30, 15, 250_000, tzinfo=UTC)
STARTED_AT = datetime(2026, 1, 4, 9, 30, tzinfo=UTC)

SCOPE: dict[str, Any] = {
    "input": {
        "region": "eu",
        "text": "Hello, World",
        "count": 3,
        "price": 2.5,
        "whole": 4.0,
        "zero": 0,
        "least": -(2**63),
        "most": 2**63 - 1,
        "yes": True,
        "no": False,
        "nothing": None,
        "numbers": [3, 1, 2],
        "mixed": [1, 2.0, "three", None, True],
        "words": ["b", "a"],
        "empty": [],
        "address": {"city": "Paris", "zip-code": "75001", "lines": ["1", "2"]},
        "items": [{"id": 1, "ok": True}, {"id": 2, "ok": False}],
        "a-b": 1,
        "time": "2026-01-01T00:00:00Z",
        "Ünï": "é😀",
    },
    "result": {"status": "success", "data": {"total": 200}, "message": "", "error": None, "attempts": 2},
    "outcome": "success",
    "results": {
        "charge": {"status": "success", "data": {"id": 7}, "message": "", "error": None, "attempts": 1},
        "send-mail": {"status": "failure", "data": None, "message": "", "error": {"code": "x"}, "attempts": 3},
    },
    "execution": {"id": "e-1", "started_at": STARTED_AT, "labels": {"team": "a"}, "task_runs": 2},
    "flow": {"id": "order", "version": 4},
    "now": NOW,
    "secrets": {"token": "s3cr3t"},
}


def evaluate(source: str, place: Place = Place.CONDITION, scope: Mapping[str, Any] = SCOPE) -> Any:
    """The value of an expression that need not be a condition."""
    if place is Place.CONDITION:
        source = f"[{source}]" if "//" not in source else f"[{source}\n]"
        return compile_expression_anywhere(source).evaluate(scope)[0]
    return compile_expression(source, place).evaluate(scope)


def compile_expression_anywhere(source: str) -> Expression:
    names = [*NAMES[Place.CONDITION]]
    return compile_expression(source, Place.OUTPUT) if names else compile_expression(source, Place.CONDITION)
