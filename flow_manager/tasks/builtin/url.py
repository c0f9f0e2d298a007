"""The URL of a call, read once and strictly: what was checked is what is connected to.

Readers of URLs disagree about userinfo, backslashes, brackets and numbers in the place of a host, and
every such difference has been used to lead a check and a connection to two places. Here, what they
disagree about is refused.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import quote, urlencode

LONGEST_URL: Final = 8 << 10
"""Bytes. Many servers refuse more."""
LONGEST_HOST: Final = 253
"""Characters of a name in the DNS, RFC 1035."""

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_URL: Final = re.compile(r"(?i:(https?)://)([^/?]*)([^?]*)(?:\?(.*))?")
_AUTHORITY: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_KEPT_IN_PATH: Final = "/%:@!$&'()*+,;=~-._[]"
_KEPT_IN_QUERY: Final = _KEPT_IN_PATH + "?"


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of a URL. `host` is in lower case, a number as a dotted address, an IPv6 address
    without brackets, and has no dot at its end; `path` and `query` are ASCII."""

    scheme: str
    host: str
    port: int
    path: str
    query: str

    @property
    def authority(self) -> str:
        """The value of a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """What the first line of a request asks for."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def without_query(self) -> str:
        """For people and for the history: a query may hold a secret."""
        return f"{self.scheme}://{self.authority}{self.path}"

    def with_parameters(self, parameters: Iterable[tuple[str, str]]) -> Url:
        """The same with parameters behind those that its query has."""
        more = urlencode(list(parameters), quote_via=quote)
        return replace(self, query="&".join(filter(None, (self.query, more))))


def parse_url(text: str) -> Url:
    """The parts of an absolute `http` or `https` URL.

    Raises `ValueError` with a sentence about what is wrong, which does not repeat the URL.
    """
    if len(text.encode("utf-8", "replace")) > LONGEST_URL:
        raise ValueError(f"a URL has at most {LONGEST_URL} bytes")
    if not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("a URL has no control characters, white space or backslashes")
    if "#" in text:
        raise ValueError("a URL that is called has no fragment: write %23 for '#'")
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError("a URL starts with http:// or https://")
    scheme, authority, path, query = found[1].lower(), found[2], found[3], found[4] or ""
    if _BAD_PERCENT.search(path + query):
        raise ValueError("in a URL, '%' is followed by two hexadecimal digits: write %25 for '%' itself")
    host, port = _authority(authority, DEFAULT_PORTS[scheme])
    path = quote(path, safe=_KEPT_IN_PATH) or "/"
    return Url(scheme, host, port, path, quote(query, safe=_KEPT_IN_QUERY))


def parse_urls(texts: Iterable[str]) -> list[Url]:
    """The parts of each. Raises `ValueError`, saying what is wrong with which."""
    urls = []
    for number, text in enumerate(texts, 1):
        try:
            urls.append(parse_url(text))
        except ValueError as error:
            raise ValueError(f"URLs joined by ','; of number {number}: {error}") from None
    return urls


def _authority(text: str, default_port: int) -> tuple[str, int]:
    if "@" in text:
        raise ValueError("a URL has no user and password before its host: use an Authorization header")
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise ValueError("after the host of a URL comes ':' and a port or nothing; brackets are for IPv6")
    port = default_port if found[2] is None else int(found[2])
    if not 1 <= port <= 65_535:
        raise ValueError("the port of a URL is from 1 to 65535")
    return _host(found[1]), port


def _host(written: str) -> str:
    if written.startswith("["):
        return _ipv6(written[1:-1])
    if not written.isascii():
        raise ValueError("the host of a URL is ASCII: write an international name in its form xn--...")
    host = written.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > LONGEST_HOST or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("the host of a URL is a name or an address")
    return _ipv4(host) if _NUMBER.fullmatch(labels[-1]) else host


def _ipv4(host: str) -> str:
    """The address in its one usual form: resolvers also take `127.1`, `0x7f.1` and `2130706433`."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        raise ValueError("the host of a URL ends in a number, but is no IPv4 address") from None


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise ValueError("between the brackets of a URL stands an IPv6 address") from None
    if address.scope_id is not None:
        raise ValueError("the IPv6 address of a URL has no zone")
    return str(address)
