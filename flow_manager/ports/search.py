"""Search: which of the stored executions, a page at a time, and how many there are of each status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from flow_manager.core.attempts import format_time
from flow_manager.core.states import ExecutionStatus, WakeReason

DEFAULT_LISTED: Final = 50
"""Executions in a list whose length nobody asked for."""
MOST_LISTED: Final = 1000
"""Executions in the longest list that can be asked for."""
MOST_LABELS_ASKED: Final = 5
"""Labels that can be asked for at once."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One line of a list of executions. `reason` is what an open one waits for; `error` the code of the
    error that an ended one failed with."""

    execution_id: str
    flow_id: str
    status: ExecutionStatus
    started_at: datetime
    ended_at: datetime | None
    labels: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    reason: WakeReason | None = None

    def to_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "execution_id": self.execution_id,
            "flow_id": self.flow_id,
            "status": self.status.value,
            "start_time": format_time(self.started_at),
            "end_time": None if self.ended_at is None else format_time(self.ended_at),
        }
        if self.labels:
            body["labels"] = dict(self.labels)
        if self.error is not None:
            body["error"] = self.error
        if self.reason is not None:
            body["reason"] = self.reason.value
        return body


class Filter(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an execution must be to be found: all that is said here.

    `version` is a version of the published flow `flow_id`, and finds executions of its document. `since` is
    inclusive, `until` exclusive; both are held against the time in the id. `error` is a code, or with a dot
    at its end the beginning of one. `text` is part of the id of the flow, of the value of a label or of the
    code of the error, letters A to Z alike in both cases; or else the beginning of an id.
    """

    flow_id: str | None = None
    version: int | None = None
    status: ExecutionStatus | None = None
    labels: Sequence[tuple[str, str]] = ()
    since: datetime | None = None
    until: datetime | None = None
    error: str | None = None
    reason: WakeReason | None = None
    text: str | None = None


class Found(msgspec.Struct, frozen=True):
    """What a store found, the newest first. `last` is the id up to which it has looked, and None if there
    is no more: a bounded look may find fewer than it was asked for, or none, and have more to look at."""

    executions: Sequence[Summary]
    last: str | None


class Page(msgspec.Struct, frozen=True):
    """A page of executions, the newest first. With a `cursor` there is more to look at, also if the page
    is short or empty."""

    executions: Sequence[Summary]
    cursor: str | None

    def to_json(self) -> dict[str, Any]:
        return {"executions": [each.to_json() for each in self.executions], "cursor": self.cursor}


class Search(Protocol):
    def page(self, wanted: Filter, cursor: str | None = None, limit: int = DEFAULT_LISTED) -> Page:
        """Up to `limit` executions that are `wanted`, after those of the page that `cursor` came with.
        Raises `CursorInvalid` for a cursor that nobody gave out, or that came with another filter."""

    def counts(self) -> Mapping[ExecutionStatus, int]:
        """How many executions there are of each status, a second ago or later."""
