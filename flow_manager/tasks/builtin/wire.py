"""A wire: one connection to an address, counted byte by byte, plain or under TLS."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from flow_manager.tasks.builtin.failures import AttemptFailed

PIECE: Final = 64 << 10
"""Bytes that are read at once."""

_Result = TypeVar("_Result")


class ConnectionLost(AttemptFailed):
    """The other side is gone, or what it sends makes no sense."""

    def __init__(self, reason: str) -> None:
        super().__init__("http.protocol", f"the connection broke: {reason}")


class Wire:
    """A socket. It reads no more bytes than it has been allowed, whatever the other side sends.

    The time that reading and writing take is for the caller to limit, for all of them together.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._left = 0
        self.received = 0
        """Bytes since the last `allow`."""

    def allow(self, most: int) -> None:
        """Let the next answer have so many bytes, head and body."""
        self._left = most
        self.received = 0

    async def connect(self, addresses: Sequence[str], port: int, until: float) -> None:
        """Connect to the first address that takes it; each has its share of the time that is left.

        Raises `AttemptFailed` with `http.connect` or `http.timeout`, as it went with the last of them.
        """
        loop = asyncio.get_running_loop()
        failure = AttemptFailed("http.connect", "there is no address to connect to")
        for number, address in enumerate(addresses):
            share = (until - loop.time()) / (len(addresses) - number)
            try:
                async with asyncio.timeout(share):
                    return await self._connect(address, port)
            except TimeoutError:
                failure = AttemptFailed("http.timeout", "there was no connection in time")
            except OSError as error:
                failure = AttemptFailed("http.connect", f"there is no connection: {_reason(error)}")
        raise failure

    async def _connect(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connecting = socket.socket(family, socket.SOCK_STREAM)
        try:
            connecting.setblocking(False)
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(connecting, (address, port))
        except BaseException:
            connecting.close()
            raise
        self._socket = connecting

    async def read(self) -> bytes:
        """The next bytes, none at the end. Raises `ConnectionLost`, and `AttemptFailed` if it has read all
        that it may."""
        if self._left <= 0:
            raise AttemptFailed("http.too_large", "the answer is too large", retryable=False)
        try:
            most = min(PIECE, self._left)
            piece = await asyncio.get_running_loop().sock_recv(self._open_socket(), most)
        except OSError as error:
            raise ConnectionLost(_reason(error)) from error
        self._left -= len(piece)
        self.received += len(piece)
        return piece

    async def write(self, content: bytes) -> None:
        """Raises `ConnectionLost`."""
        if not content:
            return
        try:
            await asyncio.get_running_loop().sock_sendall(self._open_socket(), content)
        except OSError as error:
            raise ConnectionLost(_reason(error)) from error

    @property
    def has_more(self) -> bool:
        """Whether there is something to be read, be it the end."""
        if self._socket is None:
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise OSError("the connection is closed")
        return self._socket


class TlsWire:
    """TLS over a wire, whose bytes are those that count."""

    def __init__(self, wire: Wire, context: ssl.SSLContext, host: str) -> None:
        self._wire = wire
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def shake_hands(self, until: float) -> None:
        """Raises `AttemptFailed`: `http.tls` unless the other side proves to be the host, `http.timeout` if
        it takes too long about it."""
        try:
            async with asyncio.timeout_at(until):
                await self._run(self._tls.do_handshake)
        except TimeoutError:
            raise AttemptFailed("http.timeout", "there was no TLS in time") from None
        except ssl.SSLCertVerificationError as error:
            detail = f"the certificate is not accepted: {error.verify_message}"
            raise AttemptFailed("http.tls", detail, retryable=False) from error
        except (ssl.SSLError, ConnectionLost) as error:
            raise AttemptFailed("http.tls", f"there is no TLS: {_reason(error)}") from error

    async def read(self) -> bytes:
        """As of the wire. An end without a farewell is an end as well; HTTP knows how long an answer is."""
        try:
            return await self._run(partial(self._tls.read, PIECE))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        except ssl.SSLError as error:
            raise ConnectionLost(_reason(error)) from error

    async def write(self, content: bytes) -> None:
        view = memoryview(content)
        try:
            while view:
                view = view[await self._run(partial(self._tls.write, view)) :]
        except ssl.SSLError as error:
            raise ConnectionLost(_reason(error)) from error

    @property
    def has_more(self) -> bool:
        return self._tls.pending() > 0 or self._incoming.pending > 0 or self._wire.has_more

    async def _run(self, action: Callable[[], _Result]) -> _Result:
        """Let TLS do something, carrying bytes to and fro until it has all that it needs."""
        while True:
            try:
                result = action()
            except ssl.SSLWantReadError:
                await self._wire.write(self._outgoing.read())
                await self._fill()
            except ssl.SSLError:
                with suppress(ConnectionLost):
                    await self._wire.write(self._outgoing.read())  # what TLS has to say about it
                raise
            else:
                await self._wire.write(self._outgoing.read())
                return result

    async def _fill(self) -> None:
        piece = await self._wire.read()
        if piece:
            self._incoming.write(piece)
        else:
            self._incoming.write_eof()


def _reason(error: Exception) -> str:
    """What the system or TLS says, without the address that asyncio adds."""
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error)
