"""HTTP as bytes on a socket: for requests that no well-behaved client would send."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

PIECE: Final = 64 << 10
ANSWER_PATIENCE: Final = 10.0
CLOSE_PATIENCE: Final = 2.0
NO_HEADERS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True)
class Answer:
    """What came back. The names of `headers` are in lower case; `seconds` is the time from the last byte
    sent to the last byte received; `sent` counts the bytes that were sent before the answer began."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    sent: int

    def json(self) -> Any:
        return orjson.loads(self.body)


def head(method: str, path: str, *lines: str, host: str = "localhost") -> bytes:
    """The head of a request with the empty line behind it."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode("latin-1")


def request(method: str, path: str, headers: Mapping[str, str] = NO_HEADERS, body: bytes = b"") -> bytes:
    """A whole request. Of headers it has those given, `Host`, and the length of a body."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    length = [f"Content-Length: {len(body)}"] if body or method == "POST" else []
    return head(method, path, *lines, *length) + body


def post(path: str, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> bytes:
    """A request with a body that is said to be JSON."""
    return request("POST", path, {"Content-Type": "application/json", **headers}, body)


def ask(port: int, content: bytes) -> Answer | None:
    """The first answer to these bytes, or None if the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_PATIENCE) as connection:
        return _exchange(connection, [content])


def ask_until_closed(
    port: int, pieces: Iterable[bytes], *, half_close: bool = False
) -> tuple[Answer | None, bytes]:
    """The first answer, and whatever came behind it until the other side closed the connection. Raises
    `TimeoutError` if it leaves it open for longer than `CLOSE_PATIENCE`. With `half_close` it is told
    that nothing follows what was sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_PATIENCE) as connection:
        answer = _exchange(connection, pieces, half_close=half_close)
        connection.settimeout(CLOSE_PATIENCE)
        rest = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(PIECE):
                rest += piece
    return answer, rest


def _exchange(
    connection: socket.socket, pieces: Iterable[bytes], *, half_close: bool = False
) -> Answer | None:
    sent, method = 0, b""
    with contextlib.suppress(ConnectionError):
        for content in pieces:
            method = method or content.partition(b" ")[0]
            count = _send(connection, content)
            sent += count
            if count < len(content):
                break
        if half_close:
            connection.shutdown(socket.SHUT_WR)
    began = time.monotonic()
    try:
        status, headers = _read_head(connection)
        length = 0 if method == b"HEAD" else int(headers["content-length"])
        body = _read(connection, length)
    except ConnectionError:
        return None
    return Answer(status, headers, body, time.monotonic() - began, sent)


def _send(connection: socket.socket, content: bytes) -> int:
    """Send until all is sent or an answer arrives, whichever is first. The answer is the bytes sent."""
    sent = 0
    while sent < len(content):
        readable, writable, _ = select.select([connection], [connection], [], ANSWER_PATIENCE)
        if readable or not writable:
            break
        sent += connection.send(content[sent : sent + PIECE])
    return sent


def _read_head(connection: socket.socket) -> tuple[int, dict[str, str]]:
    text = b""
    while not text.endswith(b"\r\n\r\n"):
        text += _read(connection, 1)
    first, *lines = text.decode("latin-1").splitlines()[:-1]
    pairs = (line.partition(":") for line in lines)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}


def _read(connection: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        piece = connection.recv(length - len(content))
        if not piece:
            raise ConnectionError("the connection was closed")
        content += piece
    return content
