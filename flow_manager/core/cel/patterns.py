"""Regular expressions and time zones, as far as they can be told from how they are written.

Both are written out in an expression, never computed: the library opens whatever file a time zone
names, and the time that a pattern takes is known only of one that is known.
"""

from __future__ import annotations

import re
from typing import Final

from flow_manager.core.cel.text import ExpressionFault
from flow_manager.core.cel.tree import Literal

LONGEST_PATTERN: Final = 512
MOST_REPEATS: Final = 1000
"""Sum of the counts of one pattern: `a{500}b{500}`."""
MOST_CLASSES: Final = 10
"""Copies of classes such as `\\pL`: each takes a millisecond to make ready."""

_FEW_PLACES: Final = 20
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_PLAIN_ESCAPES: Final = frozenset("\\\"'`nrt?")
_COUNT: Final = re.compile(r"\{(?:[0-9]*,)?([0-9]+),?\}")
_NESTED_COUNT: Final = re.compile(r"\)[*+?]?\{")
_UNICODE_CLASS: Final = re.compile(r"\\[pP]")
_SLOW: Final = re.compile(r"\\|\(\?|\[\^|\.")
_ZONE: Final = re.compile(r"UTC|[A-Za-z]+(?:/[A-Za-z0-9_+-]+){1,2}|[-+][0-9]{2}:[0-9]{2}")


def check_pattern(source: str, pattern: Literal) -> None:
    """Raises `ExpressionFault` for a pattern that may take long to make ready."""
    written = source[pattern.start : pattern.end]
    if len(written) > LONGEST_PATTERN:
        detail = f"a pattern has at most {LONGEST_PATTERN} characters"
        raise ExpressionFault("too-long", detail, pattern.start)
    is_raw = written[0] in "rR"
    if not is_raw and not set(_ESCAPE.findall(written)) <= _PLAIN_ESCAPES:
        detail = "a pattern is written without escapes of the language"
        hint = r'write it as r"..." and use the escapes of regular expressions'
        raise ExpressionFault("syntax", detail, pattern.start, hint)
    if sum(_counts(written)) > MOST_REPEATS:
        detail = f"the counts of a pattern add up to at most {MOST_REPEATS}"
        raise ExpressionFault("too-complex", detail, pattern.start)
    if _classes(written) > MOST_CLASSES:
        detail = f"a pattern holds classes such as \\pL at most {MOST_CLASSES} times, repeats counted"
        raise ExpressionFault("too-complex", detail, pattern.start)


def readying_cost(written: str) -> int:
    """Nanoseconds, at most, to make a checked pattern ready: the library does it at every match."""
    each = 4_000 if _SLOW.search(written) else 1_000
    return 10_000 + each * (len(written) + _copies(written)) + 1_500_000 * _classes(written)


def matching_cost(written: str) -> int:
    """Nanoseconds, at most, for each character of the text.

    The library remembers sets of places in a pattern. Where there are too many of them it looks at
    each place anew: 300 ns, and 2 to 28 for each copy of what is repeated.
    """
    places = len(written) // 4 + _copies(written)
    if places <= _FEW_PLACES:
        return 8
    return 300 + (30 if _is_nested(written) else 15) * places


def _copies(written: str) -> int:
    return MOST_REPEATS if _is_nested(written) else sum(_counts(written))


def _is_nested(written: str) -> bool:
    """Whether something with a count may be within something with a count."""
    return len(_counts(written)) > 1 and _NESTED_COUNT.search(written) is not None


def _counts(written: str) -> list[int]:
    return [min(int(count[:5]), 2 * MOST_REPEATS) for count in _COUNT.findall(written)]


def _classes(written: str) -> int:
    return len(_UNICODE_CLASS.findall(written)) * max([1, *_counts(written)])


def check_zone(zone: Literal) -> None:
    """Raises `ExpressionFault` for a time zone that is not a name of the list, or an offset."""
    if zone.text is None or not _ZONE.fullmatch(zone.text):
        detail = 'a time zone is written like "Europe/Berlin", "UTC" or "+02:00"'
        raise ExpressionFault("syntax", detail, zone.start)
