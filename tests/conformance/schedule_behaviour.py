"""What every store must do with schedules. A store's own test file subclasses `ScheduleBehaviour` and says
how to open it, and how to publish a flow."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.errors import ScheduleConflict, ScheduleUnknown
from flow_manager.ports.scheduling import Firing, StoredSchedule
from flow_manager.ports.store import NewExecution, Store
from tests.support.executions import DEFINITION, NOW, last_step, new_execution, started

MINUTE = timedelta(minutes=1)
SCHEDULE = StoredSchedule("one", 1, '{"id":"one"}', False, NOW, NOW + MINUTE, "2026a", NOW)


def start(at: datetime = NOW) -> NewExecution:
    """An execution of the flow `stored`, as a schedule starts it."""
    return new_execution(Wake(WakeReason.DUE, at), events=[started()])


def firing(seen: StoredSchedule = SCHEDULE, number: int = 1, **fields: Any) -> Firing:
    """The nominal time so many minutes after now, and the next one after it."""
    nominal = NOW + number * MINUTE
    usual = {"overlap": "allow", "nominal": nominal, "start": start(nominal), "flow_id": "stored"}
    return Firing(seen, nominal, nominal, nominal + MINUTE, **{**usual, **fields})


class ScheduleBehaviour(ABC):
    @abstractmethod
    def make(self) -> Store:
        """The store of this test; again the same one after it was stopped."""

    @abstractmethod
    def publish(self, flow_id: str, text: str) -> None:
        """Publish a flow of the stopped store, as its newest version."""

    def play(self, scenario: Callable[[Store], Awaitable[None]]) -> None:
        async def scene() -> None:
            store = self.make()
            await store.open(NOW, self._fail)
            await scenario(store)
            assert list(store.violations()) == []
            await store.stop()

        asyncio.run(scene())

    def _fail(self, error: BaseException) -> None:
        raise error

    def publish_stored(self) -> None:
        self.play(_nothing)
        self.publish("stored", DEFINITION)

    def test_what_was_put_is_there_after_a_restart(self) -> None:
        other = msgspec.structs.replace(SCHEDULE, id="two", next_at=None)

        async def write(store: Store) -> None:
            await store.schedules.put(SCHEDULE, None)
            await store.schedules.put(other, None)

        async def read(store: Store) -> None:
            assert store.schedules.get("one") == SCHEDULE
            assert store.schedules.all(after="", limit=9) == [SCHEDULE, other]
            assert store.schedules.all(after="one", limit=9) == [other]
            assert store.schedules.all(after="", limit=1) == [SCHEDULE]
            assert store.schedules.due(NOW, 9) == []
            assert store.schedules.due(NOW + MINUTE, 9) == [SCHEDULE]
            assert store.schedules.next_at() == NOW + MINUTE
            assert store.schedules.with_other_zone_data("2026a", 9) == []
            assert len(store.schedules.with_other_zone_data("2026b", 9)) == 2

        self.play(write)
        self.play(read)

    def test_whoever_has_seen_an_older_one_changes_nothing(self) -> None:
        async def scenario(store: Store) -> None:
            newer = msgspec.structs.replace(SCHEDULE, version=2)
            paused = msgspec.structs.replace(newer, is_paused=True, next_at=None)
            await store.schedules.put(SCHEDULE, None)
            await store.schedules.put(newer, SCHEDULE)
            for late in (None, SCHEDULE):
                with pytest.raises(ScheduleConflict):
                    await store.schedules.put(SCHEDULE, late)
            with pytest.raises(ScheduleConflict):
                await store.schedules.move(SCHEDULE, paused)
            with pytest.raises(ScheduleConflict):
                await store.schedules.delete("one", 1)
            assert store.schedules.get("one") == newer
            await store.schedules.move(newer, paused)
            assert store.schedules.get("one") == paused
            assert store.schedules.due(NOW + MINUTE, 9) == []
            await store.schedules.delete("one", 2)
            with pytest.raises(ScheduleUnknown):
                await store.schedules.delete("one", None)

        self.play(scenario)

    @pytest.mark.parametrize("name", ["", "none", "\ud800", "\0", "x" * 10_000])
    def test_a_schedule_that_is_not_there(self, name: str) -> None:
        async def scenario(store: Store) -> None:
            with pytest.raises(ScheduleUnknown):
                store.schedules.get(name)
            assert store.schedules.fires(name, 9) == []

        self.play(scenario)

    def test_a_time_its_execution_and_the_next_time_are_stored_together(self) -> None:
        self.publish_stored()

        async def scenario(store: Store) -> None:
            await store.schedules.put(SCHEDULE, None)
            fire = firing(missed=[NOW + timedelta(seconds=1)])
            fired = await store.schedules.fire(fire)
            assert fired.outcome == "started"
            moved = store.schedules.get("one")
            assert (moved.cursor, moved.next_at, moved.version) == (NOW + MINUTE, NOW + 2 * MINUTE, 1)
            latest, missed = store.schedules.fires("one", 9)
            assert fire.start is not None
            assert (latest.nominal, latest.execution_id) == (NOW + MINUTE, fire.start.execution_id)
            assert (missed.outcome, missed.execution_id) == ("skipped_missed", None)
            assert store.agenda(NOW + MINUTE).due == 1
            with pytest.raises(ScheduleConflict):
                await store.schedules.fire(firing(number=2))
            assert len(store.executions()) == 1
            again = msgspec.structs.replace(moved, cursor=NOW, next_at=NOW + MINUTE)
            await store.schedules.move(moved, again)
            assert (await store.schedules.fire(firing(again))).outcome == "started"
            assert len(store.executions()) == 1

        self.play(scenario)

    def test_nothing_is_started_of_a_flow_that_was_changed(self) -> None:
        self.publish_stored()

        async def scenario(store: Store) -> None:
            await store.schedules.put(SCHEDULE, None)
            for fields in ({"flow_id": "other"}, {"flow_version": 2}):
                with pytest.raises(ScheduleConflict):
                    await store.schedules.fire(firing(**fields))
            assert store.schedules.get("one") == SCHEDULE
            assert (store.schedules.fires("one", 9), store.executions()) == ([], [])

        self.play(scenario)

    def test_a_published_flow_is_read_by_its_version(self) -> None:
        self.publish_stored()

        async def scenario(store: Store) -> None:
            newest, first = store.schedules.flow("stored", None), store.schedules.flow("stored", 1)
            assert newest is not None
            assert (newest, newest[1]) == (first, DEFINITION.encode())
            assert store.schedules.flow("stored", 2) is None
            assert store.schedules.flow("other", None) is None

        self.play(scenario)

    def test_what_is_queued_starts_when_nothing_is_open(self) -> None:
        self.publish_stored()

        async def scenario(store: Store) -> None:
            await store.schedules.put(SCHEDULE, None)
            await store.schedules.fire(firing())
            seen = store.schedules.get("one")
            fired = await store.schedules.fire(firing(seen, 2, overlap="queue"))
            assert (fired.outcome, store.schedules.queued(9)) == ("queued", [])
            (claimed,) = await store.claim_due(NOW + 2 * MINUTE, 9)
            await store.commit(last_step(claimed.claim, 1, ExecutionStatus.COMPLETED))
            (queued,) = store.schedules.queued(9)
            assert queued.nominal == NOW + 2 * MINUTE
            fire = firing(queued.schedule, 2)
            assert (await store.schedules.start_queued(queued, fire)).outcome == "started"
            with pytest.raises(ScheduleConflict):
                await store.schedules.start_queued(queued, firing(queued.schedule, 2))
            assert len(store.executions()) == 2

        self.play(scenario)

    def test_of_many_times_only_those_start_that_have_not(self) -> None:
        self.publish_stored()

        async def scenario(store: Store) -> None:
            await store.schedules.put(SCHEDULE, None)
            await store.schedules.fire(firing(missed=[NOW + timedelta(seconds=1)]))
            times = [NOW + timedelta(seconds=1), NOW + MINUTE, NOW + 5 * MINUTE]
            starts = [(each, start(each)) for each in times]
            begun = await store.schedules.start_now("one", "backfilled", NOW + 9 * MINUTE, starts)
            assert begun == [times[0], times[2]]
            assert await store.schedules.start_now("one", "backfilled", NOW, starts) == []
            assert len(store.executions()) == 3
            with pytest.raises(ScheduleUnknown):
                await store.schedules.start_now("none", "triggered", NOW, starts)

        self.play(scenario)


async def _nothing(store: Store) -> None:
    return None
