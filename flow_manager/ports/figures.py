"""Figures: what the parts count as they go, to be read by whoever tells them.

They are plain numbers: adding to one costs a tenth of a microsecond, and nobody waits for a lock. Each
is changed by one thread at a time; a reader may see the moment in between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bounds for what should take milliseconds, and may take a minute."""
LONG_SECONDS: Final = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""The same for what may take long."""
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Distribution:
    """How many values lie between which bounds. A value that is a bound lies below it."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """One for each bound, and one for what lies above all of them."""
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add_all(self, other: Distribution) -> int:
        """Add what another one with the same bounds has counted; the answer is how much that was."""
        counts = list(other.counts)
        self.counts = [mine + more for mine, more in zip(self.counts, counts, strict=True)]
        self.sum += other.sum
        return sum(counts)


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """How many commands wait to be written, and how large transactions were and how long they took, the
    sync included, in seconds."""

    queued: int = 0
    sizes: Distribution = field(default_factory=lambda: Distribution(SIZES))
    seconds: Distribution = field(default_factory=lambda: Distribution(SECONDS))


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """How an engine stands. `lateness` is how long after its due time each execution was claimed;
    `loop_lag` how late the engine's loop is; all in seconds. `deliveries` counts webhook deliveries by what
    became of them."""

    open: int = 0
    running: int = 0
    waiting: int = 0
    store_bytes: int = 0
    store: StoreFigures = field(default_factory=StoreFigures)
    lateness: Distribution = field(default_factory=lambda: Distribution(SECONDS))
    loop_lag: float = 0.0
    deliveries: Mapping[str, int] = field(default_factory=dict)
    pending_deliveries: int = 0
    parked_deliveries: int = 0


class MetricsPage(Protocol):
    """Tells figures in the form that the reader asks for."""

    def page(self, accept: str) -> tuple[str, bytes]:
        """The media type and the text. `accept` is the value of an Accept header."""

    def set_violations(self, counts: Mapping[str, int]) -> None:
        """What a look at the store has just found, by code. For whoever looks now and then."""


class NoMetrics:
    """Of a backend that counts nothing."""

    def page(self, accept: str) -> tuple[str, bytes]:
        return "text/plain; charset=utf-8", b""

    def set_violations(self, counts: Mapping[str, int]) -> None: ...
