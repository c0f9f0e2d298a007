"""The scheduler: starts what schedules say, when it is time. One more loop of the engine.

Any number of them may look at the same store: the store settles who has fired a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec

from flow_manager.core.attempts import format_time
from flow_manager.core.catching_up import Occurrence, next_occurrence
from flow_manager.core.schedule_answers import FireOutcome
from flow_manager.core.schedule_document import ScheduleDocument, stored_schedule
from flow_manager.core.schedules import jitter_of
from flow_manager.engine.lookout import Lookout
from flow_manager.engine.scheduled_starts import ScheduledStarts
from flow_manager.engine.zone_data import zone_data
from flow_manager.errors import InvalidRequest, RateLimited, ScheduleConflict, StoreDamaged, StoreError
from flow_manager.ports.clock import Clock
from flow_manager.ports.scheduling import Fired, Firing, Queued, ScheduleStore, StoredSchedule
from flow_manager.ports.store import NewExecution

log = logging.getLogger(__name__)

MOST_FIRED_AT_ONCE: Final = 100
LONGEST_NAP: Final = 1.0
"""Seconds between two looks, whatever was or was not announced."""

Answer = TypeVar("Answer")


class Scheduler:
    """`is_busy` tells whether nothing can be started now; `started` is called when something was, with
    the ids of the executions that were told to end for it."""

    def __init__(
        self,
        schedules: ScheduleStore,
        clock: Clock,
        starts: ScheduledStarts,
        is_busy: Callable[[], bool],
        started: Callable[[Sequence[str]], None],
    ) -> None:
        self._schedules = schedules
        self._clock = clock
        self._starts = starts
        self._is_busy = is_busy
        self._started = started
        self._lookout = Lookout("looking for due schedules", self.look, LONGEST_NAP)
        self._spent: dict[str, datetime] = {}
        """Flows whose rate is spent, and until when: what is queued of them is not tried before."""
        self._has_new_zones = True

    def nudge(self) -> None:
        """A schedule has other times now."""
        self._lookout.nudge()

    async def run(self) -> None:
        """Look until cancelled."""
        await self._lookout.run()

    async def look(self) -> float:
        """Fire what is due; the answer is how long to wait before the next look, in seconds."""
        if self._has_new_zones:
            await self._follow_zones()
        if self._is_busy():
            return LONGEST_NAP
        now = self._clock.now()
        self._spent = {flow_id: until for flow_id, until in self._spent.items() if until > now}
        due, queued, next_at = await _elsewhere(lambda: self._agenda(now))
        work = [*(self._fire(each) for each in due), *(self._start_queued(each) for each in queued)]
        has_moved = await asyncio.gather(*work, return_exceptions=True)
        for error in has_moved:
            if isinstance(error, BaseException):
                raise error
        if any(has_moved):
            return 0.0
        if work or next_at is None:
            return LONGEST_NAP
        return min(LONGEST_NAP, max(0.0, (next_at - now).total_seconds()))

    def _agenda(self, now: datetime) -> tuple[Sequence[StoredSchedule], Sequence[Queued], datetime | None]:
        due = self._schedules.due(now, MOST_FIRED_AT_ONCE)
        queued = self._schedules.queued(MOST_FIRED_AT_ONCE, self._spent)
        return due, queued, self._schedules.next_at()

    # -- one schedule

    async def _fire(self, seen: StoredSchedule) -> bool:
        """Deal with one time of a schedule. False if somebody else has: nothing was changed then."""
        try:
            firing = await _elsewhere(lambda: self._firing(seen))
        except Exception as error:  # the edge of a schedule: damage has every form, and stops this one alone
            return await self._set_aside(seen, error)
        return await self._carry_out(firing, self._schedules.fire(firing))

    def _firing(self, seen: StoredSchedule) -> Firing:
        document, now = stored_schedule(seen.document), self._clock.now()
        rule = document.rule
        late = timedelta(0) if document.jitter is None else jitter_of(seen.id, document.jitter)
        window = document.catchup_window
        found = next_occurrence(rule, document.missed, window, seen.cursor, now - late)
        if found is None:
            found = Occurrence(None, (), seen.cursor)
        following = rule.after(found.cursor)
        next_at = None if following is None else following + late
        firing = Firing(seen, now, found.cursor, next_at, document.overlap, missed=found.missed)
        if found.missed:
            more = " and more" if found.are_more else ""
            log.warning("schedule %s: %d times%s were missed", seen.id, len(found.missed), more)
        if found.nominal is None:
            return firing
        outcome, start = self._start_of(document, found.nominal, now)
        return msgspec.structs.replace(
            firing,
            nominal=found.nominal,
            start=start,
            outcome=outcome,
            flow_id=document.flow_id,
            flow_version=document.version,
        )

    def _start_of(
        self, document: ScheduleDocument, nominal: datetime, now: datetime
    ) -> tuple[FireOutcome, NewExecution | None]:
        flow = self._starts.flow(document)
        if flow is None:
            log.error("schedule %s: the flow %s is not there", document.id, document.flow_id)
            return "no_flow", None
        try:
            return "started", self._starts.execution(document, flow, nominal, now)
        except InvalidRequest as error:
            log.error("schedule %s: %s", document.id, error)
            return "bad_input", None

    async def _start_queued(self, queued: Queued) -> bool:
        try:
            firing = await _elsewhere(lambda: self._queued_firing(queued))
        except Exception as error:  # the edge of a schedule
            firing = self._damaged(queued.schedule, queued.nominal, error)
        return await self._carry_out(firing, self._schedules.start_queued(queued, firing))

    def _queued_firing(self, queued: Queued) -> Firing:
        seen, nominal = queued.schedule, queued.nominal
        document, now = stored_schedule(seen.document), self._clock.now()
        outcome, start = self._start_of(document, nominal, now)
        return Firing(
            seen,
            now,
            seen.cursor,
            seen.next_at,
            document.overlap,
            nominal,
            start,
            outcome,
            (),
            document.flow_id,
            document.version,
        )

    async def _carry_out(self, firing: Firing, writing: Awaitable[Fired]) -> bool:
        try:
            fired = await writing
        except ScheduleConflict as error:
            log.debug("schedule %s: %s", firing.seen.id, error)
            return False
        except RateLimited as error:
            self._spent[firing.flow_id] = firing.at + timedelta(seconds=error.retry_after)
            return False
        if firing.nominal is not None:
            nominal = format_time(firing.nominal)
            started = (
                firing.start.execution_id if firing.start is not None and fired.outcome == "started" else ""
            )
            log.info("schedule %s, nominal time %s: %s %s", firing.seen.id, nominal, fired.outcome, started)
        if fired.outcome == "started":
            self._started(fired.cancelled)
        return True

    async def _set_aside(self, seen: StoredSchedule, error: Exception) -> bool:
        """A schedule that cannot be gone on with is never due again, until it is stored anew."""
        firing = self._damaged(seen, seen.next_at or self._clock.now(), error)
        return await self._carry_out(firing, self._schedules.fire(firing))

    def _damaged(self, seen: StoredSchedule, nominal: datetime, error: Exception) -> Firing:
        """What becomes of a time of such a schedule. Raises an error that is not the schedule's."""
        if isinstance(error, StoreError) and not isinstance(error, StoreDamaged):
            raise error
        log.error("schedule %s cannot be gone on with, it is set aside: %s", seen.id, error, exc_info=error)
        cursor = max(seen.cursor, nominal)
        return Firing(seen, self._clock.now(), cursor, None, "allow", nominal, None, "damaged")

    # -- zones

    async def _follow_zones(self) -> None:
        """The rules of time zones change: times that were found with others are found anew."""
        release = zone_data()
        while True:
            found = await _elsewhere(
                lambda: self._schedules.with_other_zone_data(release, MOST_FIRED_AT_ONCE)
            )
            for seen in found:
                await self._follow(seen, release)
            if not found:
                self._has_new_zones = False
                return

    async def _follow(self, seen: StoredSchedule, release: str) -> None:
        next_at = seen.next_at
        try:
            document = stored_schedule(seen.document)
            following = document.rule.after(seen.cursor)
            if following is not None and next_at is not None:
                late = timedelta(0) if document.jitter is None else jitter_of(seen.id, document.jitter)
                next_at = following + late
        except (ValueError, LookupError) as error:  # found again when it is due
            log.error("schedule %s cannot be read: %s", seen.id, error)
        if next_at != seen.next_at:
            log.warning(
                "schedule %s: its next time is %s, with the time zones of %s", seen.id, next_at, release
            )
        with contextlib.suppress(ScheduleConflict):
            moved = msgspec.structs.replace(seen, next_at=next_at, zone_data=release)
            await self._schedules.move(seen, moved)


async def _elsewhere(read: Callable[[], Answer]) -> Answer:
    """What is read on another thread: the loop does not wait for the connections that everybody uses."""
    return await asyncio.get_running_loop().run_in_executor(None, read)
