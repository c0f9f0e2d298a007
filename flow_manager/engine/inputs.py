"""What is given to executions from outside: whether it can be accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flow_manager.core.definition import Flow, Task
from flow_manager.core.inputs import filled_input
from flow_manager.core.values import find_fault
from flow_manager.errors import InvalidRequest, Problem


def accepted_input(flow: Flow, input: Mapping[str, Any], most_bytes: int) -> Mapping[str, Any]:
    """The input of an execution, with the defaults of its schema. Raises `InvalidRequest`."""
    must_be_plain("input", input, most_bytes)
    filled = filled_input(flow, input)
    if filled is not input:
        must_be_plain("input", filled, most_bytes)
    return filled


def must_be_plain(member: str, value: Any, most_bytes: int) -> None:
    """Raises `InvalidRequest` for what is not JSON, or more than may be kept."""
    fault = find_fault({member: value}, most_bytes)
    if fault is not None:
        code = "too-large" if fault.code == "limit.output_size" else "not-plain"
        where = fault.pointer if code == "not-plain" else f"#/{member}"
        raise InvalidRequest(f"the {member} cannot be accepted", [Problem(where, code, fault.detail)])


def awaits_signals(flow: Flow, name: str) -> bool:
    """Whether some task waits for signals of this name, or may: its name may be an expression."""
    return any(_awaits(task, name) for task in flow.tasks.values())


def _awaits(task: Task, name: str) -> bool:
    if task.type != "signal":
        return False
    if task.input is None:
        return task.name == name
    if not task.input.is_constant:
        return True
    return (task.input.evaluate({}).get("name") or task.name) == name
