"""Heads that cannot be read, and bodies whose length is a lie, sent to a running service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.support.bad_input import FLOW_PATHS, MOST_SECONDS, Refusing, as_body, kind_of, refusing_service
from tests.support.documents import document, task
from tests.support.raw_http import ask_until_closed, head, request

FLOW = as_body(document(task("nothing")))

both_paths = pytest.mark.parametrize("path", FLOW_PATHS)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusing]:
    with refusing_service(tmp_path_factory.mktemp("bad-framing")) as refusing:
        yield refusing


SMUGGLED = head("GET", "/v1/doctor")


@dataclass(frozen=True)
class Framing:
    """Lines of a head with a body behind them. `is_below` says that the web server refuses it beneath the
    application: with the right status, or by closing the connection, but with no problem."""

    case: str
    lines: tuple[str, ...]
    body: bytes = b""
    is_below: bool = field(default=True, kw_only=True)

    def __str__(self) -> str:
        return self.case


FRAMINGS = [
    Framing("+10", ("Content-Length: +10",), b"{}        "),
    Framing("0x0A", ("Content-Length: 0x0A",), b"{}        "),
    Framing("-1", ("Content-Length: -1",)),
    Framing("1_0", ("Content-Length: 1_0",), b"{}        "),
    Framing("an empty length", ("Content-Length: ",)),
    Framing("a length beyond 64 bits", ("Content-Length: 99999999999999999999",), b"{}"),
    Framing("two lengths in a line", ("Content-Length: 2, 3",), b"{} "),
    Framing("two lengths", ("Content-Length: 2", "Content-Length: 3"), b"{} "),
    Framing("a space before the colon", ("Content-Length : 2",), b"{}"),
    Framing("another encoding", ("Transfer-Encoding: xchunked",), b"0\r\n\r\n"),
    Framing("identity behind chunked", ("Transfer-Encoding: chunked, identity",), b"0\r\n\r\n"),
    Framing("a vertical tab", ("Transfer-Encoding: \x0bchunked",), b"0\r\n\r\n"),
    Framing("a space before that colon", ("Transfer-Encoding : chunked",), b"0\r\n\r\n"),
    Framing("a folded line", ("X-A: a", " b", "Content-Length: 2"), b"{}"),
    Framing("a bare CR", ("X-A: a\rb", "Content-Length: 2"), b"{}"),
    Framing("NUL in a header", ("X-A: a\0b", "Content-Length: 2"), b"{}"),
    Framing("a name with a space", ("X A: a", "Content-Length: 2"), b"{}"),
    Framing("no colon", ("nonsense", "Content-Length: 2"), b"{}"),
    # Chunked wins over a length (RFC 9112), and the application sees an empty body.
    Framing(
        "chunked and a length",
        ("Transfer-Encoding: chunked", "Content-Length: 5"),
        b"0\r\n\r\n",
        is_below=False,
    ),
    Framing(
        "a length and chunked",
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        b"0\r\n\r\n",
        is_below=False,
    ),
    Framing("a chunk of 0x2", ("Transfer-Encoding: chunked",), b"0x2\r\n{}\r\n0\r\n\r\n", is_below=False),
    Framing("a chunk of -2", ("Transfer-Encoding: chunked",), b"-2\r\n{}\r\n0\r\n\r\n", is_below=False),
    Framing("a bare LF", ("Transfer-Encoding: chunked",), b"2;a\nb\r\n{}\r\n0\r\n\r\n", is_below=False),
    Framing(
        "a chunk beyond 64 bits",
        ("Transfer-Encoding: chunked",),
        b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        is_below=False,
    ),
]


@both_paths
@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
def test_c18_no_second_request_hides_in_one_that_is_badly_framed(
    refusing: Refusing, path: str, framing: Framing
) -> None:
    content = head("POST", path, "Content-Type: application/json", *framing.lines) + framing.body

    answer, rest = ask_until_closed(refusing.port, [content + SMUGGLED])

    assert rest == b""
    if framing.is_below:
        assert answer is None or (answer.status, answer.body) == (400, b"")
    else:
        assert kind_of(refusing.problem(answer, content)) == (400, "malformed-json")


@both_paths
@pytest.mark.parametrize(
    ("line", "body", "kind"),
    [
        (f"Content-Length: {len(FLOW)}", FLOW[:-1], "bad-request"),
        (f"Content-Length: {len(FLOW) + 1}", FLOW, "bad-request"),
        ("Transfer-Encoding: chunked", b"%x\r\n%s" % (len(FLOW), FLOW[:-1]), "malformed-json"),
        ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n" % (len(FLOW) - 1, FLOW[:-1]), "malformed-json"),
    ],
    ids=["a byte less", "a byte missing", "half a chunk", "a chunk missing"],
)
def test_a_body_that_ends_too_early_is_no_request(
    refusing: Refusing, path: str, line: str, body: bytes, kind: str
) -> None:
    content = head("POST", path, "Content-Type: application/json", line) + body

    answer, rest = ask_until_closed(refusing.port, [content], half_close=True)

    assert kind_of(refusing.problem(answer, content)) == (400, kind)
    assert rest == b""


@pytest.mark.parametrize(
    ("case", "content", "status"),
    [
        ("200 headers", head("GET", "/health", *(f"X-{n}: a" for n in range(200))), 431),
        ("a header of 64 KB", head("GET", "/health", "X-A: " + "a" * 65536), 431),
        ("an address of 64 KB", head("GET", "/" + "a" * 65536), 431),
        ("a byte beyond ASCII", head("GET", "/\xff"), 400),
        ("a space in the address", head("GET", "/health /"), 400),
        ("NUL in the address", head("GET", "/health\0"), 400),
        ("a script as address", head("GET", "/<script>alert(1)</script>"), 400),
        ("an escape in a header", head("GET", "/health", "X-Request-Id: \x1b[31m"), 400),
        ("HTTP/9.9", b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
        ("HTTP/2 at once", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("no version", b"GET /health\r\n\r\n", 400),
        ("a method with an @", head("G@T", "/health"), 400),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        ("nothing but line ends", b"\r\n" * 10_000 + b"x\r\n\r\n", 400),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_c18_a_head_that_cannot_be_read_is_refused_beneath_the_application(
    refusing: Refusing, case: str, content: bytes, status: int
) -> None:
    """The web server answers these itself, with no body, or closes the connection."""
    answer, rest = ask_until_closed(refusing.port, [content])

    assert answer is None or (answer.status, answer.body, rest) == (status, b"", b"")
    assert answer is None or answer.seconds <= MOST_SECONDS


def test_c18_an_address_of_16_kb_is_nowhere(refusing: Refusing) -> None:
    problem = refusing.refused(request("GET", "/" + "a" * 16384))

    assert kind_of(problem) == (404, "not-found")


def test_c18_a_line_of_a_head_may_end_in_a_bare_lf(refusing: Refusing) -> None:
    assert refusing.accepted(b"GET /health HTTP/1.1\nHost: localhost\n\n")["status"] == "ok"
