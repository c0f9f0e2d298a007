from __future__ import annotations

import json
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.core.json_text import problems_of
from flow_manager.core.values import canonical, find_fault, read_json
from flow_manager.errors import InvalidInput, InvalidRequest, MalformedJson
from tests.support.not_json import BYTES, TEXTS

LIMIT = 256 * 1024

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5),
    max_leaves=20,
)
# Text that is nearly JSON: pieces of it in any order.
pieces = st.sampled_from(
    [
        *'{}[]:,"\\ \n\t0123456789-+.eE',
        "true",
        "null",
        "NaN",
        '"a"',
        '"a":',
        "1e400",
        "\\u0000",
        "\\ud83d",
        "\\ude00",
    ]
)
nearly_json = st.lists(pieces, max_size=12).map("".join)


def refused(content: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        read_json(content)
    return [(problem.code, problem.pointer) for problem in caught.value.problems]


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("content", "code", "pointer"),
    [
        (b"", "empty-body", "#"),
        (b" \r\n\t", "empty-body", "#"),
        (b'{"a":1', "syntax", "#"),
        (b'{"a":1,}', "syntax", "#"),
        (b"{'a':1}", "syntax", "#"),
        (b"[1] // one", "trailing-data", "#"),
        (b"[undefined]", "syntax", "#"),
        (b"{}{}", "trailing-data", "#"),
        (b"1 x", "trailing-data", "#"),
        (b"[" * 100_000, "too-deep", "#"),
        (b'{"":' * 10_000, "too-deep", "#"),
        (nested(65), "too-deep", "#"),
        (b"[NaN]", "number-not-finite", "#/0"),
        (b'{"a":-Infinity}', "number-not-finite", "#/a"),
        (b'{"a":[0,1e400]}', "number-not-finite", "#/a/1"),
        (b"-1E+0000400", "number-not-finite", "#"),
        (b"[" + b"1" * 4301 + b"]", "number-too-long", "#/0"),
        (b"1" * 41, "number-too-long", "#"),
        (b"1e" + b"1" * 1_000_000, "number-too-long", "#"),
        (b'{"a":1,"a":2}', "duplicate-key", "#/a"),
        (b'{"x/y":[{"b":1,"\\u0062":2}]}', "duplicate-key", "#/x~1y/0/b"),
        (b'{"\\ud83d\\ude00":1,"\xf0\x9f\x98\x80":2}', "duplicate-key", "#/%F0%9F%98%80"),
        (b'"\xff"', "not-utf8", "#"),
        (b'"\xc0\xaf"', "not-utf8", "#"),
        (b'"\xed\xa0\x80"', "not-utf8", "#"),
        ('"é"'.encode("latin-1"), "not-utf8", "#"),
        ('{"a":1}'.encode("utf-16"), "not-utf8", "#"),
        ('{"a":1}'.encode("utf-16-be"), "not-utf8", "#"),
        ('{"a":1}'.encode("utf-16-le"), "not-utf8", "#"),
        ('{"a":1}'.encode("utf-32"), "not-utf8", "#"),
        ('{"a":1}'.encode("utf-32-le"), "not-utf8", "#"),
        (b"\xef\xbb\xbf{}", "bom", "#"),
    ],
)
def test_bytes_that_are_not_json_are_malformed(content: bytes, code: str, pointer: str) -> None:
    with pytest.raises(MalformedJson) as caught:
        read_json(content)

    assert [(problem.code, problem.pointer) for problem in caught.value.problems] == [(code, pointer)]
    assert all(problem.line and problem.column for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("content", "code", "pointer"),
    [
        (b"9223372036854775808", "integer-out-of-range", "#"),
        (b"[-9223372036854775809]", "integer-out-of-range", "#/0"),
        (b'{"a":"\\u0000"}', "nul-character", "#/a"),
        (b'{"a\\u0000":1}', "nul-character", "#/a%00"),
        (b'{"a":["\\ud800"]}', "lone-surrogate", "#/a/0"),
        (b'["\\ude00\\ud83d"]', "lone-surrogate", "#/0"),
        (b'{"a":[' + b"0," * 100_000 + b"0]}", "too-many-members", "#/a"),
        (b"{" + b",".join(b'"%d":0' % each for each in range(100_001)) + b"}", "too-many-members", "#"),
    ],
)
def test_values_that_cannot_be_kept_are_refused_at_their_place(
    content: bytes, code: str, pointer: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_json(content)

    assert [(problem.code, problem.pointer) for problem in caught.value.problems] == [(code, pointer)]


def test_everything_that_can_be_passed_over_is_told_at_once() -> None:
    problems = refused(b'{"a":NaN,"a":1e999,"b":[1,\n' + b"2" * 41 + b"]} x")

    assert problems == [
        ("number-not-finite", "#/a"),
        ("duplicate-key", "#/a"),
        ("number-not-finite", "#/a"),
        ("number-too-long", "#/b/1"),
        ("trailing-data", "#"),
    ]


def test_at_most_a_hundred_problems_are_told() -> None:
    assert len(refused(b"[" + b"NaN," * 500 + b"]")) == 100
    assert len(refused(b"[" + b'"\\u0000",' * 500 + b"1]")) == 100


def test_a_fault_of_syntax_has_line_column_and_offset() -> None:
    with pytest.raises(MalformedJson) as caught:
        read_json('{\n  "é": tru\n}'.encode())

    [problem] = caught.value.problems
    assert (problem.line, problem.column, problem.offset) == (2, 8, 9)


@pytest.mark.parametrize("text", TEXTS)
def test_what_every_parser_must_refuse_is_refused(text: str) -> None:
    with pytest.raises(MalformedJson):
        read_json(text.encode())


@pytest.mark.parametrize("content", BYTES)
def test_bytes_that_every_parser_must_refuse_are_refused(content: bytes) -> None:
    with pytest.raises(MalformedJson):
        read_json(content)


@pytest.mark.parametrize(
    "text",
    [
        "1",
        '"x"',
        "null",
        " [ ] ",
        "[-0]",
        "[1E-2]",
        "0.1e1",
        "[123e65]",
        '["\\u0061\\n\\/"]',
        '{"":0}',
        "[1e-400]",
        '"\\ud83d\\ude00"',
        '"\\\\u0000"',
        '"\\\\ud800"',
        '{"__proto__":{"constructor":1}}',
        "[" + "1" * 18 + "]",
        "[-9223372036854775808,9223372036854775807]",
        "[0.1234567890123456789012345]",
        nested(64).decode(),
        '["' + "[" * 100 + '"]',
        '["\\"[[","' + "]" * 99 + '"]',
        '{"a":"' + "1" * 99 + '"}',
        "[1e308]",
        '"1e999 NaN"',
    ],
)
def test_what_is_json_is_read(text: str) -> None:
    assert read_json(text.encode()) == json.loads(text)


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_valid_json_is_read_as_the_standard_library_reads_it(
    value: object, escaped: bool, indent: int
) -> None:
    text = json.dumps(value, ensure_ascii=escaped, indent=indent)

    assert repr(read_json(text.encode())) == repr(json.loads(text))


@given(nearly_json)
def test_the_fast_reader_and_the_exact_one_agree(text: str) -> None:
    is_malformed = bool(problems_of(text)) or not text.strip(" \t\n\r")

    try:
        read_json(text.encode())
        found = False
    except MalformedJson:
        found = True
    except InvalidRequest:
        found = False

    assert found == is_malformed


@given(nearly_json)
def test_nothing_is_read_that_the_standard_library_refuses(text: str) -> None:
    try:
        value = read_json(text.encode())
    except InvalidInput:
        return

    assert value == json.loads(text)


@given(st.binary(max_size=30))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        value = read_json(content)
    except InvalidInput:
        assert refused(content)
    else:
        assert json.loads(content) == value


@pytest.mark.parametrize(
    "content",
    [
        b'["' + b'\\"' * 500000,
        b'"' * 1000000,
        b"[" * 1000000,
        b"[]" * 500000,
        b"9" * 1000000,
        b'["' + b"\\\\" * 500000,
        b'{"a":' * 60 + b"1," * 450000,
        b"[" + b"NaN," * 250000 + b"]",
    ],
)
def test_no_text_of_a_mebibyte_takes_long_to_refuse(content: bytes) -> None:
    started = time.process_time()

    assert refused(content)

    assert time.process_time() - started < 2


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Text(str):
    pass


@dataclass
class Point:
    x: int = 1


@pytest.mark.parametrize("data", [None, {}, {"a": [1, -1.5, True, None, "é😀", {"b": {}}]}, {"n": 2**63 - 1}])
def test_plain_data_has_no_fault(data: object) -> None:
    assert find_fault(data, LIMIT) is None


def deep(depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(depth - 1):
        made = {"a": made}
    return made


def around_itself() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made["a"] = [made]
    return made


def doubling() -> dict[str, Any]:
    made: list[Any] = [0]
    for _ in range(60):
        made = [made, made]
    return {"a": made}


@pytest.mark.parametrize(
    ("data", "pointer", "said"),
    [
        ([], "#", "not list"),
        ("x", "#", "not str"),
        (OrderedDict(a=1), "#", "not OrderedDict"),
        ({1: 2}, "#", "not int"),
        ({"a": {None: 2}}, "#/a", "not NoneType"),
        ({"a": {Text("b"): 2}}, "#/a", "not Text"),
        ({"a": (1, 2)}, "#/a", "tuple is not JSON"),
        ({"a": {1}}, "#/a", "set is not JSON"),
        ({"a": b"x"}, "#/a", "bytes is not JSON"),
        ({"a": Colour.RED}, "#/a", "Colour is not JSON"),
        ({"a": Number.ONE}, "#/a", "Number is not JSON"),
        ({"a": Text("x")}, "#/a", "Text is not JSON"),
        ({"a": Point()}, "#/a", "Point is not JSON"),
        ({"a": uuid.UUID(int=1)}, "#/a", "UUID is not JSON"),
        ({"a": datetime.now(UTC)}, "#/a", "datetime is not JSON"),
        ({"a": orjson.Fragment(b"1")}, "#/a", "Fragment is not JSON"),
        ({"a": object()}, "#/a", "object is not JSON"),
        ({"a": [0, float("nan")]}, "#/a/1", "finite"),
        ({"a": float("-inf")}, "#/a", "finite"),
        ({"a": 2**63}, "#/a", "64 bits"),
        ({"a": -(2**63) - 1}, "#/a", "64 bits"),
        ({"a": "x\0"}, "#/a", "NUL"),
        ({"a": {"b\0": 1}}, "#/a/b%00", "NUL"),
        ({"a": "\ud800"}, "#/a", "\\ud800"),
        ({"a": [0] * 100_001}, "#/a", "100001 members"),
        (deep(65), "#" + "/a" * 64, "64 deep"),
        (deep(100_000), "#" + "/a" * 64, "64 deep"),
        (around_itself(), "#" + "/a/0" * 32, "64 deep"),
    ],
)
def test_data_that_is_not_plain_is_faulted_at_its_place(data: object, pointer: str, said: str) -> None:
    fault = find_fault(data, LIMIT)

    assert fault is not None
    assert (fault.pointer, fault.code) == (pointer, "task.output_invalid")
    assert said in fault.detail


@pytest.mark.parametrize(
    "data",
    [
        {"a": "x" * LIMIT},
        {"a": "x" * (100 << 20)},
        {"a": "é" * (LIMIT // 2)},
        {"a": "\n" * (LIMIT // 2)},
        doubling(),
        {"a": [[0] * 100000] * 100000},
        {"x" * LIMIT: 1},
    ],
    ids=["one-too-many", "100-mebibytes", "two-bytes-each", "escapes", "doubling", "shared", "name"],
)
def test_data_that_is_too_large_is_faulted(data: object) -> None:
    started = time.process_time()

    fault = find_fault(data, LIMIT)

    assert fault is not None
    assert (fault.pointer, fault.code) == ("#", "limit.output_size")
    assert time.process_time() - started < 2


def test_data_may_be_exactly_as_large_as_the_limit() -> None:
    data = {"a": "x" * 100}
    size = len(canonical(data))

    assert find_fault(data, size) is None
    assert find_fault(data, size - 1) is not None


def test_data_may_be_exactly_as_deep_as_the_limit() -> None:
    assert find_fault(deep(64), LIMIT) is None


odd = (
    scalars
    | st.floats()
    | st.integers()
    | st.text(max_size=5)
    | st.tuples(st.integers())
    | st.binary(max_size=3)
)
anything = st.dictionaries(
    st.text(max_size=3) | st.integers(),
    st.recursive(
        odd, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
    ),
    max_size=4,
)


@given(anything)
def test_what_has_no_fault_comes_back_from_json_as_it_was(data: dict[object, object]) -> None:
    fault = find_fault(data, LIMIT)

    if fault is None:
        assert repr(read_json(canonical(data).encode())) == repr(data)
    else:
        assert fault.code == "task.output_invalid"


def test_canonical_text_keeps_the_order_of_members_and_wastes_nothing() -> None:
    assert canonical({"b": [1, 2.5], "a": "é\n"}) == '{"b":[1,2.5],"a":"é\\n"}'
