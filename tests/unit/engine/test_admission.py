from __future__ import annotations

import pytest

from flow_manager.engine.admission import FULL_MEMORY, STALL, Admission, EngineLimits
from tests.support.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def admission(clock: FakeClock) -> Admission:
    return Admission(EngineLimits(max_running=2, max_waiting=3, max_starting=4), clock)


@pytest.mark.parametrize(
    ("running", "waiting", "starting", "is_refused"),
    [
        (0, 0, 0, False),
        (2, 0, 0, False),
        (2, 2, 0, False),
        (2, 3, 0, True),
        (1, 3, 0, False),
        (0, 0, 3, False),
        (0, 0, 4, True),
    ],
)
def test_work_is_refused_when_every_place_is_taken(
    admission: Admission, running: int, waiting: int, starting: int, is_refused: bool
) -> None:
    admission.waiting = waiting
    for _ in range(starting):
        admission.begun()

    assert (admission.refusal(running) is not None) is is_refused


def test_work_is_refused_while_the_store_does_not_answer(admission: Admission, clock: FakeClock) -> None:
    admission.begun()
    clock.advance(STALL + 0.1)
    stalled = admission.refusal(0)

    admission.answered()

    assert stalled is not None
    assert stalled.retry_after >= 1
    assert admission.refusal(0) is None


def test_a_quiet_time_is_not_a_stall(admission: Admission, clock: FakeClock) -> None:
    admission.begun()
    admission.answered()
    clock.advance(3600)

    admission.begun()

    assert admission.refusal(0) is None


def test_a_full_store_is_remembered_for_a_moment(admission: Admission, clock: FakeClock) -> None:
    admission.store_was_full()
    at_once = admission.is_full

    clock.advance(FULL_MEMORY + 0.1)

    assert at_once
    assert not admission.is_full
