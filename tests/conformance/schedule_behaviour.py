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
from flow_manager.errors import ConcurrencyFull, RateLimited, ScheduleConflict, ScheduleUnknown
from flow_manager.ports.scheduling import MOST_QUEUED, Begun, Firing, StoredSchedule
from flow_manager.ports.store import NewExecution, Rate, Slot, Store, Terms
from tests.support.executions import DEFINITION, NOW, last_step, new_execution, started

MINUTE = timedelta(minutes=1)
SCHEDULE = StoredSchedule("one", 1, '{"id":"one"}', False, NOW, NOW + MINUTE, "2026a", NOW)


RARELY = Rate("stored", 10 * MINUTE, 1)
ONE = Slot("stored", 1)
ONE_AT_MOST = Slot("stored", 1, refuses=True)


def start(at: datetime = NOW, **terms: Any) -> NewExecution:
    """An execution of the flow `stored`, as a schedule starts it."""
    new = new_execution(Wake(WakeReason.DUE, at), events=[started()])
    return msgspec.structs.replace(new, started_at=at, terms=Terms(**terms) if terms else None)


def firing(seen: StoredSchedule = SCHEDULE, number: int = 1, **fields: Any) -> Firing:
    """The nominal time so many minutes after now, and the next one after it."""
    nominal = NOW + number * MINUTE
    usual = {"overlap": "allow", "nominal": nominal, "start": start(nominal), "flow_id": "stored"}
    return Firing(seen, nominal, nominal, nominal + MINUTE, **{**usual, **fields})


def under(store: Store, number: int, overlap: str = "allow", **terms: Any) -> Firing:
    """As `firing`, of the schedule as it is stored, under terms."""
    nominal = NOW + number * MINUTE
    return firing(store.schedules.get("one"), number, overlap=overlap, start=start(nominal, **terms))


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
            assert begun == Begun([times[0], times[2]])
            assert await store.schedules.start_now("one", "backfilled", NOW, starts) == Begun([])
            assert len(store.executions()) == 3
            with pytest.raises(ScheduleUnknown):
                await store.schedules.start_now("none", "triggered", NOW, starts)

        self.play(scenario)

    # -- the terms of the flow

    def test_a_time_beyond_the_rate_of_its_flow_waits_for_it_and_those_after_it_wait_behind(self) -> None:
        self.publish_stored()

        async def scenario(store: Store) -> None:
            allows = msgspec.structs.replace(SCHEDULE, document='{"overlap":"allow"}')
            await store.schedules.put(allows, None)
            outcomes = [
                (await store.schedules.fire(under(store, number, rate=RARELY))).outcome
                for number in (1, 2, 3)
            ]
            assert outcomes == ["started", "queued", "queued"]
            (queued,) = store.schedules.queued(
                9
            )  # although the one before goes on, which `allow` does not mind
            assert queued.nominal == NOW + 2 * MINUTE
            with pytest.raises(RateLimited):
                await store.schedules.start_queued(queued, under(store, 5, rate=RARELY))
            later = under(store, 12, rate=RARELY)
            assert (await store.schedules.start_queued(queued, later)).outcome == "started"
            assert [each.nominal for each in store.schedules.queued(9)] == [NOW + 3 * MINUTE]
            became = [(each.outcome, each.execution_id is None) for each in store.schedules.fires("one", 9)]
            assert became == [("queued", True), ("started", False), ("started", False)]
            assert len(store.executions()) == 2

        self.play(scenario)

    def test_so_many_times_wait_for_the_rate_and_no_more(self) -> None:
        self.publish_stored()

        async def scenario(store: Store) -> None:
            await store.schedules.put(SCHEDULE, None)
            outcomes = [
                (
                    await store.schedules.fire(under(store, number, rate=Rate("stored", 999 * MINUTE, 1)))
                ).outcome
                for number in range(1, MOST_QUEUED + 3)
            ]
            assert outcomes == ["started", *["queued"] * MOST_QUEUED, "skipped_rate"]

        self.play(scenario)

    def test_what_waits_for_a_flow_whose_rate_is_spent_is_not_in_the_way_of_others(self) -> None:
        self.publish_stored()

        async def scenario(store: Store) -> None:
            text = '{"flow_id":"stored","overlap":"allow"}'
            await store.schedules.put(msgspec.structs.replace(SCHEDULE, document=text), None)
            for number in (1, 2):
                await store.schedules.fire(under(store, number, rate=RARELY))
            assert len(store.schedules.queued(9, ["other"])) == 1
            assert store.schedules.queued(9, ["stored"]) == []

        self.play(scenario)

    @pytest.mark.parametrize(
        ("overlap", "outcomes"),
        [
            ("skip", ["started", "queued", "skipped_overlap"]),
            ("queue", ["started", "queued", "skipped_overlap"]),
            ("cancel", ["started", "skipped_overlap", "queued"]),
        ],
    )
    def test_a_time_that_waits_for_the_rate_is_one_that_others_may_overlap(
        self, overlap: str, outcomes: list[str]
    ) -> None:
        self.publish_stored()

        async def scenario(store: Store) -> None:
            await store.schedules.put(SCHEDULE, None)
            await store.schedules.fire(under(store, 1, overlap, rate=RARELY))
            (claimed,) = await store.claim_due(NOW + MINUTE, 9)
            await store.commit(last_step(claimed.claim, 1, ExecutionStatus.COMPLETED))
            for number in (2, 3):
                await store.schedules.fire(under(store, number, overlap, rate=RARELY))
            assert [each.outcome for each in reversed(store.schedules.fires("one", 9))] == outcomes

        self.play(scenario)

    def test_what_would_be_cancelled_goes_on_until_the_next_may_start(self) -> None:
        self.publish_stored()

        async def scenario(store: Store) -> None:
            cancels = msgspec.structs.replace(SCHEDULE, document='{"overlap":"cancel"}')
            await store.schedules.put(cancels, None)
            first = under(store, 1, "cancel", rate=RARELY)
            await store.schedules.fire(first)
            fired = await store.schedules.fire(under(store, 2, "cancel", rate=RARELY))
            assert (fired.outcome, fired.cancelled) == ("queued", ())
            (queued,) = store.schedules.queued(9)
            fired = await store.schedules.start_queued(queued, under(store, 12, "cancel", rate=RARELY))
            assert first.start is not None
            assert (fired.outcome, fired.cancelled) == ("started", [first.start.execution_id])

        self.play(scenario)

    def test_a_time_whose_flow_is_full_is_left_out_or_waits_for_a_slot_as_the_flow_says(self) -> None:
        self.publish_stored()

        async def scenario(store: Store) -> None:
            await store.schedules.put(SCHEDULE, None)
            await store.schedules.fire(under(store, 1, "cancel", slot=ONE_AT_MOST))
            fired = await store.schedules.fire(under(store, 2, "cancel", slot=ONE_AT_MOST))
            assert (fired.outcome, fired.cancelled) == ("skipped_full", ())
            waits = under(store, 3, slot=ONE)
            assert (await store.schedules.fire(waits)).outcome == "started"
            assert waits.start is not None
            wake = store.describe(waits.start.execution_id).wake
            assert wake is not None
            assert wake.reason is WakeReason.SLOT
            (claimed,) = await store.claim_due(NOW + 9 * MINUTE, 9)
            await store.commit(last_step(claimed.claim, 1, ExecutionStatus.COMPLETED))
            (claimed,) = await store.claim_due(NOW + 9 * MINUTE, 9)
            assert claimed.claim.execution_id == waits.start.execution_id
            assert [each.outcome for each in store.schedules.fires("one", 9)] == [
                "started",
                "skipped_full",
                "started",
            ]

        self.play(scenario)

    @pytest.mark.parametrize(
        ("terms", "refusal"),
        [
            ({"rate": Rate("stored", 10 * MINUTE, 2)}, RateLimited),
            ({"slot": Slot("stored", 2, refuses=True)}, ConcurrencyFull),
        ],
    )
    def test_of_many_times_as_many_start_as_the_flow_allows(
        self, terms: dict[str, Any], refusal: type[Exception]
    ) -> None:
        self.publish_stored()

        async def scenario(store: Store) -> None:
            await store.schedules.put(SCHEDULE, None)
            times = [NOW + number * MINUTE for number in range(4)]
            starts = [(each, start(NOW, **terms)) for each in times]
            assert await store.schedules.start_now("one", "backfilled", NOW, starts) == Begun(
                times[:2], times[2]
            )
            with pytest.raises(refusal):
                await store.schedules.start_now("one", "backfilled", NOW, starts)
            assert len(store.executions()) == len(store.schedules.fires("one", 9)) == 2

        self.play(scenario)


async def _nothing(store: Store) -> None:
    return None
