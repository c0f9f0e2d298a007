"""JSON values: the only way in from bytes, the check of values made by code, and the way out to text.

What is accepted is what SQLite, PostgreSQL and every JSON parser read alike; see `core.plain`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import accumulate, islice
from math import isfinite
from typing import Any, Final

import orjson

from flow_manager.core import json_text
from flow_manager.core.plain import DEPTH, MOST_MEMBERS, Fault, faults_of, is_plain, pointer_to
from flow_manager.errors import InvalidRequest, MalformedJson, Problem

MOST_PROBLEMS: Final = 100

_UTF8_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\n\r"
_STRUCTURE: Final = b'[]{}"'
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(_STRUCTURE))
_STEP_OF: Final = [1 if each in b"[{" else -1 if each in b"]}" else 0 for each in range(256)]
_TEXTS: Final = re.compile(rb'"[^"]*+"?+')

_DIGITS: Final = bytes(0x30 if each in b"0123456789" else 0x20 for each in range(256))
_NUMBERS: Final = bytes(0x30 if each in b"+-.0123456789eE" else 0x20 for each in range(256))
_LARGE_INTEGER: Final = b"0" * 19
_ODD_ESCAPES: Final = (b"\\u0000", b"\\ud", b"\\uD")
_LONG_NUMBER: Final = b"0" * (json_text.LONGEST_NUMBER + 1)
_EXPONENTS: Final = bytes.maketrans(b"123456789E+", b"000000000e-")
_LARGE_EXPONENT: Final = (b"0e000", b"0e-000")
"""A float with an exponent of fewer digits is finite: the number itself is not long."""


def read_json(content: bytes) -> Any:
    """The value of a JSON text in UTF-8. Its size is for the caller to limit.

    Raises `MalformedJson` for bytes that are not JSON, or that parsers read differently: an
    empty body, a byte order mark, another encoding, bad syntax, anything after the value, a
    name twice in one object, numbers that are not finite or longer than 40 characters, more
    than 64 levels. Raises `InvalidRequest` for readable values that not every store can keep:
    integers beyond 64 bits, NUL, halves of surrogate pairs, more than 100,000 members.
    """
    if _depth(content) > DEPTH or _LONG_NUMBER in content.translate(_NUMBERS):
        return _read_slowly(content)
    try:
        value = _decoder(content).decode(content.decode())
    except (ValueError, RecursionError):
        return _read_slowly(content)
    if _may_hold_odd_values(content):
        _refuse_odd_values(value, len(content))
    return value


def find_fault(value: object, limit_bytes: int) -> Problem | None:
    """What is wrong with a value as the result of a task or the input of an execution.

    None if it is None, or a plain JSON object of at most `limit_bytes` of JSON text. The codes
    are dotted, for they are stored with the failure: `task.output_invalid` and
    `limit.output_size`. Never raises.
    """
    if value is None:
        return None
    if type(value) is not dict:
        return Problem("#", "task.output_invalid", f"data is a dict, not {type(value).__name__}")
    try:
        if is_plain(value, limit_bytes):
            text = orjson.dumps(value)
            if len(text) <= limit_bytes and b"\\u0000" not in text:
                return None
        return _stored_fault(value, limit_bytes)
    except orjson.JSONEncodeError:
        return _stored_fault(value, limit_bytes)
    except RuntimeError:
        return Problem("#", "task.output_invalid", "the data changed while it was being read")


def canonical(value: object) -> str:
    """The canonical text of a plain value: the author's order of members, no spaces, UTF-8."""
    return orjson.dumps(value).decode()


def _depth(content: bytes) -> int:
    """How deep brackets nest, without reading the text: brackets within texts do not count."""
    if b"\\" in content:
        content = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes next to each other are an empty text, or where two texts become one: both are safe to drop.
    structure = content.translate(None, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in structure:
        structure = _TEXTS.sub(b"", structure)
    return max(accumulate(map(_STEP_OF.__getitem__, structure)), default=0)


class _Refused(ValueError):
    """The fast parser met something that the exact reader will explain."""


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(members)
    if len(made) != len(members):
        raise _Refused
    return made


def _not_finite(text: str) -> float:
    raise _Refused(text)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise _Refused
    return number


_ORDINARY = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_not_finite)
_WITH_EXPONENTS = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_not_finite, parse_float=_finite)


def _decoder(content: bytes) -> json.JSONDecoder:
    numbers = content.translate(_EXPONENTS)
    is_large = any(exponent in numbers for exponent in _LARGE_EXPONENT)
    return _WITH_EXPONENTS if is_large else _ORDINARY


def _may_hold_odd_values(content: bytes) -> bool:
    return (
        (b"\\u" in content and any(escape in content for escape in _ODD_ESCAPES))
        or content.count(b",") >= MOST_MEMBERS
        or _LARGE_INTEGER in content.translate(_DIGITS)
    )


def _refuse_odd_values(value: object, most: int) -> None:
    faults = list(islice(faults_of(value, most + 1), MOST_PROBLEMS))
    if faults:
        problems = [Problem(pointer_to(fault.path), fault.code, fault.detail) for fault in faults]
        raise InvalidRequest(_summary("the text holds values that cannot be kept", problems), problems)


def _read_slowly(content: bytes) -> Any:
    problems = _text_problems(content)
    if problems:
        raise MalformedJson(_summary("the text is not JSON that is accepted here", problems), problems)
    value = json.loads(content.decode())
    _refuse_odd_values(value, len(content))
    return value


def _text_problems(content: bytes) -> Sequence[Problem]:
    if not content.strip(_SPACE):
        return [Problem("#", "empty-body", "there is nothing to read", line=1, column=1, offset=0)]
    if content.startswith(_UTF8_BOM):
        detail = "the text must not begin with a byte order mark"
        return [Problem("#", "bom", detail, line=1, column=1, offset=0)]
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:4]:
        detail = "the text must be UTF-8; this looks like UTF-16 or UTF-32"
        return [Problem("#", "not-utf8", detail, line=1, column=1, offset=0)]
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        detail = f"the text must be UTF-8; byte {error.start} is not"
        return [json_text.problem_at(before, len(before), "not-utf8", detail)]
    deep = json_text.too_deep(text)
    return json_text.problems_of(text) if deep is None else [deep]


def _summary(sentence: str, problems: Sequence[Problem]) -> str:
    return f"{sentence}: {problems[0].detail} (at {problems[0].pointer})"


def _stored_fault(value: object, limit_bytes: int) -> Problem:
    fault: Fault | None = next(faults_of(value, limit_bytes), None)
    if fault is not None:
        return Problem(pointer_to(fault.path), "task.output_invalid", fault.detail)
    detail = f"the data is more than {limit_bytes} bytes of JSON"
    return Problem("#", "limit.output_size", detail, hint="store it elsewhere and return where it is")
