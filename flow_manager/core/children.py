"""Children: the executions that a task of type `flow` or `for_each` starts and waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from flow_manager.core.definition import Flow
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus

MOST_DEPTH = 16
"""Children of children, and so on, at most."""


class ParentLink(msgspec.Struct, frozen=True):
    """Whose child an execution is: the attempt that started it, and its place among the children of
    that attempt, from 0. `depth` is 1 for the child of an execution that is nobody's child."""

    execution_id: str
    run: int
    attempt: int
    index: int
    depth: int


class ChildStart(msgspec.Struct, frozen=True, gc=False):
    """A child to be started, in the transaction that records the step of its parent."""

    flow: Flow
    run: int
    attempt: int
    index: int
    input: Mapping[str, Any]


class ChildEnd(msgspec.Struct, frozen=True):
    """How a child ended."""

    index: int
    execution_id: str
    status: ExecutionStatus
    output: Any = None
    error: TaskError | None = None


class Children(msgspec.Struct, frozen=True):
    """The children of one attempt: how many were started, how many of these are still open or did not
    complete, and how many bytes of JSON tell how they ended. `ends` are those of all that have ended, by
    place; None if they were not asked for."""

    started: int
    open: int
    unsuccessful: int
    bytes: int = 0
    ends: Sequence[ChildEnd] | None = None


class ToChildren(msgspec.Struct, frozen=True):
    """Something for all children of an attempt: `cancel` those that are open, or `compensate` those
    that completed."""

    kind: Literal["cancel", "compensate"]
    run: int
    attempt: int
