"""The live view: what happens to executions, as it becomes durable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec

from flow_manager.core.attempts import format_time
from flow_manager.core.events import Event
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.view import View


class News(msgspec.Struct, frozen=True):
    """Events of an execution, in order. `is_over`: it has ended, and these are the last."""

    events: Sequence[Event]
    is_over: bool


class Change(msgspec.Struct, frozen=True):
    """An execution has another status now. Without a flow if its history cannot be read."""

    execution_id: str
    flow_id: str
    status: ExecutionStatus
    start_time: str | None
    end_time: str | None

    @classmethod
    def to(cls, view: View) -> Change:
        started, ended = view.started_at, view.ended_at
        return cls(
            view.execution_id,
            view.flow_id,
            view.status,
            None if started is None else format_time(started),
            None if ended is None else format_time(ended),
        )

    def to_json(self) -> dict[str, Any]:
        body: dict[str, Any] = msgspec.to_builtins(self)
        return body


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
