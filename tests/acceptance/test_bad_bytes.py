"""Bodies that cannot be read, or not as what they say they are, sent to a running service."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.bad_input import FLOW_PATHS, Refusing, as_body, codes_of, kind_of, refusing_service
from tests.support.documents import document, task
from tests.support.not_json import BYTES, TEXTS
from tests.support.raw_http import ask_until_closed, head, post, request

LIMIT = 1 << 20
"""Bytes of a body."""

both_paths = pytest.mark.parametrize("path", FLOW_PATHS)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusing]:
    with refusing_service(tmp_path_factory.mktemp("bad-bytes")) as refusing:
        yield refusing


@dataclass(frozen=True)
class Row:
    """A body, and where in it which code belongs."""

    case: str
    body: bytes
    code: str
    pointer: str = "#"

    def __str__(self) -> str:
        return self.case


def table(*rows: Row) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=str)


VALID = document(task("nothing"))


def with_input(text: str) -> bytes:
    """A valid request whose input has this JSON text as its member `a`."""
    return as_body(VALID)[:-1] + b',"input":{"a":' + text.encode("utf-8", "surrogatepass") + b"}}"


@both_paths
@table(
    Row("A01 nothing", b"", "empty-body"),
    Row("A01 only spaces", b" \t\r\n" * 1000, "empty-body"),
    Row("A02 cut off", b'{"a":1', "syntax"),
    Row("A02 a flow that is cut off", as_body(VALID)[:-1], "syntax"),
    Row("A02 a comma at the end", b'{"a":1,}', "syntax"),
    Row("A02 single quotes", b"{'a':1}", "syntax"),
    Row("A02 a comment before", b'/* a */{"a":1}', "syntax"),
    Row("A02 a comment within", b'{"a":1 // b\n}', "syntax"),
    Row("A02 undefined", b'{"a":undefined}', "syntax"),
    Row("A02 a new line in a text", b'{"a":"\n"}', "syntax"),
    Row("A02 no quote at the end of 1 MiB", b'{"a":"' + b"x" * (LIMIT - 6), "syntax"),
    Row("A03 two values", b"{}{}", "trailing-data"),
    Row("A03 a flow twice", as_body(VALID) * 2, "trailing-data"),
    Row("A03 garbage behind the value", as_body(VALID) + b"x", "trailing-data"),
    Row("A04 100,000 brackets", b"[" * 100_000, "too-deep"),
    Row("A04 1 MiB of brackets", b"[" * LIMIT, "too-deep"),
    Row("A04 40 KB of nested objects", b'{"":' * 10_000, "too-deep"),
    Row("A04 65 levels", b"[" * 65 + b"]" * 65, "too-deep"),
    Row("A04 65 levels in a flow", with_input("[" * 63 + "]" * 63), "too-deep"),
    Row("A06 NaN", with_input("NaN"), "number-not-finite", "#/input/a"),
    Row("A06 -Infinity", with_input("[-Infinity]"), "number-not-finite", "#/input/a/0"),
    Row("A06 1e400", with_input("1e400"), "number-not-finite", "#/input/a"),
    Row("A06 -1e400", with_input("-1e+400"), "number-not-finite", "#/input/a"),
    Row("A07 an integer of 4,301 digits", with_input("1" * 4301), "number-too-long", "#/input/a"),
    Row("A07 an integer of 1,000,000 digits", with_input("9" * 10**6), "number-too-long", "#/input/a"),
    Row(
        "A07 an exponent of 1,000,000 digits", with_input("1e" + "9" * 10**6), "number-too-long", "#/input/a"
    ),
    Row("A07 41 digits", with_input("1" * 41), "number-too-long", "#/input/a"),
    Row("A07 41 digits of a fraction", with_input("0." + "1" * 39), "number-too-long", "#/input/a"),
    Row("A09 a name twice", b'{"a":1,"a":2}', "duplicate-key", "#/a"),
    Row("A09 two flows", as_body(VALID)[:-1] + b"," + as_body(VALID)[1:], "duplicate-key", "#/flow"),
    Row("A09 a name twice, escaped", with_input('{"b":1,"\\u0062":2}'), "duplicate-key", "#/input/a/b"),
    Row("A10 a byte that begins nothing", with_input("1") + b"\xff", "not-utf8"),
    Row("A10 overlong", b'{"a":"\xc0\xaf"}', "not-utf8"),
    Row("A10 overlong, of three bytes", b'{"a":"\xe0\x80\xaf"}', "not-utf8"),
    Row("A10 beyond U+10FFFF", b'{"a":"\xf4\x90\x80\x80"}', "not-utf8"),
    Row("A10 half a pair as UTF-8", with_input('"\ud800"'), "not-utf8"),
    Row("A10 cut off within a character", b'{"a":"\xe2\x82', "not-utf8"),
    Row("A10 Latin-1", '{"a":"é"}'.encode("latin-1"), "not-utf8"),
    *(
        Row(f"A10 {encoding}", json.dumps(VALID).encode(encoding), "not-utf8")
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
    ),
    Row("A11 a byte order mark", b"\xef\xbb\xbf" + as_body(VALID), "bom"),
)
def test_bytes_that_are_no_json_are_malformed(refusing: Refusing, path: str, row: Row) -> None:
    problem = refusing.refused(post(path, row.body))

    assert kind_of(problem) == (400, "malformed-json")
    assert (row.pointer, row.code) in codes_of(problem)


@both_paths
@pytest.mark.parametrize(
    "body", [*(text.encode() for text in TEXTS), *BYTES], ids=lambda body: ascii(body.decode("latin-1"))
)
def test_a05_what_every_parser_must_refuse_is_malformed(refusing: Refusing, path: str, body: bytes) -> None:
    problem = refusing.refused(post(path, body))

    assert kind_of(problem) == (400, "malformed-json")


MANY_NAMES = "".join(
    f',"{"".join(name)}":0'
    for name in itertools.islice(itertools.product("abcdefghijklmnopqr", repeat=4), 100_001)
)


@both_paths
@table(
    Row("A08 2^63", with_input("9223372036854775808"), "integer-out-of-range", "#/input/a"),
    Row("A08 -2^63 - 1", with_input("[0,-9223372036854775809]"), "integer-out-of-range", "#/input/a/1"),
    Row("A12 NUL in a value", with_input('"a\\u0000"'), "nul-character", "#/input/a"),
    Row("A12 NUL in a name", with_input('{"b\\u0000":1}'), "nul-character", "#/input/a/b%00"),
    Row("A12 NUL in the flow", b'{"flow":{"id":"\\u0000"}}', "nul-character", "#/flow/id"),
    Row("A13 half a pair", with_input('"\\ud800"'), "lone-surrogate", "#/input/a"),
    Row("A13 a pair the wrong way round", with_input('"\\ude00\\ud83d"'), "lone-surrogate", "#/input/a"),
    Row("A13 half a pair in a name", with_input('{"\\udc00":1}'), "lone-surrogate", "#/input/a/%3F"),
    Row("A16 100,001 elements", with_input("[0" + ",0" * 100_000 + "]"), "too-many-members", "#/input/a"),
    Row("A16 100,001 names", with_input("{" + MANY_NAMES[1:] + "}"), "too-many-members", "#/input/a"),
    Row("A16 100,001 flows", b"[{}" + b",{}" * 100_000 + b"]", "too-many-members", "#"),
    Row("A19 an array", b"[" + as_body(VALID) + b"]", "wrong-type"),
    Row("A19 a text", b'"flow"', "wrong-type"),
    Row("A19 a number", b"1", "wrong-type"),
    Row("A19 true", b"true", "wrong-type"),
    Row("A19 null", b"null", "wrong-type"),
    Row("A19 an input that is none", as_body({**VALID, "input": [1]}), "wrong-type", "#/input"),
    Row("A19 an input that is null", as_body({**VALID, "input": None}), "wrong-type", "#/input"),
    Row("A19 labels that are none", as_body({**VALID, "labels": "a=b"}), "wrong-type", "#/labels"),
    Row("a label that is a number", as_body({**VALID, "labels": {"a": 1}}), "wrong-type", "#/labels/a"),
    Row("a label of two lines", as_body({**VALID, "labels": {"a": "b\nc"}}), "bad-label", "#/labels/a"),
    Row(
        "a label of 256 characters", as_body({**VALID, "labels": {"a": "b" * 256}}), "bad-label", "#/labels/a"
    ),
    Row("A20 a label with a space", as_body({**VALID, "labels": {"a b": "c"}}), "bad-name", "#/labels/a%20b"),
    Row("65 labels", as_body({**VALID, "labels": {f"l{n}": "" for n in range(65)}}), "too-many", "#/labels"),
    Row("a member that nobody knows", as_body({**VALID, "inputs": {}}), "unknown-field", "#/inputs"),
)
def test_values_that_cannot_be_kept_are_refused_at_their_place(
    refusing: Refusing, path: str, row: Row
) -> None:
    problem = refusing.refused(post(path, row.body))

    assert kind_of(problem) == (422, "invalid-request")
    assert codes_of(problem) == [(row.pointer, row.code)]


def test_an_input_that_is_too_large_to_keep_is_refused(refusing: Refusing) -> None:
    problem = refusing.refused(post("/flow/execute", with_input('"' + "x" * (256 << 10) + '"')))

    assert kind_of(problem) == (422, "invalid-request")
    assert codes_of(problem) == [("#/input", "too-large")]


def test_a14_names_that_mean_something_to_programs_are_plain_data(refusing: Refusing) -> None:
    poison = {"__proto__": {"status": "failed"}, "constructor": {"prototype": 1}, "__class__": "x"}
    flow = document(task("nothing", poison))

    validated = refusing.accepted(post("/flow/validate", as_body({**flow, "input": poison})))
    executed = refusing.accepted(post("/flow/execute", as_body({**flow, "input": poison})))

    assert validated["valid"] is True
    assert executed["status"] == "completed"
    assert executed["execution_history"][0]["data"] == {"input": poison}


@both_paths
@pytest.mark.parametrize(
    ("case", "body"),
    [
        ("A15 one byte too many", as_body(VALID).ljust(LIMIT + 1)),
        ("A16 a text of 5 MiB", with_input('"' + "x" * (5 << 20) + '"')),
        ("A16 1,000,000 elements", with_input("[0" + ",0" * 999_999 + "]")),
    ],
    ids=["limit + 1", "text", "array"],
)
def test_a_body_beyond_the_limit_is_refused(refusing: Refusing, path: str, case: str, body: bytes) -> None:
    problem = refusing.refused_and_closed(post(path, body))

    assert kind_of(problem) == (413, "too-large")
    assert codes_of(problem) == [("#", "too-large")]


def test_a15_a_body_of_the_limit_is_read(refusing: Refusing) -> None:
    answer = refusing.accepted(post("/flow/validate", as_body(VALID).ljust(LIMIT)))

    assert answer["valid"] is True


@both_paths
@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)], ids=["sent", "asked"])
def test_a15_10_gib_are_refused_before_they_are_sent(
    refusing: Refusing, path: str, expect: tuple[str, ...]
) -> None:
    lines = ("Content-Type: application/json", f"Content-Length: {10 << 30}", *expect)

    problem = refusing.refused_and_closed(head("POST", path, *lines) + b"{")

    assert kind_of(problem) == (413, "too-large")


@both_paths
def test_a15_an_endless_body_is_cut_off(refusing: Refusing, path: str) -> None:
    begin = head("POST", path, "Content-Type: application/json", "Transfer-Encoding: chunked")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"

    answer, rest = ask_until_closed(refusing.port, itertools.chain([begin], itertools.repeat(chunk, 1024)))

    assert answer is not None
    assert kind_of(refusing.problem(answer, begin)) == (413, "too-large")
    assert answer.sent < 32 << 20
    assert rest == b""


BOMB = b'{"a":"' + b" " * (10 << 20) + b'"}'


@both_paths
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BOMB)),
        ("x-gzip", gzip.compress(as_body(VALID))),
        ("deflate", zlib.compress(BOMB)),
        # Nobody looks at these: what the header says is enough.
        ("br", b"\x0b\x02\x80"),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        ("gzip, gzip", gzip.compress(gzip.compress(BOMB))),
        ("identity, gzip", gzip.compress(BOMB)),
        ("nonsense", as_body(VALID)),
    ],
)
def test_a17_bodies_are_not_decompressed(refusing: Refusing, path: str, encoding: str, body: bytes) -> None:
    problem = refusing.refused_and_closed(post(path, body, {"Content-Encoding": encoding}))

    assert kind_of(problem) == (415, "unsupported-media-type")
    assert codes_of(problem) == [("Content-Encoding", "content-encoding")]


class Trap:
    """Unpickled it ends the process."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (1,)


def form(body: bytes) -> bytes:
    written = io.BytesIO()
    written.write(b'--a\r\nContent-Disposition: form-data; name="flow"; filename="/etc/passwd"\r\n\r\n')
    written.write(body)
    written.write(b"\r\n--a--\r\n")
    return written.getvalue()


@both_paths
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", as_body(VALID)),
        (None, as_body(VALID)),
        ("", as_body(VALID)),
        ("json", as_body(VALID)),
        ("application/json; charset=latin1", as_body(VALID)),
        ("application/json; charset=utf-16", json.dumps(VALID).encode("utf-16")),
        ("application/json, text/plain", as_body(VALID)),
        ("multipart/form-data; boundary=a", form(as_body(VALID))),
        ("application/x-www-form-urlencoded", b"flow=" + as_body(VALID)),
        ("application/yaml", b"flow: !!python/object/apply:os._exit [1]"),
        ("application/x-python-pickle", pickle.dumps(Trap())),
        ("application/xml", b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'),
        ("application/" + "a" * 10_000 + "json", as_body(VALID)),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value)[:40],
)
def test_a18_a_body_of_another_type_is_refused(
    refusing: Refusing, path: str, content_type: str | None, body: bytes
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}

    problem = refusing.refused_and_closed(request("POST", path, headers, body))

    assert kind_of(problem) == (415, "unsupported-media-type")
    assert problem["accept"] == ["application/json"]


@both_paths
@pytest.mark.parametrize(
    "body",
    [pickle.dumps(Trap()), form(as_body(VALID)), b"flow: 1", b"<flow/>"],
    ids=["pickle", "form", "yaml", "xml"],
)
def test_a18_what_only_says_that_it_is_json_is_malformed(refusing: Refusing, path: str, body: bytes) -> None:
    problem = refusing.refused(post(path, body))

    assert kind_of(problem) == (400, "malformed-json")
