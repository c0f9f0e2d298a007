"""A line: one connection on which requests and answers take turns."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

import h11

from flow_manager.tasks.builtin.guard import Guard
from flow_manager.tasks.builtin.url import Url
from flow_manager.tasks.builtin.wire import ConnectionLost, TlsWire, Wire

MOST_HEAD: Final = 64 << 10
"""Bytes that the head of an answer may have."""
MOST_REASON: Final = 200
"""Characters of what is wrong with an answer: it may repeat the answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `headers` are complete, with names in lower case."""

    method: str
    url: Url
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""


class Line:
    """A connection to a scheme, host and port, and how far HTTP/1.1 has got on it."""

    def __init__(self) -> None:
        self.wire = Wire()
        self._stream: Wire | TlsWire = self.wire
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD)
        self._is_whole = True

    async def connect(self, url: Url, guard: Guard, tls: Callable[[], ssl.SSLContext], until: float) -> None:
        """Connect to an address of the host that the guard lets pass. Raises `AttemptFailed`."""
        addresses = await guard.addresses_of(url.host, url.port, until)
        await self.wire.connect(addresses, url.port, until)
        if url.scheme == "https":
            self.wire.allow(MOST_HEAD)
            stream = TlsWire(self.wire, tls(), url.host)
            await stream.shake_hands(until)
            self._stream = stream

    async def ask(self, request: Request, most: int) -> h11.Response:
        """Send a request and wait for the head of its answer, which has at most `most` bytes, body
        included. Raises `AttemptFailed`."""
        self.wire.allow(most)
        try:
            await self._stream.write(self._bytes_of(request))
        except ConnectionLost:
            self._is_whole = False  # but the other side may have said why before it went
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise ConnectionLost("it was closed without an answer")

    async def body(self) -> AsyncIterator[bytes]:
        """The rest of the answer, piece by piece. Raises `AttemptFailed`."""
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    def is_ready(self) -> bool:
        """Whether it can take the next request. One on which more has come than was asked for cannot: that
        would become the answer to somebody else's request."""
        has_more = self._http.trailing_data != (b"", False) or self._stream.has_more
        is_done = self._http.our_state is self._http.their_state is h11.DONE
        return is_done and self._is_whole and not has_more

    def _bytes_of(self, request: Request) -> bytes:
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        head = h11.Request(
            method=request.method, target=request.url.target, headers=list(request.headers.items())
        )
        parts = [self._http.send(head)]
        if request.content:
            parts.append(self._http.send(h11.Data(data=request.content)))
        parts.append(self._http.send(h11.EndOfMessage()))
        return b"".join(part for part in parts if part)

    async def _next(self) -> object:
        """The next event of h11."""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise ConnectionLost(f"the answer is not HTTP: {str(error)[:MOST_REASON]}") from error
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._stream.read())
