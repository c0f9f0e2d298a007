from __future__ import annotations

from datetime import timedelta

import pytest

from flow_manager.api.preferences import MOST_WAIT, Preferences

LIMIT = timedelta(seconds=60)


@pytest.mark.parametrize(
    ("header", "respond_async", "wait"),
    [
        (None, False, None),
        ("", False, None),
        ("respond-async", True, None),
        ("Respond-Async", True, None),
        ("respond-async=", True, None),
        ('respond-async=""', True, None),
        ("respond-async; foo=bar", True, None),
        ("respond-async=yes", False, None),
        ("wait=10", False, 10),
        ("WAIT = 10", False, 10),
        ('wait="10"', False, 10),
        ("wait=10;x=y", False, 10),
        ("respond-async, wait=10", True, 10),
        ("wait=10,respond-async", True, 10),
        ("return=minimal, wait=5", False, 5),
        ("wait=5, wait=9", False, 5),
        ("wait=0", False, 0),
        ("wait=999999", False, MOST_WAIT),
        ("wait=-1", False, None),
        ("wait=1.5", False, None),
        ("wait=ten", False, None),
        ("wait=٣", False, None),
        ("wait", False, None),
        ("wait=" + "9" * 5000, False, None),
        ("respond async", False, None),
        (",,;=,", False, None),
        ('"respond-async"', False, None),
    ],
)
def test_what_cannot_be_read_is_ignored(header: str | None, respond_async: bool, wait: int | None) -> None:
    assert Preferences.parse(header) == Preferences(respond_async, wait)


@pytest.mark.parametrize(
    ("preferences", "seconds"),
    [
        (Preferences(), 60),
        (Preferences(respond_async=True), 0),
        (Preferences(wait=5), 5),
        (Preferences(wait=0), 0),
        (Preferences(wait=300), 300),
        (Preferences(respond_async=True, wait=5), 5),
    ],
)
def test_a_request_waits_as_long_as_it_prefers(preferences: Preferences, seconds: int) -> None:
    assert preferences.patience(LIMIT) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("preferences", "waited", "applied"),
    [
        (Preferences(), True, ""),
        (Preferences(respond_async=True), True, "respond-async"),
        (Preferences(wait=5), True, "wait=5"),
        (Preferences(wait=5), False, ""),
        (Preferences(respond_async=True, wait=5), True, "respond-async, wait=5"),
        (Preferences(respond_async=True, wait=5), False, "respond-async"),
    ],
)
def test_the_answer_says_which_preferences_were_followed(
    preferences: Preferences, waited: bool, applied: str
) -> None:
    assert preferences.applied(waited=waited) == applied
