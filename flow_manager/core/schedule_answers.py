"""The answers of the HTTP API about schedules. See `core.answers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from flow_manager.core.answers import Moment

FireOutcome = Literal[
    "started",
    "queued",
    "skipped_overlap",
    "skipped_missed",
    "skipped_full",
    "skipped_rate",
    "no_flow",
    "bad_input",
    "triggered",
    "backfilled",
    "damaged",
]
"""What became of a nominal time."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it stands. `schedule` is its document, None if it is damaged; `next_time` is when it is
    looked at, with its jitter; `next_times` are nominal."""

    id: str
    version: int
    paused: bool
    changed_time: Moment
    next_time: Moment | None
    next_times: Sequence[Moment]
    schedule: Mapping[str, Any] | None


class ScheduleList(msgspec.Struct, frozen=True):
    """Schedules, by id."""

    schedules: Sequence[Schedule]


class ScheduleFire(msgspec.Struct, frozen=True):
    """What became of a nominal time of a schedule, and when."""

    nominal_time: Moment
    time: Moment
    outcome: FireOutcome
    execution_id: str | None


class FireList(msgspec.Struct, frozen=True):
    """What became of the times of a schedule, the latest first."""

    fires: Sequence[ScheduleFire]


class Times(msgspec.Struct, frozen=True):
    """The next nominal times of a schedule."""

    times: Sequence[Moment]


class Backfilled(msgspec.Struct, frozen=True):
    """What a backfill has started, how many of the range had been started before, and the time from which
    to go on, if there are more."""

    started: Sequence[ScheduleFire]
    already_started: int
    go_on_since: Moment | None
