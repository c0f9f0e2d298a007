"""A capsule as the HTTP API answers it. See `core.answers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from flow_manager.core.answers import ExecutionSummary, Moment
from flow_manager.core.events import Event


class LeftOut(msgspec.Struct, frozen=True):
    """How many events and children a capsule had no room for."""

    events: int
    children: int


class ChildCapsule(msgspec.Struct, frozen=True):
    """The capsule of a child, and which child of its parent it is."""

    run: int
    attempt: int
    index: int
    capsule: Capsule


class Capsule(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded execution as one document. `definition` is the flow that it started with."""

    format: str
    exported_at: Moment
    execution: ExecutionSummary
    definition: Mapping[str, Any]
    history: Sequence[Event]
    children: Sequence[ChildCapsule]
    left_out: LeftOut | None = None
