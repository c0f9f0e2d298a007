"""A web server that behaves as badly as it is told to.

A behaviour is a coroutine function of a connection and the request on it. The server closes the connection
behind it, unless it answered in a way that lets the connection be used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.support.ports import LOOPBACK

PIECE: Final = b"x" * (64 << 10)


@dataclass(frozen=True)
class Received:
    """A request as it came. The names of `headers` are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    stays_open: bool = False

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()


Behaviour = Callable[[Connection, Received], Awaitable[None]]


@dataclass
class FaultServer:
    port: int = 0
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    """Those that were accepted."""
    open: set[asyncio.Task[None]] = field(default_factory=set)
    """Those that are open now."""

    def url(self, target: str = "/", *, scheme: str = "http", host: str = LOOPBACK) -> str:
        return f"{scheme}://{host}:{self.port}{target}"


@contextlib.asynccontextmanager
async def fault_server(
    behaviour: Behaviour, *, tls: ssl.SSLContext | None = None, reads_requests: bool = True
) -> AsyncIterator[FaultServer]:
    """Listens on a free port of the loopback address until the block is left. If it does not read
    requests, it behaves as soon as a byte has come."""
    server = FaultServer()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        serve = _serve if reads_requests else _react
        task = asyncio.create_task(serve(Connection(reader, writer), server, behaviour))
        server.open.add(task)
        task.add_done_callback(server.open.discard)

    listening = await asyncio.start_server(accept, LOOPBACK, 0, ssl=tls, backlog=4096)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in server.open:
            task.cancel()
        await asyncio.gather(*server.open, return_exceptions=True)
        await asyncio.sleep(0.01)  # in which asyncio closes the sockets


async def _serve(connection: Connection, server: FaultServer, behaviour: Behaviour) -> None:
    connection.stays_open = True
    try:
        while connection.stays_open:
            request = await _read_request(connection.reader)
            server.requests.append(request)
            connection.stays_open = False
            await behaviour(connection, request)
    except asyncio.CancelledError:
        connection.writer.transport.abort()  # under TLS, to close would be to wait for the other side
        raise
    except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
        pass
    finally:
        connection.writer.close()


async def _react(connection: Connection, _: FaultServer, behaviour: Behaviour) -> None:
    try:
        await connection.reader.read(1)
        await behaviour(connection, Received("", "", {}, b""))
    except ConnectionError:
        pass
    finally:
        connection.writer.close()


async def _read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body)


# -- behaviours


def answering(
    body: bytes = b"", status: int = 200, reason: str = "OK", headers: Mapping[str, str] | None = None
) -> Behaviour:
    """A proper answer."""
    lines = {"Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    content = f"HTTP/1.1 {status} {reason}\r\n{head}\r\n".encode("latin-1") + body

    async def behave(connection: Connection, request: Received) -> None:
        await connection.send(content[: -len(body)] if request.method == "HEAD" and body else content)
        connection.stays_open = True

    return behave


def sending(content: bytes) -> Behaviour:
    """These bytes, whatever they are, and the end."""

    async def behave(connection: Connection, _: Received) -> None:
        await connection.send(content)

    return behave


async def hang(connection: Connection, _: Received) -> None:
    """Nothing at all."""
    await connection.reader.read()


def dripping(content: bytes, seconds: float) -> Behaviour:
    """A byte now and then."""

    async def behave(connection: Connection, _: Received) -> None:
        for byte in content:
            await connection.send(bytes([byte]))
            await asyncio.sleep(seconds)

    return behave


def endless(head: bytes) -> Behaviour:
    """A head, and bytes for ever."""

    async def behave(connection: Connection, _: Received) -> None:
        await connection.send(head)
        while True:
            await connection.send(PIECE)

    return behave


def gzip_bomb(size: int) -> Behaviour:
    """A small body that becomes a large one."""
    packed = gzip.compress(b"\0" * size)
    return answering(packed, headers={"Content-Encoding": "gzip"})


async def redirect_to_itself(connection: Connection, request: Received) -> None:
    behave = answering(status=302, reason="Found", headers={"Location": request.target})
    await behave(connection, request)
