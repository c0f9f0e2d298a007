"""Schedules in SQLite: the tables `schedules` and `fires`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Protocol, TypeVar, cast

import msgspec

from flow_manager.core.schedule_answers import FireOutcome
from flow_manager.errors import (
    ConcurrencyFull,
    FlowManagerError,
    RateLimited,
    ScheduleConflict,
    ScheduleUnknown,
)
from flow_manager.ports.scheduling import (
    MOST_QUEUED,
    Begun,
    Fire,
    Fired,
    Firing,
    Queued,
    StoredSchedule,
)
from flow_manager.ports.store import NewExecution, NewMail
from flow_manager.stores.sqlite.commands import Doing
from flow_manager.stores.sqlite.rows import from_key, from_micros, to_micros

Answer = TypeVar("Answer")

KEPT: Final = timedelta(days=366)
"""How long what became of a nominal time is remembered; a backfill reaches no further back."""
FORGOTTEN_AT_ONCE: Final = 10
_CHANGED: Final = "the schedule was changed, or this time was dealt with, since it was looked at"

_Row = tuple[Any, ...]


class Reading(Protocol):
    """The part of the reader that is needed here."""

    def rows(self, name: str, *bindings: str | int | bytes | None) -> list[_Row]: ...


class Writing(Protocol):
    """The part of the store that is needed here."""

    def work(self, write: Callable[[Doing], Answer]) -> Awaitable[Answer]: ...


class SqliteScheduleReader:
    """Implements `ports.scheduling.ScheduleReader`."""

    def __init__(self, reader: Reading) -> None:
        self._reader = reader

    def get(self, schedule_id: str) -> StoredSchedule:
        found = self._reader.rows("schedule_by_id", _findable(schedule_id))
        if not found:
            raise _unknown(schedule_id)
        return _schedule(found[0])

    def all(self, *, after: str, limit: int) -> Sequence[StoredSchedule]:
        return [_schedule(row) for row in self._reader.rows("all_schedules", _findable(after), limit)]

    def fires(self, schedule_id: str, limit: int) -> Sequence[Fire]:
        return [_fire(*row) for row in self._reader.rows("fires_of_schedule", _findable(schedule_id), limit)]

    def flow(self, flow_id: str, version: int | None) -> tuple[str, bytes] | None:
        for digest, text in self._reader.rows("flow_for_schedule", flow_id, version):
            if sha256(text).digest() == digest:
                return digest.hex(), bytes(text)
        return None

    def due(self, now: datetime, limit: int) -> Sequence[StoredSchedule]:
        return [_schedule(row) for row in self._reader.rows("due_schedules", to_micros(now), limit)]

    def next_at(self) -> datetime | None:
        ((found,),) = self._reader.rows("next_schedule")
        return None if found is None else from_micros(found)

    def queued(self, limit: int, but_of: Collection[str] = ()) -> Sequence[Queued]:
        rows = self._reader.rows("queued_fires", msgspec.json.encode(sorted(but_of)).decode(), limit)
        return [Queued(_schedule(row[1:]), from_micros(row[0])) for row in rows]

    def with_other_zone_data(self, zone_data: str, limit: int) -> Sequence[StoredSchedule]:
        return [_schedule(row) for row in self._reader.rows("schedules_of_other_zones", zone_data, limit)]


class SqliteSchedules(SqliteScheduleReader):
    """Implements `ports.scheduling.ScheduleStore`."""

    def __init__(self, reader: Reading, writer: Writing) -> None:
        super().__init__(reader)
        self._writer = writer

    def put(self, schedule: StoredSchedule, seen: StoredSchedule | None) -> Awaitable[None]:
        def write(doing: Doing) -> None:
            found = doing.rows("schedule_by_id", (schedule.id,))
            if (_schedule(found[0]) if found else None) != seen:
                raise ScheduleConflict(_CHANGED)
            doing.run("put_schedule", _row_of(schedule))

        return self._writer.work(write)

    def delete(self, schedule_id: str, seen: int | None) -> Awaitable[None]:
        def write(doing: Doing) -> None:
            stored = _version(doing, schedule_id)
            if stored == 0:
                raise _unknown(schedule_id)
            _must_be(stored if seen is None else seen, stored)
            doing.run("drop_queue", (schedule_id,))
            doing.run("delete_schedule", (schedule_id,))

        return self._writer.work(write)

    def move(self, seen: StoredSchedule, moved: StoredSchedule) -> Awaitable[None]:
        return self._writer.work(lambda doing: _move(doing, seen, moved))

    def fire(self, firing: Firing) -> Awaitable[Fired]:
        return self._writer.work(lambda doing: _fire_now(doing, firing))

    def start_queued(self, queued: Queued, firing: Firing) -> Awaitable[Fired]:
        def write(doing: Doing) -> Fired:
            running = _running(doing, firing)
            if running and firing.overlap != "cancel":
                raise ScheduleConflict(_CHANGED)
            if _version(doing, queued.schedule.id) != queued.schedule.version:
                raise ScheduleConflict(_CHANGED)
            outcome, key = _started(doing, firing)
            at, nominal = to_micros(firing.at), to_micros(queued.nominal)
            if not doing.run("end_queue", (at, outcome, key, queued.schedule.id, nominal)):
                raise ScheduleConflict(_CHANGED)
            return Fired(outcome, () if key is None else _cancel(doing, firing, running))

        return self._writer.work(write)

    def start_now(
        self,
        schedule_id: str,
        outcome: FireOutcome,
        at: datetime,
        starts: Sequence[tuple[datetime, NewExecution]],
    ) -> Awaitable[Begun]:
        def write(doing: Doing) -> Begun:
            if _version(doing, schedule_id) == 0:
                raise _unknown(schedule_id)
            left = [
                (nominal, new)
                for nominal, new in starts
                if not doing.rows("started_at", (schedule_id, to_micros(nominal)))
            ]
            answers = doing.start([new for _, new in left])
            begun: list[datetime] = []
            for nominal, new in left:
                answer = answers[new.execution_id]
                if isinstance(answer, FlowManagerError):  # so is each one after it: their terms are the same
                    if not begun:
                        raise answer
                    return Begun(begun, nominal)
                doing.run("start_fire", (schedule_id, to_micros(nominal), to_micros(at), outcome, answer.key))
                begun.append(nominal)
            return Begun(begun)

        return self._writer.work(write)


def _fire_now(doing: Doing, firing: Firing) -> Fired:
    seen, at = firing.seen, to_micros(firing.at)
    _move(doing, seen, msgspec.structs.replace(seen, cursor=firing.cursor, next_at=firing.next_at))
    for missed in firing.missed:
        doing.run("add_fire", (seen.id, to_micros(missed), at, "skipped_missed", None))
    doing.run("forget_fires", (at - KEPT // timedelta(microseconds=1), FORGOTTEN_AT_ONCE))
    if firing.nominal is None:
        return Fired("skipped_missed")
    nominal = to_micros(firing.nominal)
    found = doing.rows("fire_at", (seen.id, nominal))
    if found:  # somebody has triggered it, or filled it in, before its time
        return Fired(found[0][0])
    running = _running(doing, firing)
    outcome, key = _outcome(doing, firing, bool(running)), None
    if firing.start is not None and outcome == firing.outcome:
        if firing.overlap == "cancel":  # what waits to be started is older than this one
            doing.run("drop_queue", (seen.id,))
        try:
            outcome, key = _started(doing, firing)
        except RateLimited:
            outcome = "queued"
    cancelled = () if key is None else _cancel(doing, firing, running)
    doing.run("add_fire", (seen.id, nominal, at, outcome, key))
    return Fired(outcome, cancelled)


def _running(doing: Doing, firing: Firing) -> Sequence[tuple[bytes]]:
    """What is open of the schedule, if its policy minds."""
    return [] if firing.overlap == "allow" else doing.rows("open_of_schedule", (firing.seen.id,))


def _outcome(doing: Doing, firing: Firing, is_running: bool) -> FireOutcome:
    """What becomes of the time: it is started, unless one before it goes on or waits and the policy minds."""
    if firing.start is None or firing.overlap == "cancel":
        return firing.outcome
    ((queued,),) = doing.rows("count_queued", (firing.seen.id, MOST_QUEUED))
    if firing.overlap == "allow":
        return firing.outcome if not queued else "queued" if queued < MOST_QUEUED else "skipped_rate"
    if queued or (is_running and firing.overlap == "skip"):
        return "skipped_overlap"
    return "queued" if is_running else firing.outcome


def _cancel(doing: Doing, firing: Firing, running: Sequence[tuple[bytes]]) -> Sequence[str]:
    ids = [from_key(key) for (key,) in running]
    for execution_id in ids:
        reason = f"schedule {firing.seen.id} starts the next one"
        doing.send(NewMail(execution_id, firing.at, "cancel", reason))
    return ids


def _started(doing: Doing, firing: Firing) -> tuple[FireOutcome, bytes | None]:
    """Start the execution, if its flow is still the one that it was made of: what became of it, and its key.
    Raises `RateLimited`."""
    new = firing.start
    if new is None:
        return firing.outcome, None
    found = doing.rows("digest_for_schedule", (firing.flow_id, firing.flow_version))
    if found != [(bytes.fromhex(new.digest),)]:
        raise ScheduleConflict("the flow of the schedule was changed since it was looked at")
    answer = doing.start([new])[new.execution_id]
    if isinstance(answer, ConcurrencyFull):
        return "skipped_full", None
    if isinstance(answer, FlowManagerError):
        raise answer
    return firing.outcome, answer.key


def _move(doing: Doing, seen: StoredSchedule, moved: StoredSchedule) -> None:
    _, _, _, is_paused, cursor, next_at, zone_data, changed_at = _row_of(moved)
    fence = (seen.id, seen.version, to_micros(seen.cursor), seen.is_paused)
    if not doing.run("move_schedule", (is_paused, cursor, next_at, zone_data, changed_at, *fence)):
        raise ScheduleConflict(_CHANGED)


def _version(doing: Doing, schedule_id: str) -> int:
    """The version that is stored; 0 if none is."""
    found = doing.rows("schedule_by_id", (schedule_id,))
    return found[0][1] if found else 0


def _must_be(seen: int | None, stored: int) -> None:
    if (seen or 0) != stored:
        what = f"its version is {stored} now" if stored else "it does not exist now"
        raise ScheduleConflict(f"the schedule was changed meanwhile: {what}")


def _row_of(schedule: StoredSchedule) -> _Row:
    return (
        schedule.id,
        schedule.version,
        schedule.document,
        schedule.is_paused,
        to_micros(schedule.cursor),
        None if schedule.next_at is None else to_micros(schedule.next_at),
        schedule.zone_data,
        to_micros(schedule.changed_at),
    )


def _schedule(row: _Row) -> StoredSchedule:
    schedule_id, version, document, is_paused, cursor, next_at, zone_data, changed_at = row
    return StoredSchedule(
        schedule_id,
        version,
        document.decode(errors="replace"),
        bool(is_paused),
        from_micros(cursor or 0),
        None if next_at is None else from_micros(next_at),
        zone_data,
        from_micros(changed_at),
    )


def _fire(nominal: int, at: int, outcome: str, key: bytes | None) -> Fire:
    execution_id = None if key is None else from_key(key)
    return Fire(from_micros(nominal), from_micros(at), cast(FireOutcome, outcome), execution_id)


def _findable(schedule_id: str) -> str:
    """A text that SQLite can look for, whatever stands in an address."""
    return schedule_id.encode(errors="replace").decode()


def _unknown(schedule_id: str) -> ScheduleUnknown:
    return ScheduleUnknown(f"no schedule has the id {schedule_id[:64]!r}")
