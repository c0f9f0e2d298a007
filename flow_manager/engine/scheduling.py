"""What users do with schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec
import orjson

from flow_manager.core.schedule_document import ScheduleDocument, read_schedule, stored_schedule
from flow_manager.core.schedules import jitter_of, times_after, times_between
from flow_manager.engine.loop_thread import LoopThread
from flow_manager.engine.scheduled_starts import ScheduledStarts
from flow_manager.engine.zone_data import zone_data
from flow_manager.errors import (
    InvalidRequest,
    Problem,
    ScheduleConflict,
    ScheduleUnknown,
    StoreDamaged,
    StoreReadOnly,
)
from flow_manager.ports.clock import Clock
from flow_manager.ports.scheduling import (
    DEFAULT_BACKFILLED,
    DEFAULT_PREVIEWED,
    MOST_BACKFILLED,
    Backfill,
    Begun,
    Fire,
    ScheduleReader,
    ScheduleStore,
    ScheduleView,
    StoredSchedule,
)

PATIENCE: Final = 10.0
"""Seconds to wait until a change is durable."""
TRIES: Final = 5
"""How often a change is tried that meets a schedule which fires at the same time."""
SHOWN: Final = 5
"""Next times that are shown with a schedule."""
OLDEST: Final = timedelta(days=366)
"""How far back a backfill may reach: as long as it is remembered what was started."""
_TICK: Final = timedelta(microseconds=1)
_READ_ONLY: Final = "the database cannot be written, so no schedule can be changed; reading works"

Answer = TypeVar("Answer")


class ReadingSchedules:
    """Implements `ports.scheduling.Schedules` for a store that cannot be written."""

    def __init__(self, reader: ScheduleReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock

    def get(self, schedule_id: str) -> ScheduleView:
        return self._view(self._reader.get(schedule_id))

    def all(self, *, after: str = "", limit: int = 50) -> Sequence[ScheduleView]:
        return [self._view(each) for each in self._reader.all(after=after, limit=limit)]

    def preview(self, document: object, count: int = DEFAULT_PREVIEWED) -> Sequence[datetime]:
        now = self._clock.now()
        return times_after(read_schedule(document, now, _id_of(document)).rule, now, count)

    def next_times(self, schedule_id: str, count: int = DEFAULT_PREVIEWED) -> Sequence[datetime]:
        stored = self._reader.get(schedule_id)
        return times_after(_read(stored).rule, max(stored.cursor, self._clock.now()), count)

    def fires(self, schedule_id: str, limit: int = 50) -> Sequence[Fire]:
        self._reader.get(schedule_id)
        return self._reader.fires(schedule_id, limit)

    def _view(self, stored: StoredSchedule) -> ScheduleView:
        try:
            rule, document = stored_schedule(stored.document).rule, orjson.loads(stored.document)
        except (ValueError, LookupError):  # one that is damaged is shown among the others
            return ScheduleView(stored, None, ())
        is_over = stored.is_paused or stored.next_at is None
        return ScheduleView(stored, document, [] if is_over else times_after(rule, stored.cursor, SHOWN))

    def put(self, schedule_id: str, document: object, seen: int | None = None) -> tuple[ScheduleView, bool]:
        raise StoreReadOnly(_READ_ONLY)

    def delete(self, schedule_id: str, seen: int | None = None) -> None:
        raise StoreReadOnly(_READ_ONLY)

    def pause(self, schedule_id: str) -> ScheduleView:
        raise StoreReadOnly(_READ_ONLY)

    def resume(self, schedule_id: str) -> ScheduleView:
        raise StoreReadOnly(_READ_ONLY)

    def trigger(self, schedule_id: str) -> str:
        raise StoreReadOnly(_READ_ONLY)

    def backfill(
        self, schedule_id: str, since: datetime, until: datetime, limit: int = DEFAULT_BACKFILLED
    ) -> Backfill:
        raise StoreReadOnly(_READ_ONLY)


class NativeSchedules(ReadingSchedules):
    """Implements `ports.scheduling.Schedules` on a store; writes cross to the engine's `loop`. `changed` is
    called there when a schedule may have other times, or something was started."""

    def __init__(
        self,
        store: ScheduleStore,
        clock: Clock,
        starts: ScheduledStarts,
        loop: LoopThread,
        changed: Callable[[], None],
    ) -> None:
        super().__init__(store, clock)
        self._store = store
        self._starts = starts
        self._loop = loop
        self._changed = changed

    def put(self, schedule_id: str, document: object, seen: int | None = None) -> tuple[ScheduleView, bool]:
        return _tried(lambda: self._put(schedule_id, document, seen))

    def _put(self, schedule_id: str, written: object, seen: int | None) -> tuple[ScheduleView, bool]:
        stored = self._stored(schedule_id)
        _must_be(stored, seen)
        now = self._clock.now()
        document = read_schedule(written, now, schedule_id, is_known=stored is not None)
        if stored is not None and _is_stored(document, stored):
            return self._view(stored), False
        before = None if stored is None else _timing(stored)
        if before != document.timing:
            read_schedule(written, now, schedule_id)
        self._starts.check(document)
        is_same_rule = stored is not None and before == document.timing
        cursor = now if stored is None else stored.cursor if is_same_rule else max(now, stored.cursor)
        new = StoredSchedule(
            schedule_id,
            1 if stored is None else stored.version + 1,
            document.text,
            stored is not None and stored.is_paused,
            cursor,
            _next_at(document, cursor),
            zone_data(),
            now,
        )
        self._write(self._store.put, new, stored)
        return self._view(new), stored is None

    def delete(self, schedule_id: str, seen: int | None = None) -> None:
        self._write(self._store.delete, schedule_id, seen)

    def pause(self, schedule_id: str) -> ScheduleView:
        return _tried(lambda: self._move(schedule_id, True))

    def resume(self, schedule_id: str) -> ScheduleView:
        return _tried(lambda: self._move(schedule_id, False))

    def _move(self, schedule_id: str, is_paused: bool) -> ScheduleView:
        stored = self._reader.get(schedule_id)
        if stored.is_paused != is_paused:
            now, moved = self._clock.now(), msgspec.structs.replace(stored, is_paused=is_paused)
            if not is_paused:
                cursor = max(now, stored.cursor)
                next_at = _next_at(_read(stored), cursor)
                moved = msgspec.structs.replace(moved, cursor=cursor, next_at=next_at)
            moved = msgspec.structs.replace(moved, changed_at=now)
            self._write(self._store.move, stored, moved)
            stored = moved
        return self._view(stored)

    def trigger(self, schedule_id: str) -> str:
        document = _read(self._reader.get(schedule_id))
        flow = self._starts.check(document)
        now = self._clock.now()
        new = self._starts.execution(document, flow, now, now)
        begun: Begun = self._write(self._store.start_now, schedule_id, "triggered", now, [(now, new)])
        if not begun.nominals:
            raise ScheduleConflict("it was triggered twice at the same time; it was started once")
        return new.execution_id

    def backfill(
        self, schedule_id: str, since: datetime, until: datetime, limit: int = DEFAULT_BACKFILLED
    ) -> Backfill:
        document = _read(self._reader.get(schedule_id))
        now = self._clock.now()
        _check_range(since, until, limit, now)
        flow = self._starts.check(document)
        times = times_between(document.rule, since - _TICK, until, limit + 1)
        chosen, more = times[:limit], times[limit:]
        starts = [(nominal, self._starts.execution(document, flow, nominal, now)) for nominal in chosen]
        ids = {nominal: new.execution_id for nominal, new in starts}
        begun: Begun = self._write(self._store.start_now, schedule_id, "backfilled", now, starts)
        fires = [Fire(nominal, now, "backfilled", ids[nominal]) for nominal in begun.nominals]
        end = begun.refused_from
        looked_at = len(chosen) if end is None else chosen.index(end)
        return Backfill(fires, looked_at - len(fires), end or (more[0] if more else None))

    def _stored(self, schedule_id: str) -> StoredSchedule | None:
        try:
            return self._reader.get(schedule_id)
        except ScheduleUnknown:
            return None

    def _write(self, verb: Callable[..., Any], *arguments: Any) -> Any:
        return self._loop.complete(self._written(verb, *arguments), PATIENCE)

    async def _written(self, verb: Callable[..., Any], *arguments: Any) -> Any:
        answer = await verb(*arguments)
        self._changed()
        return answer


def _tried(change: Callable[[], Answer]) -> Answer:
    """A schedule that fires while it is changed is looked at again."""
    for _ in range(TRIES - 1):
        try:
            return change()
        except ScheduleConflict:
            continue
    return change()


def _read(stored: StoredSchedule) -> ScheduleDocument:
    try:
        return stored_schedule(stored.document)
    except ValueError as error:
        raise StoreDamaged(f"the schedule {stored.id} as it is stored cannot be read") from error


def _is_stored(document: ScheduleDocument, stored: StoredSchedule) -> bool:
    """Whether it is stored already, and has not been set aside."""
    return stored.document == document.text and stored.next_at == _next_at(document, stored.cursor)


def _timing(stored: StoredSchedule) -> tuple[object, ...] | None:
    """What its times follow from; None if it is damaged, so that it can be stored anew."""
    try:
        return stored_schedule(stored.document).timing
    except ValueError:
        return None


def _next_at(document: ScheduleDocument, cursor: datetime) -> datetime | None:
    found = document.rule.after(cursor)
    late = timedelta(0) if document.jitter is None else jitter_of(document.id, document.jitter)
    return None if found is None else found + late


def _must_be(stored: StoredSchedule | None, seen: int | None) -> None:
    version = 0 if stored is None else stored.version
    if seen is not None and seen != version:
        what = f"its version is {version} now" if version else "there is none"
        raise ScheduleConflict(f"the schedule is not the one that you have seen: {what}")


def _check_range(since: datetime, until: datetime, limit: int, now: datetime) -> None:
    problems = []
    if since < now - OLDEST:
        problems.append(Problem("#/since", "out-of-range", f"at most {OLDEST.days} days ago"))
    if until > now:
        problems.append(Problem("#/until", "out-of-range", "it must not be in the future"))
    if since > until:
        problems.append(Problem("#/until", "order", "it must not be before since"))
    if not 1 <= limit <= MOST_BACKFILLED:
        problems.append(Problem("#/limit", "out-of-range", f"a whole number from 1 to {MOST_BACKFILLED}"))
    if problems:
        raise InvalidRequest("the range cannot be filled in", problems)


def _id_of(document: object) -> str | None:
    """A schedule that is only looked at needs no id."""
    return None if isinstance(document, dict) and "id" in document else "preview"
