"""Which addresses are internal: those that belong to this machine, this network or to nobody.

The tables are written out, from the special-purpose registries of IANA (RFC 6890 and its updates), since
what `ipaddress` calls private or global changes from one release of Python to the next.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address

_IPV4: Final = {
    IPv4Network(network): name
    for network, name in {
        "0.0.0.0/8": "unspecified",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "shared by a carrier",
        "127.0.0.0/8": "loopback",
        "169.254.0.0/16": "link-local",
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "reserved",
        "192.0.2.0/24": "documentation",
        "192.88.99.0/24": "6to4",
        "192.168.0.0/16": "private",
        "198.18.0.0/15": "benchmark",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
    }.items()
}

_GLOBAL_IPV6: Final = IPv6Network("2000::/3")
"""All that is assigned to be reached from everywhere; what lies beside it is internal or unused."""

_IPV6: Final = {
    IPv6Network(network): name
    for network, name in {
        "2001::/23": "reserved",  # Teredo (2001::/32), benchmarks (2001:2::/48), ORCHID and others
        "2001:db8::/32": "documentation",
        "2002::/16": "6to4",  # has an IPv4 address within, and is out of use since RFC 7526
        "3fff::/20": "documentation",
        "::/128": "unspecified",
        "::1/128": "loopback",
        "::/96": "reserved",  # IPv4-compatible
        "64:ff9b:1::/48": "NAT64 of a network",
        "fc00::/7": "private",
        "fe80::/10": "link-local",
        "fec0::/10": "site-local",
        "ff00::/8": "multicast",
    }.items()
}
"""The first that holds an address names it."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = 0x00005EFE
_ISATAP_MASK: Final = 0xFDFFFFFF
"""The bit that is left out says whether the IPv4 address within is unique."""


def internal_range(address: Address) -> str | None:
    """What kind of internal address this is, or None for one that can be reached from everywhere.

    An IPv6 address that stands for an IPv4 address is judged as that one.
    """
    if isinstance(address, IPv4Address):
        return next((name for network, name in _IPV4.items() if address in network), None)
    if address.ipv4_mapped is not None:
        return internal_range(address.ipv4_mapped)
    if address in _NAT64:
        return internal_range(_last_ipv4(address))
    name = next((name for network, name in _IPV6.items() if address in network), None)
    if name is not None or address not in _GLOBAL_IPV6:
        return name or "reserved"
    if (int(address) >> 32) & _ISATAP_MASK == _ISATAP:
        return internal_range(_last_ipv4(address))
    return None


def _last_ipv4(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)
