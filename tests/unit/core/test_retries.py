from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.core.definition import RetryPolicy
from flow_manager.core.results import TaskError
from flow_manager.core.retries import is_retryable, retry_at

START = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)
NOW = START + timedelta(seconds=10)
ERROR = TaskError("task.failed", "no answer")
POLICY = RetryPolicy(max_attempts=100, jitter="none")


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def wait(
    policy: RetryPolicy, error: TaskError | None = ERROR, failures: int = 1, chance: float = 0.5
) -> float | None:
    """Seconds until the next attempt, of a run that began 10 s ago."""
    due_at = retry_at(policy, error, failures=failures, first_started_at=START, now=NOW, chance=chance)
    return None if due_at is None else (due_at - NOW).total_seconds()


def asking(retry_after: object, **fields: Any) -> TaskError:
    return TaskError("http.503", "busy", details={"retry_after": retry_after}, **fields)


@pytest.mark.parametrize(
    ("policy", "failures", "expected"),
    [
        (RetryPolicy(), 1, None),
        (replace(POLICY, max_attempts=3), 2, 2),
        (replace(POLICY, max_attempts=3), 3, None),
        (replace(POLICY, max_attempts=3), 4, None),
        (POLICY, 1, 1),
        (POLICY, 2, 2),
        (POLICY, 5, 16),
        (POLICY, 20, 300),
        (replace(POLICY, backoff=1), 99, 1),
        (replace(POLICY, backoff=1.5, delay=seconds(4)), 3, 9),
        (replace(POLICY, max_delay=seconds(3)), 3, 3),
        (replace(POLICY, jitter="full"), 3, 2),
        (replace(POLICY, backoff=1e300), 99, 300),
        (replace(POLICY, backoff=10**300), 99, 300),
    ],
)
def test_the_wait_grows_with_each_failure(policy: RetryPolicy, failures: int, expected: float | None) -> None:
    assert wait(policy, failures=failures) == expected


@pytest.mark.parametrize(
    ("budget", "expected"), [(seconds(10.5), None), (seconds(11), 1), (seconds(12), 1), (seconds(1), None)]
)
def test_a_retry_that_would_start_beyond_the_budget_is_none(
    budget: timedelta, expected: float | None
) -> None:
    assert wait(replace(POLICY, budget=budget)) == expected


@pytest.mark.parametrize(
    ("retry_on", "never_on", "code", "expected"),
    [
        ((), (), "task.failed", True),
        (("http.5",), (), "http.503", True),
        (("http.5",), (), "http.404", False),
        (("http.404", "task.timeout"), (), "task.timeout", True),
        (("http.404",), (), "http.4", False),
        ((), ("http.4",), "http.404", False),
        ((), ("http.4",), "http.500", True),
        (("http.",), ("http.501",), "http.501", False),
        (("http.501",), ("http.",), "http.501", False),
    ],
)
def test_codes_or_starts_of_them_choose_what_is_retried(
    retry_on: tuple[str, ...], never_on: tuple[str, ...], code: str, expected: bool
) -> None:
    policy = replace(POLICY, retry_on=retry_on, never_on=never_on)

    assert is_retryable(policy, TaskError(code, "")) is expected
    assert (wait(policy, TaskError(code, "")) is not None) is expected


def test_an_error_that_says_so_is_never_retried() -> None:
    policy = replace(POLICY, retry_on=("task.",))

    assert wait(policy, TaskError("task.failed", "no", retryable=False)) is None
    assert wait(policy, asking(3, retryable=False)) is None


def test_a_failure_without_an_error_is_retried() -> None:
    assert wait(POLICY, None) == 1


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        (7, 7),
        (0, 0),
        (0.25, 0.25),
        (300, 300),
        (301, 300),
        (1e300, 300),
        (10**400, 300),
        (float("inf"), 300),
        (float("nan"), 1),
        (-5, 1),
        (True, 1),
        ("7", 1),
        (None, 1),
    ],
)
def test_a_wait_that_an_error_asks_for_is_honoured_up_to_the_longest(
    retry_after: object, expected: float
) -> None:
    assert wait(POLICY, asking(retry_after)) == expected
    assert wait(replace(POLICY, jitter="full"), asking(retry_after), chance=0.999) == pytest.approx(
        expected if expected != 1 else 0.999
    )


@pytest.mark.parametrize("details", [None, [], "retry_after", {}, 7])
def test_details_of_another_kind_ask_for_nothing(details: object) -> None:
    assert wait(POLICY, TaskError("http.503", "busy", details=details)) == 1


def test_the_budget_bounds_a_wait_that_was_asked_for() -> None:
    assert wait(replace(POLICY, budget=seconds(15)), asking(5)) == 5
    assert wait(replace(POLICY, budget=seconds(15)), asking(6)) is None


codes = st.sampled_from(["http.", "http.5", "http.503", "task.failed"])
durations = st.timedeltas(timedelta(milliseconds=1), timedelta(days=366))
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    delay=durations,
    backoff=st.floats(1, 1e308) | st.integers(1, 10**400),
    max_delay=durations,
    jitter=st.sampled_from(["full", "none"]),
    budget=st.none() | durations,
    retry_on=st.lists(codes, max_size=2).map(tuple),
    never_on=st.lists(codes, max_size=2).map(tuple),
)
errors = st.builds(
    TaskError,
    code=st.sampled_from(["http.503", "http.404", "task.failed"]),
    message=st.just(""),
    retryable=st.booleans(),
    details=st.none() | st.builds(dict, retry_after=st.integers() | st.floats() | st.text(max_size=3)),
)


@given(policies, st.none() | errors, st.integers(1, 100), durations, st.floats(0, 1, exclude_max=True))
def test_no_policy_and_no_error_break_a_bound(
    policy: RetryPolicy, error: TaskError | None, failures: int, elapsed: timedelta, chance: float
) -> None:
    now = START + elapsed

    due_at = retry_at(policy, error, failures=failures, first_started_at=START, now=now, chance=chance)

    if due_at is not None:
        assert timedelta() <= due_at - now <= policy.max_delay
        assert policy.budget is None or due_at - START <= policy.budget
        assert failures < policy.max_attempts
        assert error is None or (error.retryable and not error.code.startswith(policy.never_on))


@given(policies, errors, st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_never_on_wins(policy: RetryPolicy, error: TaskError, failures: int, chance: float) -> None:
    policy = replace(policy, retry_on=(error.code,), never_on=(error.code[:5],))

    assert wait(policy, error, failures, chance) is None
