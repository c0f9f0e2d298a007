"""The connections of one loop: made by way of the guard, kept for a while, used again."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import h11

from flow_manager.tasks.builtin.guard import Guard
from flow_manager.tasks.builtin.http_input import IDEMPOTENT
from flow_manager.tasks.builtin.line import Line, Request
from flow_manager.tasks.builtin.wire import ConnectionLost

MOST_IDLE: Final = 200
"""Idle connections that are kept, of all hosts together."""
IDLE_SECONDS: Final = 5.0
"""How long a connection is kept. Many servers close one that was idle for longer."""

Key = tuple[str, str, int]
"""Scheme, host and port."""


@dataclass(frozen=True, slots=True)
class _Idle:
    key: Key
    line: Line
    until: float


class Connections:
    """There is no limit to how many are in use. httpx and httpcore, which have one, look at every
    connection whenever a call begins or ends; here it only matters which are idle."""

    def __init__(self, guard: Guard, tls: Callable[[], ssl.SSLContext]) -> None:
        """`tls` is asked when a connection needs it: reading certificates takes a while."""
        self._guard = guard
        self._tls = tls
        self._idle: list[_Idle] = []
        self._is_sweeping = False

    @asynccontextmanager
    async def open(
        self, request: Request, most: int, connect_seconds: float
    ) -> AsyncIterator[tuple[h11.Response, AsyncIterator[bytes]]]:
        """The head of the answer, and its body for the caller to read. Both together have at most `most`
        bytes. Raises `AttemptFailed`."""
        key = (request.url.scheme, request.url.host, request.url.port)
        line, head = await self._ask(key, request, most, connect_seconds)
        is_kept = False
        try:
            yield head, line.body()
            is_kept = self._keep(key, line)
        finally:
            if not is_kept:
                line.wire.close()

    async def _ask(
        self, key: Key, request: Request, most: int, connect_seconds: float
    ) -> tuple[Line, h11.Response]:
        """A kept connection may have been closed by the other side in this very moment. If nothing has
        come back over it, and repeating does no harm, the request goes out once more, over a new one."""
        line = self._take(key)
        if line is not None:
            try:
                return line, await _ask(line, request, most)
            except ConnectionLost:
                if line.wire.received or request.method not in IDEMPOTENT:
                    raise
        line = await self._connect(request, connect_seconds)
        return line, await _ask(line, request, most)

    async def _connect(self, request: Request, seconds: float) -> Line:
        line = Line()
        until = asyncio.get_running_loop().time() + seconds
        try:
            await line.connect(request.url, self._guard, self._tls, until)
        except BaseException:
            line.wire.close()
            raise
        return line

    def _take(self, key: Key) -> Line | None:
        """The connection that was used last: the others may then end."""
        for idle in [each for each in reversed(self._idle) if each.key == key]:
            self._idle.remove(idle)
            if idle.line.is_ready():
                return idle.line
            idle.line.wire.close()
        return None

    def _keep(self, key: Key, line: Line) -> bool:
        if len(self._idle) >= MOST_IDLE or not line.is_ready():
            return False
        self._idle.append(_Idle(key, line, asyncio.get_running_loop().time() + IDLE_SECONDS))
        self._sweep_later()
        return True

    def _sweep_later(self) -> None:
        if not self._is_sweeping:
            self._is_sweeping = True
            asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close what was idle for too long."""
        self._is_sweeping = False
        now = asyncio.get_running_loop().time()
        for idle in self._idle:
            if idle.until <= now:
                idle.line.wire.close()
        self._idle = [idle for idle in self._idle if idle.until > now]
        if self._idle:
            self._sweep_later()

    def __del__(self) -> None:
        """A loop that is gone takes its connections with it."""
        for idle in self._idle:
            idle.line.wire.close()


async def _ask(line: Line, request: Request, most: int) -> h11.Response:
    try:
        return await line.ask(request, most)
    except BaseException:
        line.wire.close()
        raise
