"""Schedules: what is started by the clock. For users (`Schedules`), and what the engine needs of a database
for it (`ScheduleReader`, `ScheduleStore`).

What must always be true:

1. A nominal time of a schedule starts at most one execution, whoever looks and however often.
2. An execution that a schedule starts, the record of it, and the new `cursor` and `next_at` of the schedule
   become durable together or not at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from flow_manager.core.attempts import format_time
from flow_manager.core.schedule_answers import FireOutcome
from flow_manager.core.schedule_document import Overlap
from flow_manager.ports.store import NewExecution

MOST_BACKFILLED: Final = 1_000
"""Nominal times that one backfill may start."""
DEFAULT_BACKFILLED: Final = 100
MOST_QUEUED: Final = 100
"""Nominal times of one schedule that wait for the `rate` of its flow."""
DEFAULT_PREVIEWED: Final = 10
MOST_PREVIEWED: Final = 100


class StoredSchedule(msgspec.Struct, frozen=True):
    """A schedule as it is stored. `document` is its canonical text. `cursor` is the last nominal time that
    was dealt with, `next_at` when it is looked at again; never if None."""

    id: str
    version: int
    document: str
    is_paused: bool
    cursor: datetime
    next_at: datetime | None
    zone_data: str
    changed_at: datetime


class Fire(msgspec.Struct, frozen=True):
    """What became of a nominal time of a schedule."""

    nominal: datetime
    at: datetime
    outcome: FireOutcome
    execution_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "nominal_time": format_time(self.nominal),
            "time": format_time(self.at),
            "outcome": self.outcome,
            "execution_id": self.execution_id,
        }


class Queued(msgspec.Struct, frozen=True):
    """A nominal time that waits for the end of the execution before it, or for the `rate` of the flow."""

    schedule: StoredSchedule
    nominal: datetime


class Begun(msgspec.Struct, frozen=True):
    """The nominal times that were started, and the one from which on no more may be at the moment, if any."""

    nominals: Sequence[datetime]
    refused_from: datetime | None = None


class Firing(msgspec.Struct, frozen=True):
    """What is to be done with a schedule that is due: `seen` fences out whoever has seen an older one.

    `start` is the execution for the time `nominal`; without it `outcome` is recorded for that time. The
    times of `missed` are recorded as such. `flow_id` and `flow_version` say of which flow it was made."""

    seen: StoredSchedule
    at: datetime
    cursor: datetime
    next_at: datetime | None
    overlap: Overlap
    nominal: datetime | None = None
    start: NewExecution | None = None
    outcome: FireOutcome = "started"
    missed: Sequence[datetime] = ()
    flow_id: str = ""
    flow_version: int | None = None


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule as users see it. `document` is None if what is stored cannot be read. `next_times` are
    nominal; a jitter comes on top."""

    schedule: StoredSchedule
    document: Mapping[str, Any] | None
    next_times: Sequence[datetime]

    def to_json(self) -> dict[str, Any]:
        stored = self.schedule
        return {
            "id": stored.id,
            "version": stored.version,
            "paused": stored.is_paused,
            "changed_time": format_time(stored.changed_at),
            "next_time": None if stored.next_at is None else format_time(stored.next_at),
            "next_times": [format_time(each) for each in self.next_times],
            "schedule": self.document,
        }


@dataclass(frozen=True, slots=True)
class Backfill:
    """What a backfill has done: the times that it started, how many of those that it looked at had been
    started before, and the time from which to go on, if there are more or no more may be started now."""

    started: Sequence[Fire]
    already: int
    go_on_since: datetime | None

    def to_json(self) -> dict[str, Any]:
        return {
            "started": [each.to_json() for each in self.started],
            "already_started": self.already,
            "go_on_since": None if self.go_on_since is None else format_time(self.go_on_since),
        }


class Fired(msgspec.Struct, frozen=True):
    """What became of a firing, and which executions were told to end for it."""

    outcome: FireOutcome
    cancelled: Sequence[str] = ()


class ScheduleReader(Protocol):
    """The reading side of the store."""

    def get(self, schedule_id: str) -> StoredSchedule:
        """Raises `ScheduleUnknown`."""

    def all(self, *, after: str, limit: int) -> Sequence[StoredSchedule]:
        """Those with a greater id, in the order of their ids."""

    def fires(self, schedule_id: str, limit: int) -> Sequence[Fire]:
        """The latest nominal times first."""

    def flow(self, flow_id: str, version: int | None) -> tuple[str, bytes] | None:
        """The digest and the text of a published flow, of the newest version if none is named; None if it is
        not there."""

    def due(self, now: datetime, limit: int) -> Sequence[StoredSchedule]:
        """Those that are not paused and due, the longest overdue first."""

    def next_at(self) -> datetime | None:
        """When the next schedule is due."""

    def queued(self, limit: int, but_of: Collection[str] = ()) -> Sequence[Queued]:
        """The oldest queued nominal time of each schedule that is not paused and has no open execution any
        more, or does not mind; but for schedules of these flows."""

    def with_other_zone_data(self, zone_data: str, limit: int) -> Sequence[StoredSchedule]:
        """Those whose next time was found with other time zones."""


class ScheduleStore(ScheduleReader, Protocol):
    """The writing side. Every call may raise what the writes of the store raise."""

    def put(self, schedule: StoredSchedule, seen: StoredSchedule | None) -> Awaitable[None]:
        """Store a schedule in the place of the one that was seen, or as a new one. Raises `ScheduleConflict`
        if it is not as it was seen."""

    def delete(self, schedule_id: str, seen: int | None) -> Awaitable[None]:
        """Forget a schedule; what is queued of it is never started. Raises `ScheduleUnknown`, and
        `ScheduleConflict` if `seen` is another version than the stored one."""

    def move(self, seen: StoredSchedule, moved: StoredSchedule) -> Awaitable[None]:
        """Pause it, resume it, or give it other times; its version stays. Raises `ScheduleConflict` if it is
        not as it was seen."""

    def fire(self, firing: Firing) -> Awaitable[Fired]:
        """Do what is due, in one transaction. A time whose start would exceed the rate of the flow is queued.
        Raises `ScheduleConflict` if the schedule or its flow is not as it was seen, or the nominal time was
        dealt with: nothing has happened then."""

    def start_queued(self, queued: Queued, firing: Firing) -> Awaitable[Fired]:
        """Start what was queued, if nothing of the schedule is open that is in its way. Raises
        `ScheduleConflict`, and `RateLimited` if it has to wait longer."""

    def start_now(
        self,
        schedule_id: str,
        outcome: FireOutcome,
        at: datetime,
        starts: Sequence[tuple[datetime, NewExecution]],
    ) -> Awaitable[Begun]:
        """Start these nominal times of one flow and input, whatever else of the schedule is open, but for
        those that had started before; as many as the terms of their flow allow. Raises `ScheduleUnknown`, and
        `RateLimited` or `ConcurrencyFull` if none was started for it."""


class Schedules(Protocol):
    """What users may do with schedules. What changes something may raise what `Backend.execute` raises."""

    def put(self, schedule_id: str, document: object, seen: int | None = None) -> tuple[ScheduleView, bool]:
        """Store a schedule; the answer tells as well whether it is new. Storing what is stored already
        changes nothing. A changed rule counts from now on. `seen` is the version that is meant to be
        replaced, 0 if there is meant to be none. Raises `InvalidSchedule` and `ScheduleConflict`."""

    def get(self, schedule_id: str) -> ScheduleView:
        """Raises `ScheduleUnknown`."""

    def all(self, *, after: str = "", limit: int = 50) -> Sequence[ScheduleView]:
        """Those with a greater id, in the order of their ids."""

    def delete(self, schedule_id: str, seen: int | None = None) -> None:
        """What it has started goes on. Raises `ScheduleUnknown` and `ScheduleConflict`."""

    def pause(self, schedule_id: str) -> ScheduleView:
        """No time of it is started until it is resumed. Raises `ScheduleUnknown`."""

    def resume(self, schedule_id: str) -> ScheduleView:
        """Go on with the times from now on. Raises `ScheduleUnknown`."""

    def trigger(self, schedule_id: str) -> str:
        """Start it now, whatever its times, its pause and its overlap policy say; the answer is the id of the
        execution. Raises `ScheduleUnknown`, `InvalidSchedule` if its flow cannot be started, `RateLimited`
        and `ConcurrencyFull`."""

    def backfill(
        self, schedule_id: str, since: datetime, until: datetime, limit: int = DEFAULT_BACKFILLED
    ) -> Backfill:
        """Start the nominal times of a range of the past that have not been started, the oldest first,
        whatever is open, as many as the flow allows. Raises `ScheduleUnknown`, `InvalidRequest`,
        `InvalidSchedule`, and `RateLimited` or `ConcurrencyFull` if it allows none."""

    def preview(self, document: object, count: int = DEFAULT_PREVIEWED) -> Sequence[datetime]:
        """The next nominal times of a schedule that is not stored. Raises `InvalidSchedule`."""

    def next_times(self, schedule_id: str, count: int = DEFAULT_PREVIEWED) -> Sequence[datetime]:
        """The next nominal times. Raises `ScheduleUnknown`."""

    def fires(self, schedule_id: str, limit: int = 50) -> Sequence[Fire]:
        """What became of its times, the latest first. Raises `ScheduleUnknown`."""
