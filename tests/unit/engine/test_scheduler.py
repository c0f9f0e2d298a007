"""The scheduler: each nominal time at most once, by its policies, and no schedule in the way of another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from flow_manager.core.events import ExecutionStarted
from flow_manager.core.states import ExecutionStatus
from flow_manager.engine.scheduling import ReadingSchedules
from flow_manager.engine.zone_data import zone_data
from flow_manager.errors import ScheduleConflict
from flow_manager.ports.scheduling import Firing
from tests.support.documents import document, task
from tests.support.published import delete_flow, publish
from tests.support.scheduling import FLOW, Scheduling, scheduling
from tests.support.zone_oracle import utc

NOON = utc("2026-01-14T12:00:00")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    def run(scenario: Callable[[Scheduling], Awaitable[None]], start: str = "2026-01-14T12:00:00") -> None:
        async def scene() -> None:
            async with scheduling(tmp_path / "s.db", utc(start)) as it:
                await scenario(it)
                assert list(it.store.violations()) == []

        asyncio.run(scene())

    return run


Play = Callable[..., None]


def sql(path: Path, statement: str, *bindings: str) -> None:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(10_000)
    connection.execute(statement, bindings)
    connection.close()


def test_a_time_starts_one_execution_that_knows_its_schedule(play: Play) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put(input={"n": 7}, labels={"team": "ops"})
        await it.pass_by(59.9)
        assert it.fires() == []
        await it.pass_by(0.1)
        await it.pass_by(0)
        (fire,) = it.fires()
        assert (fire.nominal, fire.outcome) == (NOON + MINUTE, "started")
        await it.engine.go_on()
        view = it.store.describe(fire.execution_id or "")
        assert view.status is ExecutionStatus.COMPLETED
        began = it.store.history(fire.execution_id or "")[0]
        assert isinstance(began, ExecutionStarted)
        assert began.input == {"n": 7}
        assert began.labels == {
            "team": "ops",
            "schedule": "one",
            "nominal_time": "2026-01-14T12:01:00.000000Z",
        }

    play(scenario)


@pytest.mark.parametrize(
    ("missed", "more", "expected"),
    [
        ("skip", {}, {10: "skipped_missed", 11: "skipped_missed", 12: "started"}),
        ("latest", {}, {10: "skipped_missed", 11: "skipped_missed", 12: "started"}),
        ("all", {}, {10: "started", 11: "started", 12: "started"}),
        ("all", {"catchup_window": 150}, {9: "skipped_missed", 10: "started", 12: "started"}),
        ("latest", {"catchup_window": 10}, {11: "skipped_missed", 12: "skipped_missed"}),
    ],
)
def test_missed_times_follow_the_policy(
    play: Play, missed: str, more: dict[str, Any], expected: dict[int, str]
) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put(missed=missed, overlap="allow", **more)
        await it.pass_by(12 * 60 + 30)
        became = {(each.nominal - NOON) // MINUTE: each.outcome for each in it.fires()}
        assert sorted(became) == list(range(1, 13))
        assert {minute: became[minute] for minute in expected} == expected
        stored = it.store.schedules.get("one")
        assert stored.next_at == NOON + 13 * MINUTE

    play(scenario)


@pytest.mark.parametrize(
    ("missed", "started"),
    [
        ("skip", []),
        ("latest", ["2026-03-30T00:30"]),
        ("all", ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]),
    ],
)
def test_an_outage_across_a_change_of_the_clock(play: Play, missed: str, started: list[str]) -> None:
    async def scenario(it: Scheduling) -> None:
        window = {"catchup_window": "3d"} if missed == "all" else {}
        rule = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", **window}
        await it.put(missed=missed, overlap="allow", **rule)
        await it.pass_by(timedelta(days=2, hours=12).total_seconds())
        assert it.started() == [utc(each) for each in started]
        assert len(it.fires()) == 3

    play(scenario, "2026-03-27T20:00:00")


def test_a_long_outage_of_a_fine_rule_is_recorded_within_bounds(play: Play) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put(every=1)
        await it.pass_by(timedelta(days=30).total_seconds())
        assert it.started() == [it.clock.now()]
        assert len(it.fires()) == 101

    play(scenario)


def test_after_a_stop_many_schedules_fire_once_each_the_longest_overdue_first(play: Play) -> None:
    """F21: stopped for 120 s while many became due."""

    async def scenario(it: Scheduling) -> None:
        for number in range(250):
            await it.put(f"s{number:03}", every=60 + number % 3, anchor="2026-01-14T12:00:00Z")
        await it.pass_by(120)
        latest = {0: 120, 1: 61, 2: 62}
        for number in range(250):
            expected = NOON + timedelta(seconds=latest[number % 3])
            assert it.started(f"s{number:03}") == [expected]
        await it.engine.go_on()
        assert it.store.open_executions() == 0

    play(scenario)


def test_one_look_is_bounded_and_takes_the_longest_overdue_first(play: Play) -> None:
    async def scenario(it: Scheduling) -> None:
        for number in range(110):
            await it.put(f"s{number:03}", every=1000 - number, anchor="2026-01-14T12:00:00Z")
        it.clock.advance(1000)
        assert await it.scheduler.look() == 0.0
        assert [number for number in range(110) if not it.fires(f"s{number:03}")] == list(range(10))

    play(scenario)


# -- overlap


def test_skip_starts_nothing_while_the_one_before_goes_on(play: Play) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put(overlap="skip")
        await it.pass_by(60)
        await it.pass_by(60)
        await it.engine.go_on()
        await it.pass_by(60)
        assert it.outcomes() == ["started", "skipped_overlap", "started"]

    play(scenario)


def test_allow_starts_beside_the_one_before(play: Play) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put(overlap="allow")
        await it.pass_by(60)
        await it.pass_by(60)
        assert it.outcomes() == ["started", "started"]

    play(scenario)


def test_queue_keeps_one_time_and_starts_it_when_the_one_before_has_ended(play: Play) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put(overlap="queue")
        for _ in range(3):
            await it.pass_by(60)
        assert it.outcomes() == ["started", "queued", "skipped_overlap"]
        await it.engine.go_on()
        await it.pass_by(1)
        assert it.outcomes() == ["started", "started", "skipped_overlap"]
        assert it.started() == [NOON + MINUTE, NOON + 2 * MINUTE]
        await it.look()
        assert len(it.started()) == 2

    play(scenario)


def test_what_is_queued_waits_while_the_schedule_is_paused_and_goes_with_it(play: Play) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put(overlap="queue")
        await it.pass_by(60)
        await it.pass_by(60)
        stored = it.store.schedules.get("one")
        await it.store.schedules.move(stored, msgspec.structs.replace(stored, is_paused=True))
        await it.engine.go_on()
        await it.pass_by(1)
        assert it.outcomes() == ["started", "queued"]
        await it.store.schedules.delete("one", None)
        await it.pass_by(60)
        assert it.outcomes() == ["started", "skipped_overlap"]

    play(scenario)


def test_cancel_ends_the_one_before_and_starts_the_next(play: Play) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put(overlap="cancel")
        await it.pass_by(60)
        first = it.fires()[0].execution_id or ""
        await it.pass_by(60)
        assert it.told_to_end == [first]
        await it.engine.go_on()
        assert it.store.describe(first).status is ExecutionStatus.CANCELLED
        second = it.fires()[1].execution_id or ""
        assert it.store.describe(second).status is ExecutionStatus.COMPLETED

    play(scenario)


# -- the terms of the flow


def test_what_comes_faster_than_the_rate_of_its_flow_is_started_later_in_order(
    play: Play, tmp_path: Path
) -> None:
    async def scenario(it: Scheduling) -> None:
        slow = document(task("a"), flow_id="nightly", rate={"limit": 1, "per": 150})
        publish(tmp_path / "s.db", slow, 2)
        await it.put(overlap="allow")
        for _ in range(3):
            await it.pass_by(60)
        assert it.outcomes() == ["started", "queued", "queued"]
        await it.pass_by(29)
        assert it.started() == [NOON + MINUTE]
        await it.pass_by(2)
        assert it.started() == [NOON + MINUTE, NOON + 2 * MINUTE]
        stored = it.store.schedules.get("one")
        await it.store.schedules.move(stored, msgspec.structs.replace(stored, is_paused=True))
        await it.pass_by(600)
        assert len(it.started()) == 2
        stored = it.store.schedules.get("one")
        await it.store.schedules.move(stored, msgspec.structs.replace(stored, is_paused=False, next_at=None))
        await it.pass_by(1)
        assert it.started() == [NOON + MINUTE * number for number in range(1, 4)]

    play(scenario)


def test_a_single_time_beyond_the_rate_is_not_lost(play: Play, tmp_path: Path) -> None:
    async def scenario(it: Scheduling) -> None:
        slow = document(task("a"), flow_id="nightly", rate={"limit": 1, "per": 600})
        publish(tmp_path / "s.db", slow, 2)
        for name in ("one", "two"):
            await it.put(name, at="2026-01-14T12:01:00Z", missed="skip")
        await it.pass_by(60)
        assert sorted([*it.outcomes("one"), *it.outcomes("two")]) == ["queued", "started"]
        await it.pass_by(590)
        await it.pass_by(11)
        assert [*it.outcomes("one"), *it.outcomes("two")] == ["started", "started"]

    play(scenario)


def test_times_of_a_full_flow_wait_for_a_slot_or_are_left_out(play: Play, tmp_path: Path) -> None:
    async def scenario(it: Scheduling) -> None:
        for version, when_full in ((2, "queue"), (3, "reject")):
            full = {"limit": 1, "when_full": when_full}
            publish(tmp_path / "s.db", document(task("a"), flow_id="nightly", concurrency=full), version)
        await it.put("waits", version=2, overlap="allow")
        await it.pass_by(60)
        await it.put("leaves", version=3, overlap="allow")
        await it.pass_by(60)
        assert it.outcomes("waits") == ["started", "started"]
        assert it.outcomes("leaves") == ["skipped_full"]
        second = it.store.describe(it.fires("waits")[1].execution_id or "")
        assert second.to_json()["waiting"]["reason"] == "slot"
        await it.engine.go_on()
        await it.engine.go_on()
        assert it.store.open_executions() == 0

    play(scenario)


def test_an_input_that_gives_no_concurrency_key_is_recorded(play: Play, tmp_path: Path) -> None:
    async def scenario(it: Scheduling) -> None:
        keyed = {"limit": 1, "key": "${input.shop}"}
        publish(tmp_path / "s.db", document(task("a"), flow_id="nightly", concurrency=keyed), 2)
        await it.put()
        await it.pass_by(60)
        assert it.outcomes() == ["bad_input"]

    play(scenario)


def test_a_queued_time_of_a_damaged_schedule_is_set_aside_once(play: Play, tmp_path: Path) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put(overlap="queue")
        await it.pass_by(60)
        await it.pass_by(60)
        sql(tmp_path / "s.db", "UPDATE schedules SET document = '[]', next_at = NULL")
        await it.engine.go_on()
        await it.pass_by(1)
        assert it.outcomes() == ["started", "damaged"]

    play(scenario)


# -- what stands in the way


def test_a_paused_schedule_does_not_fire(play: Play) -> None:
    async def scenario(it: Scheduling) -> None:
        stored = await it.put()
        await it.store.schedules.move(stored, msgspec.structs.replace(stored, is_paused=True))
        await it.pass_by(3600)
        assert it.fires() == []

    play(scenario)


def test_nothing_is_started_while_the_engine_is_full(play: Play) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put()
        it.is_busy = True
        await it.pass_by(60)
        assert it.fires() == []
        it.is_busy = False
        await it.look()
        assert it.outcomes() == ["started"]

    play(scenario)


def test_a_flow_that_is_gone_is_recorded_and_the_next_time_comes(play: Play, tmp_path: Path) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put()
        delete_flow(tmp_path / "s.db", "nightly")
        await it.pass_by(60)
        publish(tmp_path / "s.db", FLOW, 2)
        await it.pass_by(60)
        assert it.outcomes() == ["no_flow", "started"]

    play(scenario)


def test_the_newest_version_is_started_unless_one_is_named(play: Play, tmp_path: Path) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put("newest", overlap="allow")
        await it.put("pinned", version=1, overlap="allow")
        publish(tmp_path / "s.db", document(task("b"), flow_id="nightly"), 2)
        await it.pass_by(60)
        for name, type_ in (("newest", "b"), ("pinned", "a")):
            _, text = it.store.definition(it.fires(name)[0].execution_id or "")
            assert f'"type":"{type_}"'.encode() in text

    play(scenario)


def test_an_input_that_the_flow_refuses_is_recorded(play: Play, tmp_path: Path) -> None:
    async def scenario(it: Scheduling) -> None:
        strict = document(task("a"), flow_id="nightly", input_schema={"required": ["n"]})
        publish(tmp_path / "s.db", strict, 2)
        await it.put()
        await it.pass_by(60)
        assert it.outcomes() == ["bad_input"]

    play(scenario)


@pytest.mark.parametrize("damage", ["{", "[]", '{"id":"bad"}', '{"id":"bad","flow_id":"nightly","cron":"x"}'])
def test_a_damaged_schedule_is_set_aside_and_stops_no_other(play: Play, tmp_path: Path, damage: str) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put("bad")
        await it.put("good")
        sql(tmp_path / "s.db", "UPDATE schedules SET document = ? WHERE id = 'bad'", damage)
        await it.pass_by(60)
        await it.pass_by(60)
        assert it.outcomes("bad") == ["damaged"]
        assert it.outcomes("good") == ["started", "skipped_overlap"]
        assert it.store.schedules.get("bad").next_at is None
        listed = ReadingSchedules(it.store.schedules, it.clock).all()
        assert [each.to_json()["id"] for each in listed] == ["bad", "good"]

    play(scenario)


def test_jitter_moves_the_start_and_not_the_nominal_time(play: Play) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put("one", jitter=30)
        await it.put("two", jitter=30)
        await it.pass_by(60)
        await it.pass_by(30)
        for name in ("one", "two"):
            (fire,) = it.fires(name)
            assert fire.nominal == NOON + MINUTE
            assert fire.at == NOON + MINUTE + timedelta(seconds=30)
        later = [it.store.schedules.get(name).next_at for name in ("one", "two")]
        assert len({None if each is None else each.second + each.microsecond for each in later}) == 2

    play(scenario)


def test_new_time_zones_give_other_next_times(play: Play, tmp_path: Path) -> None:
    async def scenario(it: Scheduling) -> None:
        good = await it.put(cron="0 9 * * *", timezone="Europe/Berlin")
        sql(tmp_path / "s.db", "UPDATE schedules SET zone_data = '1999a', next_at = next_at + 3600000000")
        await it.look()
        stored = it.store.schedules.get("one")
        assert (stored.next_at, stored.zone_data) == (good.next_at, zone_data())

    play(scenario)


# -- at most once


def test_two_who_look_at_the_same_time_start_it_once(play: Play) -> None:
    async def scenario(it: Scheduling) -> None:
        seen = await it.put(overlap="allow")
        it.clock.advance(60)
        await asyncio.gather(it.scheduler.look(), it.scheduler.look(), it.scheduler.look())
        assert it.outcomes() == ["started"]
        stale = Firing(seen, it.clock.now(), NOON + MINUTE, None, "allow", NOON + MINUTE, None, "no_flow")
        with pytest.raises(ScheduleConflict):
            await it.store.schedules.fire(stale)
        assert it.outcomes() == ["started"]

    play(scenario)


@pytest.mark.parametrize("jump", [-3600, -5, 5, 3600, 400 * 86400])
def test_a_clock_that_jumps_starts_no_time_twice_and_leaves_none_out(play: Play, jump: float) -> None:
    """F22: also if the clock of the engine itself jumped, as it does between two starts."""

    async def scenario(it: Scheduling) -> None:
        await it.put(overlap="allow", missed="all", catchup_window=max(120, min(jump + 120, 7200)))
        for _ in range(3):
            await it.pass_by(20)
        await it.pass_by(jump)
        for _ in range(6):
            await it.pass_by(20)
        started = it.started()
        assert len(started) == len(set(started)) >= 1
        if abs(jump) <= 3600:
            assert started == [NOON + MINUTE * number for number in range(1, len(started) + 1)]
            assert started[-1] == max(NOON + MINUTE, NOON + (it.clock.now() - NOON) // MINUTE * MINUTE)

    play(scenario)


def test_a_time_that_was_filled_in_before_is_not_started_again(play: Play, tmp_path: Path) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put(overlap="allow")
        await it.pass_by(60)
        back = "UPDATE schedules SET cursor = cursor - 60000000, next_at = next_at - 60000000"
        sql(tmp_path / "s.db", back)
        await it.look()
        assert len(it.started()) == len(it.fires()) == 1
        assert it.store.schedules.get("one").next_at == NOON + 2 * MINUTE

    play(scenario)


def test_a_transaction_that_fails_leaves_nothing_behind(play: Play, tmp_path: Path) -> None:
    async def scenario(it: Scheduling) -> None:
        await it.put(overlap="allow")
        sql(
            tmp_path / "s.db",
            "CREATE TRIGGER no BEFORE INSERT ON wakes BEGIN SELECT raise(ABORT, 'no'); END",
        )
        it.clock.advance(60)
        with pytest.raises(Exception, match="do not fit"):
            await it.scheduler.look()
        assert (it.fires(), it.store.executions()) == ([], [])
        sql(tmp_path / "s.db", "DROP TRIGGER no")
        await it.look()
        assert it.outcomes() == ["started"]

    play(scenario)


def test_its_loop_looks_as_soon_as_it_is_nudged(play: Play) -> None:
    async def scenario(it: Scheduling) -> None:
        loop = asyncio.get_running_loop().create_task(it.scheduler.run())
        await it.put()
        it.clock.advance(60)
        began = asyncio.get_running_loop().time()
        while not it.fires():
            it.scheduler.nudge()
            await asyncio.sleep(0.002)

        assert asyncio.get_running_loop().time() - began < 0.9
        loop.cancel()

    play(scenario)
