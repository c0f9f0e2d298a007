"""What comes out of an expression: plain JSON, or the reason why it is not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, Final

import orjson

from flow_manager.core.plain import DEPTH, LEAST_INTEGER, MOST_INTEGER, shown

LIMIT: Final = "expression.limit"
"""The code of an error that says that a bound was reached."""
MOST_OUTPUT: Final = 256 << 10
"""Bytes of JSON."""


class Unfit(Exception):
    """A value that cannot be handed on. `code` is that of the `ExpressionError` to be raised."""

    def __init__(self, detail: str, code: str = "expression.failed") -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code


def answer_of(value: Any, in_order: bool) -> Any:
    """A value of an expression as plain JSON of its own. Raises `Unfit`.

    Times and durations become text. The members of maps are sorted by name unless they are
    `in_order`: the library keeps none, and hands them out in another one each time.
    """
    answer = _plain(value, in_order, 0)
    if isinstance(answer, str | list | dict):
        check_size(answer)
    return answer


def check_size(answer: Any) -> int:
    """The bytes of plain JSON. Raises `Unfit` for more than 256 KiB, and for texts that no store keeps."""
    try:
        text = orjson.dumps(answer)
    except orjson.JSONEncodeError as error:
        raise Unfit("the text holds half of a character") from error
    if len(text) > MOST_OUTPUT:
        raise Unfit(f"the value is more than {MOST_OUTPUT >> 10} KiB of JSON", LIMIT)
    if b"\\u0000" in text and _holds_nul(answer):
        raise Unfit("the value holds the character NUL")
    return len(text)


def text_of(answer: Any) -> str:
    """Plain JSON as a piece of a longer text."""
    return answer if isinstance(answer, str) else orjson.dumps(answer).decode()


def time_text(moment: datetime) -> str:
    """ISO 8601 in UTC, to the microsecond, as everywhere."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def duration_text(duration: timedelta) -> str:
    """Seconds, as a flow document writes them: `90s`, `1.5s`."""
    sign = "-" if duration < timedelta() else ""
    whole, part = divmod(abs(duration), timedelta(seconds=1))
    digits = f"{part.microseconds:06}".rstrip("0")
    return f"{sign}{whole}.{digits}s" if digits else f"{sign}{whole}s"


def _plain(value: Any, in_order: bool, depth: int) -> Any:
    is_list = isinstance(value, list)
    if not is_list and not isinstance(value, Mapping):
        return _plain_scalar(value, type(value))
    if depth >= DEPTH:
        raise Unfit(f"lists and maps nest at most {DEPTH} deep", LIMIT)
    if is_list:
        return [_plain(item, in_order, depth + 1) for item in value]
    for name in value:
        if type(name) is not str:
            raise Unfit(f"the names of members are texts, not {shown(str(name))}")
    names = value if in_order else sorted(value)
    return {name: _plain(value[name], in_order, depth + 1) for name in names}


def _plain_scalar(value: Any, kind: type) -> Any:
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        if LEAST_INTEGER <= value <= MOST_INTEGER:
            return value
        raise Unfit("the number does not fit in 64 bits")
    if kind is float:
        if isfinite(value):
            return value
        raise Unfit("the number is not finite")
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, timedelta):
        return duration_text(value)
    raise Unfit("bytes are no JSON value" if kind is bytearray else "a type is no JSON value")


def _holds_nul(answer: Any) -> bool:
    if isinstance(answer, str):
        return "\0" in answer
    if isinstance(answer, dict):
        return any("\0" in name or _holds_nul(member) for name, member in answer.items())
    return isinstance(answer, list) and any(_holds_nul(item) for item in answer)
