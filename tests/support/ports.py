"""Ports that two processes of tests never take from each other."""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
from collections.abc import Iterator
from typing import Final

LOOPBACK: Final = "127.0.0.1"
PORTS: Final = range(10_000, 32_000)
"""Below those that Linux (from 32768) and macOS (from 49152) hand out to whoever asks for any."""
BLOCK: Final = 1_000
"""Ports of one process of tests."""


def free_port() -> int:
    """A port of the loopback address where nobody listens, and that nobody else is given."""
    for port in _own_ports():
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind((LOOPBACK, port))
            return port
    raise AssertionError("it never ends")


@functools.cache
def _own_ports() -> Iterator[int]:
    """Those of a block, round and round. Whoever has the first port of a block has the block."""
    for first in PORTS[::BLOCK]:
        claim = socket.socket()
        try:
            claim.bind((LOOPBACK, first))
        except OSError:
            claim.close()
        else:
            return _round_and_round(claim, range(first + 1, first + BLOCK))
    raise AssertionError("other processes of tests have all ports")


def _round_and_round(claim: socket.socket, ports: range) -> Iterator[int]:
    with claim:
        yield from itertools.cycle(ports)
