"""F42: a service that is down is left alone, and comes back without a rush."""

from __future__ import annotations

import heapq
import random
from collections import Counter

import pytest

from flow_manager.core.results import TaskError
from flow_manager.tasks.builtin.circuit import LEAST_FAILURES, OPEN_SECONDS, WINDOW, Circuits
from flow_manager.tasks.builtin.failures import AttemptFailed

SHOP = ("https", "shop.example", 443)
OTHER = ("https", "other.example", 443)
BUSY = TaskError("http.503", "busy")
WRONG = TaskError("http.404", "gone")


class Timed:
    def __init__(self) -> None:
        self.now = 1_000.0
        self.circuits = Circuits(lambda: self.now, lambda: 0.5)

    def fails(self, number: int = 1, error: TaskError = BUSY) -> None:
        for _ in range(number):
            self.circuits.enter(SHOP)
            self.circuits.failed(SHOP, error)

    def is_open(self) -> bool:
        try:
            self.circuits.enter(SHOP)
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
    timed.circuits.enter(OTHER)


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
        timed.circuits.enter(SHOP)

    error = refused.value.error
    assert (error.code, error.retryable) == ("http.circuit_open", True)
    assert error.details == {"retry_after": OPEN_SECONDS - 5 + 0.5 / LEAST_FAILURES}


@pytest.mark.parametrize("works", [True, False])
def test_after_a_while_one_call_decides_for_all(works: bool) -> None:
    timed = Timed()
    timed.fails(LEAST_FAILURES)
    timed.now += OPEN_SECONDS

    timed.circuits.enter(SHOP)
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

    timed.circuits.enter(SHOP)
    timed.circuits.left(SHOP)

    timed.circuits.enter(SHOP)


def test_five_thousand_who_retry_neither_keep_a_service_down_nor_overrun_it() -> None:
    """F42: down for 10 minutes with 5,000 callers that retry; 50 a second came when it was up."""
    chance = random.Random(7)
    now = 0.0
    circuits = Circuits(lambda: now, chance.random)
    due = [(chance.uniform(0, 100), 0) for _ in range(5_000)]
    heapq.heapify(due)
    calls: Counter[int] = Counter()
    while due:
        now, tries = heapq.heappop(due)
        is_down = now < 600
        try:
            circuits.enter(SHOP)
        except AttemptFailed as refused:
            heapq.heappush(due, (now + refused.error.details["retry_after"], tries))
            continue
        calls[int(now)] += 1
        if is_down:
            circuits.failed(SHOP, BUSY)
            heapq.heappush(due, (now + chance.uniform(0, min(300, 2**tries)), tries + 1))
        else:
            circuits.succeeded(SHOP)

    normal = 50
    assert max((calls[second] for second in range(60, 600)), default=0) <= 0.1 * normal
    assert sum(calls[second] for second in range(60, 600)) <= 540 / OPEN_SECONDS + 1
    after = [sum(calls[second + offset] for offset in range(10)) / 10 for second in range(600, 700)]
    assert max(after) <= 2 * normal
