"""The guard: a call goes to an address that has been judged, and to no other.

A name is resolved once for each connection, every address is judged, and the connection is made to one of
those very addresses: between the judgement and the connection nobody is asked again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from typing import Final

from flow_manager.tasks.builtin.allow_list import AllowList
from flow_manager.tasks.builtin.failures import AttemptFailed
from flow_manager.tasks.builtin.ranges import Address, internal_range

MOST_JUDGED: Final = 64
"""Addresses of one name that are looked at; those behind them are not used."""
MOST_TRIED: Final = 4
"""Addresses that a connection is tried with, in the order of the resolver."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name and port, as texts. Raises `OSError` if there are none."""


_LOOKUPS: Final = ThreadPoolExecutor(16, "flow-manager-names")
"""A resolver may take half a minute; in the threads that everybody shares, it would hold up everybody."""


async def look_up(host: str, port: int) -> list[str]:
    """Ask the resolver of the system."""
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, ask)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Guard:
    """Judges where the calls of one loop may go. Calls to one host at the same time share one answer of
    the resolver."""

    def __init__(self, allowed: AllowList, resolve: Resolve = look_up) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._lookups: dict[tuple[str, int], asyncio.Future[Sequence[str]]] = {}

    async def addresses_of(self, host: str, port: int, until: float) -> list[str]:
        """The addresses that a connection may be made to, best first.

        `until` is a time of the loop. Raises `AttemptFailed`: `http.dns` if the name has no address or is not
        resolved in time, `http.blocked` if any of its addresses is internal and not allowed. One bad
        address spoils all: a name that leads inside now and then would otherwise get there by patience.
        """
        addresses = [ip_address(text) for text in await self._find(host, port, until)]
        if not self._allowed.permits_name(host, port):
            for address in addresses:
                self._judge(address, host, port)
        return [str(address) for address in addresses[:MOST_TRIED]]

    def _judge(self, address: Address, host: str, port: int) -> None:
        kind = internal_range(address)
        if kind is not None and not self._allowed.permits_address(address, port):
            raise AttemptFailed(
                "http.blocked",
                f"{host} is at an internal address ({kind}), which this service does not call; an operator "
                "can permit it with FLOW_MANAGER_HTTP_ALLOW",
                retryable=False,
            )

    async def _find(self, host: str, port: int, until: float) -> Sequence[str]:
        if _is_address(host):
            return [host]
        try:
            async with asyncio.timeout_at(until):
                found = await asyncio.shield(self._lookup(host, port))
        except TimeoutError:
            raise AttemptFailed("http.dns", f"the name {host} was not resolved in time") from None
        except OSError as error:
            raise AttemptFailed(
                "http.dns", f"the name {host} was not resolved: {error.strerror or error}"
            ) from None
        if not found:
            raise AttemptFailed("http.dns", f"the name {host} has no address")
        return found[:MOST_JUDGED]

    def _lookup(self, host: str, port: int) -> asyncio.Future[Sequence[str]]:
        """The lookup that is under way, or a new one. It goes on when a call stops waiting for it."""
        lookup = self._lookups.get((host, port))
        if lookup is None:
            lookup = asyncio.ensure_future(self._resolve(host, port))
            self._lookups[host, port] = lookup
            lookup.add_done_callback(lambda done: self._end(host, port, done))
        return lookup

    def _end(self, host: str, port: int, lookup: asyncio.Future[Sequence[str]]) -> None:
        del self._lookups[host, port]
        if not lookup.cancelled():
            lookup.exception()  # looked at, although nobody may wait for it any more


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
