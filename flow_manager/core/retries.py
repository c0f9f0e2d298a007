"""Whether a failed attempt is followed by another, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from flow_manager.core.definition import RetryPolicy
from flow_manager.core.results import TaskError


def retry_at(
    policy: RetryPolicy,
    error: TaskError | None,
    *,
    failures: int,
    first_started_at: datetime,
    now: datetime,
    chance: float,
) -> datetime | None:
    """When the next attempt is due, or None if the task run is over.

    `failures` counts the attempts of this run that have failed, at least 1. `chance` is a
    random number in [0, 1). An error that names its own wait (`details.retry_after`, seconds)
    is waited for exactly, up to `max_delay`.
    """
    if failures >= policy.max_attempts or not is_retryable(policy, error):
        return None
    due_at = now + _wait(policy, error, failures, chance)
    if policy.budget is not None and due_at - first_started_at > policy.budget:
        return None
    return due_at


def is_retryable(policy: RetryPolicy, error: TaskError | None) -> bool:
    """Whether the policy retries this error: its own word first, then `never_on`, then `retry_on`."""
    if error is None:
        return True
    if not error.retryable or _listed(error.code, policy.never_on):
        return False
    return not policy.retry_on or _listed(error.code, policy.retry_on)


def _listed(code: str, prefixes: Sequence[str]) -> bool:
    return code.startswith(tuple(prefixes))


def _wait(policy: RetryPolicy, error: TaskError | None, failures: int, chance: float) -> timedelta:
    asked = _asked_wait(error, policy.max_delay)
    if asked is not None:
        return asked
    longest = policy.max_delay.total_seconds()
    try:
        seconds = min(longest, policy.delay.total_seconds() * policy.backoff ** (failures - 1))
    except OverflowError:
        seconds = longest
    return timedelta(seconds=seconds * chance if policy.jitter == "full" else seconds)


def _asked_wait(error: TaskError | None, longest: timedelta) -> timedelta | None:
    """The wait that an error asks for; none if what it asks for is not a length of time."""
    if error is None or not isinstance(error.details, Mapping):
        return None
    seconds = error.details.get("retry_after")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        return None
    return timedelta(seconds=seconds) if seconds < longest.total_seconds() else longest
