"""The allow-list: internal hosts and addresses that calls may reach nevertheless."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final, Self

from flow_manager.core.plain import shown
from flow_manager.tasks.builtin.ranges import Address

_WITH_PORT: Final = re.compile(r"(.+):([0-9]{1,5})")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class AllowList:
    """Each entry has a port, or None for all ports."""

    names: tuple[tuple[str, int | None], ...] = ()
    networks: tuple[tuple[Network, int | None], ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Read entries such as `api.internal`, `*.shop.internal:8443`, `127.0.0.1:8080`, `[::1]:80` and
        `10.0.0.0/8`. Raises `ValueError`, saying what an entry must be."""
        names: list[tuple[str, int | None]] = []
        networks: list[tuple[Network, int | None]] = []
        for entry in entries:
            text, port = _split(entry)
            network = _network(text)
            if network is not None:
                networks.append((network, port))
            elif _NAME.fullmatch(text) and not _NUMBER.fullmatch(text):
                names.append((text, port))
            else:
                raise _unreadable(entry)
        return cls(tuple(names), tuple(networks))

    def permits_name(self, host: str, port: int) -> bool:
        """Whether the host may be called wherever its name leads. `host` is in lower case."""
        return any(_is_named(host, name) and allowed in (None, port) for name, allowed in self.names)

    def permits_address(self, address: Address, port: int) -> bool:
        """An IPv4 address that is mapped into IPv6 counts as what it is."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network and allowed in (None, port) for network, allowed in self.networks)


def _split(entry: str) -> tuple[str, int | None]:
    """The entry without its port. A bare IPv6 address has none: its last part only looks like one."""
    text = entry.lower()
    found = _WITH_PORT.fullmatch(text)
    if found is None or _network(text) is not None:
        return text, None
    port = int(found[2])
    if not 1 <= port <= 65_535:
        raise _unreadable(entry)
    return found[1], port


def _network(text: str) -> Network | None:
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return ip_network(inner)
    except ValueError:
        return None


def _is_named(host: str, name: str) -> bool:
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def _unreadable(entry: str) -> ValueError:
    return ValueError(
        "hosts, addresses or networks, each with a port if wanted, as in 'api.internal', "
        f"'*.shop.internal:8443', '127.0.0.1:8080' or '10.0.0.0/8', joined by ','; {shown(entry)} is none"
    )
