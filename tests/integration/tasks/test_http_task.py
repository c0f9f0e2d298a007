"""The `http` task against a server that misbehaves: every fault has a name, every answer is bounded.

All traffic stays on the loopback address, which these tests allow as an operator would.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
import zlib
from typing import Any

import pytest

from flow_manager.tasks.builtin.http import MOST_BESIDE_BODY
from flow_manager.tasks.builtin.http_input import MOST_RESPONSE
from flow_manager.tasks.builtin.wire import Wire
from flow_manager.tasks.context import Cancellation, TaskContext
from tests.support.fault_server import (
    Behaviour,
    Connection,
    FaultServer,
    Received,
    answering,
    dripping,
    endless,
    gzip_bomb,
    hang,
    redirect_to_itself,
    sending,
)
from tests.support.http_calls import JSON, OK, Call, caller, error_of, play, result_of
from tests.support.orders import order
from tests.support.ports import free_port


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all pieces that came out of a socket."""
    sizes: list[int] = []
    read = Wire.read

    async def counted(wire: Wire) -> bytes:
        piece = await read(wire)
        sizes.append(len(piece))
        return piece

    monkeypatch.setattr(Wire, "read", counted)
    return sizes


# -- calls that succeed


def test_an_answer_is_a_result() -> None:
    body = b'{"id": 7, "names": ["\xc3\xbc"]}'
    headers = {"Content-Type": "application/json; charset=utf-8", "X-Two": "a"}

    result = result_of(answering(body, 201, "Created", headers), method="POST", json={"a": [1, None]})

    assert result.outcome == "success"
    assert result.data == {
        "status": 201,
        "headers": {"content-type": "application/json; charset=utf-8", "x-two": "a", "content-length": "26"},
        "body": {"id": 7, "names": ["\u00fc"]},
        "url": result.data["url"],
    }
    assert result.data["url"].endswith("/v1")


def test_the_request_is_what_the_input_says() -> None:
    async def scenario(server: FaultServer, call: Call) -> None:
        await call(
            {
                "url": server.url("/v1?a=b"),
                "method": "PUT",
                "headers": {"X-Request-Id": "r1", "user-agent": "shop"},
                "query": {"page": 2},
                "json": {"name": "\u00fc"},
            }
        )
        await call({"url": server.url(), "method": "POST", "body": "h\u00e9llo"})
        await call({"url": server.url(), "method": "POST"})
        await call({"url": server.url(), "method": "DELETE"})

    server = play(answering(), scenario)

    put, text, empty, delete = server.requests
    assert (put.method, put.target, put.body) == ("PUT", "/v1?a=b&page=2", '{"name":"\u00fc"}'.encode())
    assert put.headers == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "shop",
        "accept": "*/*",
        "accept-encoding": "gzip",
        "content-type": "application/json",
        "x-request-id": "r1",
        "content-length": "13",
    }
    assert (text.headers["content-type"], text.body) == ("text/plain; charset=utf-8", b"h\xc3\xa9llo")
    assert (empty.headers["content-length"], empty.body) == ("0", b"")
    assert "content-length" not in delete.headers


def test_a_call_that_must_not_be_repeated_carries_the_key_of_its_task_run() -> None:
    context = TaskContext(order("http"), Cancellation())

    async def scenario(server: FaultServer, call: Call) -> None:
        for method in ("POST", "PATCH", "PUT", "GET"):
            await call({"url": server.url(), "method": method})
        await call({"url": server.url(), "method": "POST", "headers": {"idempotency-KEY": "mine"}})

    server = play(answering(), scenario)

    keys = [request.headers.get("idempotency-key") for request in server.requests]
    assert keys == [context.idempotency_key, context.idempotency_key, None, None, "mine"]


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"", {}, None),
        (b"", JSON, None),
        (b"null", JSON, None),
        (b"[1]", {"Content-Type": "application/problem+json"}, [1]),
        (b"\xef\xbb\xbf[1]", JSON, [1]),
        (b"[1]", {"Content-Type": "text/plain"}, "[1]"),
        (b"[1]", {}, "[1]"),
        (b"\xfc", {"Content-Type": "text/plain; charset=iso-8859-1"}, "\u00fc"),
        (b"\xfc", {"Content-Type": 'text/plain; charset="ISO-8859-1"'}, "\u00fc"),
        (b"a\xfcb\0c", {"Content-Type": "text/plain"}, "a\ufffdb\ufffdc"),
        (b"a", {"Content-Type": "text/plain; charset=punycode"}, "a"),
        (b"a", {"Content-Type": "text/plain; charset=iso-8859-99"}, "a"),
        (gzip.compress(b"hello", mtime=0), {"Content-Encoding": "gzip"}, "hello"),
        (gzip.compress(b"hello", mtime=0), {"Content-Encoding": "X-GZIP"}, "hello"),
        (b"hello", {"Content-Encoding": "identity"}, "hello"),
    ],
)
def test_a_body_is_read_as_its_headers_say(body: bytes, headers: dict[str, str], expected: Any) -> None:
    assert result_of(answering(body, headers=headers)).data["body"] == expected


def test_a_head_request_has_no_body() -> None:
    assert result_of(answering(b"{}", headers=JSON), method="HEAD").data["body"] is None


def test_a_header_that_comes_twice_is_joined() -> None:
    content = OK + b"X-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n"

    assert result_of(sending(content)).data["headers"]["x-a"] == "1, 2"


def test_a_chunked_body_and_one_that_ends_with_the_connection_are_read() -> None:
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    assert result_of(sending(chunked)).data["body"] == "abcde"
    assert result_of(sending(OK + b"\r\nabc")).data["body"] == "abc"


def test_an_expected_status_is_a_success() -> None:
    result = result_of(answering(b"none", 404, "Not Found"), expect_status=["2xx", 404])

    assert (result.outcome, result.data["status"], result.data["body"]) == ("success", 404, "none")


def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")

    assert result_of(answering()).outcome == "success"


# -- answers that were not expected


@pytest.mark.parametrize(
    ("status", "is_retryable"),
    [(301, False), (304, False), (400, False), (404, False), (408, True), (409, False), (425, True),
     (429, True), (500, True), (501, True), (503, True), (599, True)],
)  # fmt: skip
def test_an_unexpected_status_is_a_failure_of_its_own(status: int, is_retryable: bool) -> None:
    error = error_of(result_of(answering(b"" if status == 304 else b"sorry\0", status, "X")))

    assert (error.code, error.retryable) == (f"http.{status}", is_retryable)
    assert error.details["status"] == status
    assert error.details.get("body") == (None if status == 304 else "sorry\ufffd")
    assert "retry_after" not in error.details
    assert "secret" not in error.message


@pytest.mark.parametrize(
    ("written", "least", "most"),
    [
        ("3", 3, 3),
        ("0", 0, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 1e9, 1e10),
        ("Fri, 31 Dec 2100 23:59:59 -0000", 1e9, 1e10),
    ],
)
def test_a_wait_that_the_answer_asks_for_is_passed_on(written: str, least: float, most: float) -> None:
    error = error_of(result_of(answering(b"", 429, "Slow", {"Retry-After": written})))

    assert least <= error.details["retry_after"] <= most


@pytest.mark.parametrize(
    "written",
    ["", "soon", "-1", "1e9", "9" * 40, "Fri, 99 Foo 2100", "Fri, 31 Dec 2100 23:59:59 +" + "9" * 20,
     "Fri, 31 Dec 99999999999 23:59:59 GMT"],
)  # fmt: skip
def test_a_wait_that_makes_no_sense_is_not(written: str) -> None:
    error = error_of(result_of(answering(b"", 503, "Busy", {"Retry-After": written})))

    assert "retry_after" not in error.details


def test_a_redirect_is_not_followed() -> None:
    async def scenario(server: FaultServer, call: Call) -> None:
        error = error_of(await call({"url": server.url("/loop")}))
        assert (error.code, error.retryable) == ("http.302", False)

    assert len(play(redirect_to_itself, scenario).requests) == 1


def test_of_an_unexpected_answer_only_the_start_is_read(bytes_read: list[int]) -> None:
    error = error_of(result_of(endless(b"HTTP/1.1 500 Oops\r\n\r\n")))

    assert (error.code, len(error.details["body"])) == ("http.500", 2000)
    assert sum(bytes_read) <= 2 * MOST_BESIDE_BODY


def test_an_unexpected_answer_that_drips_is_told_by_its_status() -> None:
    head = b"HTTP/1.1 500 Oops\r\n\r\nsorry"

    async def behave(connection: Connection, _: Received) -> None:
        await connection.send(head)
        await connection.reader.read()

    began = time.monotonic()
    error = error_of(result_of(behave))

    assert (error.code, error.details["body"]) == ("http.500", "sorry")
    assert time.monotonic() - began < 2.5


# -- F41: faults


FAULTS: dict[str, tuple[Behaviour, str, bool]] = {
    "hangs before the head": (hang, "http.timeout", True),
    "drips the head": (dripping(OK + b"Content-Length: 500\r\n\r\n", 0.05), "http.timeout", True),
    "drips the body": (
        dripping(OK + b"Content-Length: 500\r\n\r\n" + b"x" * 500, 0.005), "http.timeout", True
    ),
    "informs for ever": (endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000), "http.too_large", False),
    "closes at once": (sending(b""), "http.protocol", True),
    "closes within the head": (sending(b"HTTP/1.1 200 OK\r\nContent-Le"), "http.protocol", True),
    "closes within the body": (sending(OK + b"Content-Length: 9\r\n\r\nabc"), "http.protocol", True),
    "closes within a chunk": (
        sending(OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nabc"), "http.protocol", True
    ),
    "is no chunk": (sending(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "http.protocol", True),
    "is no HTTP": (sending(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "http.protocol", True),
    "is binary": (sending(bytes(range(256)) * 10), "http.protocol", True),
    "has two lengths": (
        sending(OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"), "http.protocol", True
    ),
    "has an endless head": (endless(OK + b"X-A: "), "http.protocol", True),
    "has an endless body": (endless(OK + b"\r\n"), "http.too_large", False),
    "promises 10 GiB": (endless(OK + b"Content-Length: 10737418240\r\n\r\n"), "http.too_large", False),
    "is endless in small chunks": (
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 400_000), "http.too_large", False
    ),
    "is a gzip bomb": (gzip_bomb(64 << 20), "http.too_large", False),
    "is endless gzip": (
        endless(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")), "http.too_large", False
    ),
    "is not the gzip it is said to be": (
        answering(b"hello", headers={"Content-Encoding": "gzip"}), "http.decoding", False
    ),
    "is half a gzip": (
        answering(gzip.compress(b"hello" * 99)[:20], headers={"Content-Encoding": "gzip"}), "http.decoding",
        False,
    ),
    "is two gzips": (
        answering(gzip.compress(b"a") * 2, headers={"Content-Encoding": "gzip"}), "http.decoding", False
    ),
    "is deflated": (
        answering(zlib.compress(b"hello"), headers={"Content-Encoding": "deflate"}), "http.decoding", False
    ),
    "is packed twice": (
        answering(gzip.compress(b"hello"), headers={"Content-Encoding": "gzip, gzip"}), "http.decoding", False
    ),
    "is not JSON": (answering(b"<html>", headers=JSON), "http.bad_json", False),
    "is JSON with NaN": (answering(b"[NaN]", headers=JSON), "http.bad_json", False),
    "is JSON too deep": (answering(b"[" * 100_000, headers=JSON), "http.bad_json", False),
    "is JSON in UTF-16": (answering("[1]".encode("utf-16"), headers=JSON), "http.bad_json", False),
    "switches protocols": (
        sending(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        "http.protocol", True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_server_has_its_name_and_its_bounds(fault: str, bytes_read: list[int]) -> None:
    behaviour, code, is_retryable = FAULTS[fault]
    began = time.monotonic()

    error = error_of(result_of(behaviour, read_timeout=0.5))

    assert time.monotonic() - began <= 0.5 + 1
    assert (error.code, error.retryable) == (code, is_retryable)
    assert error.message
    assert "secret" not in error.message
    assert sum(bytes_read) <= MOST_RESPONSE + MOST_BESIDE_BODY


@pytest.mark.parametrize("size", [99, 100, 101])
@pytest.mark.parametrize("is_packed", [False, True])
def test_the_limit_of_a_body_counts_its_bytes_when_unpacked(size: int, is_packed: bool) -> None:
    body = gzip.compress(b"x" * size) if is_packed else b"x" * size
    headers = {"Content-Encoding": "gzip"} if is_packed else {}

    result = result_of(answering(body, headers=headers), max_response=100)

    if size <= 100:
        assert result.data["body"] == "x" * size
    else:
        assert error_of(result).message == "the body of the answer has more than 100 bytes"


def test_a_port_where_nobody_listens_is_no_connection() -> None:
    error = error_of(asyncio.run(caller()({"url": f"http://127.0.0.1:{free_port()}/"})))

    assert (error.code, error.retryable) == ("http.connect", True)
    assert error.message == "there is no connection: Connection refused"


def test_a_host_that_takes_no_connection_is_given_up_in_time() -> None:
    """A listener whose queue is full lets a connection wait, as a host that is not there does."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        for filling in (first, second):
            filling.setblocking(False)
            filling.connect_ex(address)
        began = time.monotonic()

        error = error_of(
            asyncio.run(caller()({"url": f"http://127.0.0.1:{address[1]}/", "connect_timeout": 0.2}))
        )

    assert error.code == "http.timeout"
    assert error.message == "there was no connection in time"
    assert time.monotonic() - began < 1.2


def test_an_input_that_does_not_fit_when_it_has_its_values_is_told_without_them() -> None:
    error = error_of(asyncio.run(caller()({"url": "http://a:hunter2@b/", "headers": {"X-A": "hunter2\n"}})))

    assert (error.code, error.retryable) == ("http.bad_input", False)
    assert "url: a URL has no user and password" in error.message
    assert "headers.X-A: the value of a header is one line of ASCII" in error.message
    assert "hunter2" not in error.message


def test_a_result_is_json() -> None:
    data = result_of(answering(b"[1]", headers=JSON)).data

    assert json.loads(json.dumps(data)) == data
