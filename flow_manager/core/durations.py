"""Durations as they are written: seconds, `"500ms"`, `"5m"`, or ISO 8601 (`"PT30S"`)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from flow_manager.core.plain import shown

LONGEST: Final = timedelta(days=366)
"""The longest timer."""

SIMPLE_PATTERN: Final = r"[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d)"
ISO_PATTERN: Final = (
    r"P(?=[0-9T])(?:[0-9]+W)?(?:[0-9]+D)?(?:T(?=[0-9])(?:[0-9]+H)?(?:[0-9]+M)?(?:[0-9]+(?:\.[0-9]+)?S)?)?"
)

_SIMPLE = re.compile(SIMPLE_PATTERN)
_ISO = re.compile(ISO_PATTERN)
_PART = re.compile(r"([0-9.]+)([WDHMS])")
_LONGEST_TEXT = 64

_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_ISO_SECONDS: Final = {"W": 604800, "D": 86400, "H": 3600, "M": 60, "S": 1}


class DurationOutOfRange(ValueError):
    """A readable duration that is not above zero, or above 366 days."""


def parse_duration(value: object) -> timedelta:
    """A number is in seconds. Raises `ValueError` for what is not a duration, and
    `DurationOutOfRange`, one kind of it, for one that is not above zero and at most 366 days."""
    if isinstance(value, str):
        seconds = _seconds(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        seconds = value
    else:
        raise ValueError('a duration is a number of seconds or a text like "30s", "5m" or "PT30S"')
    if not 0 < seconds <= LONGEST.total_seconds():
        raise DurationOutOfRange(f"a duration is above zero and at most {LONGEST.days} days")
    duration = timedelta(seconds=seconds)
    if not duration:
        raise DurationOutOfRange("a duration is at least a microsecond")
    return duration


def _seconds(text: str) -> float:
    if len(text) <= _LONGEST_TEXT:
        if _SIMPLE.fullmatch(text):
            number = text.rstrip("dhms")
            return float(number) * _SECONDS[text[len(number) :]]
        if _ISO.fullmatch(text):
            return sum(float(number) * _ISO_SECONDS[unit] for number, unit in _PART.findall(text))
    raise ValueError(
        f'{shown(text)} is not a duration: write a number and ms, s, m, h or d ("30s"), or ISO 8601 ("PT30S")'
    )
