"""The live view: what happens to executions, as it becomes durable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from flow_manager.core.attempts import format_time
from flow_manager.core.events import Event
from flow_manager.core.states import ExecutionStatus


class News(msgspec.Struct, frozen=True):
    """Events of an execution, in order. `is_over`: it has ended, and these are the last."""

    events: Sequence[Event]
    is_over: bool


class Change(msgspec.Struct, frozen=True):
    """An execution has another status now. Without a flow if its history cannot be read."""

    execution_id: str
    flow_id: str
    status: ExecutionStatus
    started_at: datetime | None
    ended_at: datetime | None

    def to_json(self) -> dict[str, Any]:
        return {
            "execution_id": self.execution_id,
            "flow_id": self.flow_id,
            "status": self.status.value,
            "start_time": None if self.started_at is None else format_time(self.started_at),
            "end_time": None if self.ended_at is None else format_time(self.ended_at),
        }


class Changes(msgspec.Struct, frozen=True):
    """Changes of status, in order. `position` is where they end. With `is_reset` some before them are not
    known any more: read the list again."""

    changes: Sequence[Change]
    position: str
    is_reset: bool = False


class Live(Protocol):
    """Iterators that give something each second at least, be it nothing: so whoever goes through them can
    give up. They end when the service stops."""

    def events(self, execution_id: str, after: int = 0) -> Iterator[News]:
        """The events after number `after`, each as soon as it is durable, until the execution has ended.
        Raises `ExecutionUnknown` and `StoreDamaged`."""

    def changes(self, position: str | None = None) -> Iterator[Changes]:
        """The changes of status that this process has made since a position, or since now; the first
        thing is where it begins. Of several changes of an execution that come together, only the last."""
