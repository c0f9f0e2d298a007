"""F42: a service that is down is left alone, and comes back without a rush."""

from __future__ import annotations

import heapq
import random
from collections import Counter

import pytest

from flow_manager.core.results import TaskError
from flow_manager.tasks.builtin.circuit import (
    LEAST_FAILURES,
    LEAST_RATE,
    OPEN_SECONDS,
    WINDOW,
    Circuits,
)
from flow_manager.tasks.builtin.failures import AttemptFailed

SHOP = ("https", "shop.example", 443)
OTHER = ("https", "other.example", 443)
BUSY = TaskError("http.503", "busy")
WRONG = TaskError("http.404", "gone")


class Timed:
    def __init__(self) -> None:
        self.now = 1_000.0
        self.circuits = Circuits(lambda: self.now, lambda: 0.5)

    def enter(self, *, is_first: bool = False) -> None:
        self.circuits.enter(SHOP, is_first=is_first)

    def fails(self, number: int = 1, error: TaskError = BUSY) -> None:
        for _ in range(number):
            self.enter()
            self.circuits.failed(SHOP, error)

    def refused(self, number: int = 1, *, is_first: bool = False) -> float:
        """So many are; when the last of them should come back, from now."""
        wait = 0.0
        for _ in range(number):
            with pytest.raises(AttemptFailed) as refused:
                self.enter(is_first=is_first)
            wait = refused.value.error.details["retry_after"]
        return wait

    def is_open(self) -> bool:
        try:
            self.enter()
        except AttemptFailed:
            return True
        self.circuits.left(SHOP)
        return False


def test_a_circuit_opens_when_most_calls_fail_and_only_that_of_the_host() -> None:
    timed = Timed()

    timed.fails(LEAST_FAILURES - 1)
    assert not timed.is_open()
    timed.fails()

    assert timed.is_open()
    timed.circuits.enter(OTHER, is_first=True)


def test_a_few_failures_among_many_calls_open_nothing() -> None:
    timed = Timed()
    for _ in range(LEAST_FAILURES * 2):
        timed.fails()
        for _ in range(3):
            timed.circuits.succeeded(SHOP)

    assert not timed.is_open()


def test_failures_that_are_far_apart_open_nothing() -> None:
    timed = Timed()
    for _ in range(LEAST_FAILURES * 2):
        timed.fails()
        timed.now += WINDOW / 2

    assert not timed.is_open()


def test_what_is_the_callers_fault_says_nothing_about_the_service() -> None:
    timed = Timed()

    timed.fails(LEAST_FAILURES * 3, WRONG)

    assert not timed.is_open()


def test_whoever_comes_too_early_is_told_when_to_come_back() -> None:
    timed = Timed()
    timed.fails(LEAST_FAILURES)
    timed.now += 5

    with pytest.raises(AttemptFailed) as refused:
        timed.enter()

    error = refused.value.error
    assert (error.code, error.retryable) == ("http.circuit_open", True)
    assert error.details == {"retry_after": OPEN_SECONDS - 5 + 0.5 / LEAST_RATE}


@pytest.mark.parametrize("works", [True, False])
def test_after_a_while_one_call_decides_for_all(works: bool) -> None:
    timed = Timed()
    timed.fails(LEAST_FAILURES)
    timed.now += OPEN_SECONDS

    timed.enter()
    assert timed.is_open()
    if works:
        timed.circuits.succeeded(SHOP)
    else:
        timed.circuits.failed(SHOP, BUSY)

    assert timed.is_open() is not works


def test_a_probe_that_was_given_up_leaves_room_for_another() -> None:
    timed = Timed()
    timed.fails(LEAST_FAILURES)
    timed.now += OPEN_SECONDS

    timed.enter()
    timed.circuits.left(SHOP)

    timed.enter()


@pytest.mark.parametrize(("is_first", "rate"), [(True, 20.0), (False, LEAST_RATE)])
def test_those_who_were_refused_come_back_half_as_fast_as_first_attempts_come(
    is_first: bool, rate: float
) -> None:
    timed = Timed()
    timed.fails(LEAST_FAILURES)
    timed.refused(int(40 * WINDOW), is_first=is_first)

    before = timed.refused()
    assert timed.refused(100) - before == pytest.approx(100 / rate, abs=0.01)


def test_whoever_comes_while_a_call_decides_is_not_told_to_come_back_in_the_past() -> None:
    timed = Timed()
    timed.fails(LEAST_FAILURES)
    timed.now += OPEN_SECONDS
    timed.enter()

    timed.now += 60

    assert timed.refused() == pytest.approx(0.5 / LEAST_RATE)


@pytest.mark.parametrize("seen", [0, 1], ids=["nothing seen", "a failure seen"])
def test_five_thousand_who_retry_neither_keep_a_service_down_nor_overrun_it(seen: int) -> None:
    """F42: 50 executions are started a second. Then the service is down for 10 minutes, with 5,000 of them
    that retry; when it is back, others are started as before. One failure before has a circuit count."""
    chance = random.Random(7)
    now = 0.0
    circuits = Circuits(lambda: now, chance.random)
    normal, went, back = 50, 1_000, 1_600
    starts = [went - 20 + number / normal for number in range(120 * normal)]
    due = [(at, 0) for at in [*starts, *(back + number / normal for number in range(300 * normal))]]
    calls: Counter[int] = Counter()
    while due:
        now, tries = heapq.heappop(due)
        try:
            circuits.enter(SHOP, is_first=tries == 0)
        except AttemptFailed as refused:
            heapq.heappush(due, (now + refused.error.details["retry_after"], tries + 1))
            continue
        calls[int(now)] += 1
        if went <= now < back or calls.total() <= seen:
            circuits.failed(SHOP, BUSY)
            heapq.heappush(due, (now + chance.uniform(0, min(300, 2**tries)), tries + 1))
        else:
            circuits.succeeded(SHOP)

    assert max((calls[second] for second in range(went + 60, back)), default=0) <= 0.1 * normal
    assert sum(calls[second] for second in range(went + 60, back)) <= 540 / OPEN_SECONDS + 1
    assert max(calls[second] for second in range(back, back + 400)) <= 2 * normal
