"""The view: an execution as its history tells it so far.

`View.apply` is the only way a view changes, and the history is the only thing it is made of:
a crash, a wait and a plain next step all continue from the same fold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from flow_manager.core.attempts import format_time
from flow_manager.core.events import Event
from flow_manager.core.facts import APPLY, Facts, Phase
from flow_manager.core.states import MOVING, STATUS_OF, ExecutionStatus, Wake, WakeReason

__all__ = ["Phase", "View"]


class View(Facts):
    """The facts, folded from events, and what the open execution waits for."""

    @classmethod
    def fold(cls, execution_id: str, events: Iterable[Event]) -> Self:
        view = cls(execution_id)
        for event in events:
            view.apply(event)
        return view

    def apply(self, event: Event) -> None:
        """Fold one event in."""
        APPLY[type(event)](self, event)
        self.told_at = event.at
        self.last_seq += 1

    def waiting_for(self, wake: Wake) -> Self:
        """The same view, telling what the open execution waits for."""
        if self.phase is Phase.ENDED:  # opened again, and nothing has come of it yet
            self.phase, self.ended_at = Phase.READY, None
            self.error = self.output = self.ending = None
        self.wake = wake
        self.status = STATUS_OF[wake.reason]
        if self.ending is not None and self.status in MOVING:
            self.status = ExecutionStatus.COMPENSATING
        return self

    def to_json(self) -> dict[str, Any]:
        """The body of `POST /flow/execute` and `GET /flow/status/<id>`."""
        body: dict[str, Any] = {
            "execution_id": self.execution_id,
            "flow_id": self.flow_id,
            "status": self.status.value,
            "execution_history": [attempt.to_json() for attempt in self.attempts],
            "start_time": None if self.started_at is None else format_time(self.started_at),
            "end_time": None if self.ended_at is None else format_time(self.ended_at),
        }
        if self.labels:
            body["labels"] = dict(self.labels)
        if self.parent is not None:
            body["parent"] = {"execution_id": self.parent.execution_id, "run": self.parent.run}
        if self.forked_from:
            body["forked_from"] = self.forked_from
        if self.error is not None:
            body["error"] = self.error.to_json()
        if self.output is not None:
            body["output"] = self.output
        if self.wake is not None and self.wake.reason is not WakeReason.CLAIM:
            body["waiting"] = {
                "reason": self.wake.reason.value,
                "due_at": format_time(self.wake.due_at),
                "detail": self.wake.detail,
            }
        return body
