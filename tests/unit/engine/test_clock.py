"""F22: a wall clock that jumps neither stops nor hurries what waits."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.engine.clock import LOOK_EVERY, MOST_SLEW, SystemClock

START = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)
ROUNDING = timedelta(microseconds=2)
HOUR, DAY = 3600.0, 86400.0

JUMPS = {
    "an hour back": -HOUR,
    "an hour ahead": HOUR,
    "400 days ahead": 400 * DAY,
    "400 days back": -400 * DAY,
    "5 s ahead": 5.0,
    "5 s back": -5.0,
    "half a second ahead": 0.5,
    "a millisecond back": -0.001,
}

all_jumps = pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)


class Sources:
    """A wall clock and a monotonic clock that are moved by hand, and the clock that is made of them."""

    def __init__(self) -> None:
        self.wall = START
        self.monotonic = 1000.0
        self.clock = SystemClock(lambda: self.wall, lambda: self.monotonic)

    def step(self, seconds: float, drift: float = 0.0) -> None:
        """Time passes. The wall clock may run a little faster or slower than the monotonic one."""
        self.monotonic += seconds
        self.wall += timedelta(seconds=seconds * (1 + drift))

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.wall += timedelta(seconds=seconds)

    def walk(self, seconds: float, step: float = 1.0, drift: float = 0.0) -> None:
        """Time passes in small steps, and the clock is looked at after each. It must have gone on by as
        much as has passed, to within a tenth."""
        until = self.monotonic + seconds
        before = self.clock.now()
        while self.monotonic < until:
            self.step(step, drift)
            now = self.clock.now()
            assert_pace(now - before, step)
            before = now

    @property
    def behind(self) -> float:
        """Seconds that the clock has still to make good."""
        return (self.wall - self.clock.now()).total_seconds()


def assert_pace(gone: timedelta, passed: float) -> None:
    assert timedelta(seconds=passed * (1 - MOST_SLEW)) - ROUNDING <= gone
    assert gone <= timedelta(seconds=passed * (1 + MOST_SLEW)) + ROUNDING


@pytest.fixture
def sources() -> Sources:
    return Sources()


def test_without_jumps_it_is_the_wall_clock(sources: Sources) -> None:
    assert sources.clock.now() == START
    for step in (0.001, 1.0, 0.25, 3.0, DAY, 0.1):
        sources.step(step)
        assert sources.clock.now() == sources.wall
        assert sources.clock.monotonic() == sources.monotonic


def test_its_times_are_of_utc() -> None:
    assert SystemClock().now().tzinfo is UTC


@all_jumps
@pytest.mark.parametrize("step", [0.01, 0.3, 1.0, 17.0])
def test_after_a_jump_it_neither_jumps_nor_stops(sources: Sources, jump: float, step: float) -> None:
    sources.walk(5 * step, step)

    sources.jump(jump)

    sources.walk(200 * step, step)


@all_jumps
@pytest.mark.parametrize("wait", [0.05, 1.0, 30.0, 600.0])
@pytest.mark.parametrize("before", [0.0, 0.5], ids=["as it begins", "in the middle"])
def test_a_wait_keeps_its_length_to_within_a_tenth(
    sources: Sources, jump: float, wait: float, before: float
) -> None:
    sources.walk(3 * LOOK_EVERY, 0.5)
    began, step = sources.monotonic, wait / 500
    due = sources.clock.now() + timedelta(seconds=wait)
    has_jumped = False

    while sources.clock.now() < due:
        sources.step(step)
        if not has_jumped and sources.monotonic - began >= wait * before:
            sources.jump(jump)
            has_jumped = True

    took = sources.monotonic - began
    assert wait / (1 + MOST_SLEW) - step <= took <= wait / (1 - MOST_SLEW) + 2 * step


@pytest.mark.parametrize("jump", [jump for jump in JUMPS.values() if abs(jump) <= HOUR])
def test_it_comes_to_agree_with_the_wall_clock(sources: Sources, jump: float) -> None:
    sources.jump(jump)

    sources.walk(abs(jump) / MOST_SLEW + 120)

    assert abs(sources.behind) < 0.001


@pytest.mark.parametrize("jump", [400 * DAY, -400 * DAY])
def test_of_a_very_long_jump_it_makes_good_a_tenth_of_the_time_that_passes(
    sources: Sources, jump: float
) -> None:
    sources.jump(jump)

    sources.walk(DAY, 60)

    assert abs(sources.behind) == pytest.approx(abs(jump) - MOST_SLEW * DAY, abs=7)


def test_jumps_forth_and_back_every_ten_seconds_do_not_add_up(sources: Sources) -> None:
    for jump, _ in zip(cycle([5.0, -5.0]), range(1_000), strict=False):
        sources.jump(jump)
        sources.walk(10, 0.5)
        assert abs(sources.behind) <= 5.1


def test_a_wall_clock_that_runs_at_another_pace_is_followed(sources: Sources) -> None:
    sources.walk(HOUR, drift=0.0001)

    assert abs(sources.behind) < 0.002


@given(
    st.lists(
        st.tuples(
            st.floats(-1e7, 1e7),
            st.lists(st.floats(1e-4, 100), min_size=1, max_size=5),
        ),
        max_size=30,
    )
)
def test_whatever_the_wall_clock_does_it_keeps_its_pace(moves: list[tuple[float, list[float]]]) -> None:
    sources = Sources()

    for jump, steps in moves:
        sources.jump(jump)
        for step in steps:
            sources.walk(step, step)


def test_a_jump_is_told_once(sources: Sources, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        sources.walk(10)
        assert caplog.messages == []

        sources.jump(-HOUR)
        sources.walk(100)

    assert [message.partition("by")[2].split()[0] for message in caplog.messages] == ["-3600.0"]


def jumping_walls() -> Iterator[datetime]:
    """The wall clock of somebody who sets it by an hour between any two looks."""
    while True:
        yield START
        yield START + timedelta(hours=1)


def test_asked_from_many_threads_it_goes_back_for_none() -> None:
    walls = jumping_walls()
    lock = threading.Lock()

    def wall() -> datetime:
        with lock:
            return next(walls)

    clock = SystemClock(wall, lambda: time.monotonic() * 1000)  # it looks every millisecond
    went_back: list[timedelta] = []
    until = time.monotonic() + 0.5

    def ask() -> None:
        while time.monotonic() < until:
            times = [clock.now() for _ in range(200)]
            went_back.extend(before - after for before, after in pairwise(times) if after < before)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(interval)

    assert went_back == []
