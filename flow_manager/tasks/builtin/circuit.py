"""Circuits: a service that is down is left alone for a while, whoever wants to call it.

Thousands of executions that retry would otherwise keep it down. Each host has a circuit. It opens when most
calls fail; then calls fail at once, without being made, and say when to come back: each a little later than
the one before. After that time one call is let through, and what becomes of it decides for all.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from flow_manager.core.results import TaskError
from flow_manager.tasks.builtin.failures import AttemptFailed

MOST_CIRCUITS: Final = 1_000
"""Hosts that are remembered; the one that was called longest ago is forgotten first."""
WINDOW: Final = 30.0
"""Seconds over which calls are counted."""
LEAST_FAILURES: Final = 20
"""Failures within the window before a circuit opens,"""
LEAST_SHARE: Final = 0.5
"""and their share of all calls."""
OPEN_SECONDS: Final = 15.0
"""How long it stays open before one call is let through."""
LEAST_RATE: Final = 10.0
"""Calls a second at which those come back at least who were refused meanwhile,"""
SHARE_OF_FIRST: Final = 0.5
"""and how fast beside first attempts, which go on meanwhile. Calls are no measure: most may be retries."""

Host = tuple[str, str, int]
"""Scheme, name and port."""

_DOWN: Final = ("http.5", "http.connect", "http.timeout", "http.protocol", "http.dns", "http.tls")


class Circuits:
    """The circuits of all hosts; used on one loop."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        self._monotonic = monotonic
        self._chance = chance
        self._circuits: OrderedDict[Host, _Circuit] = OrderedDict()

    def enter(self, host: Host, *, is_first: bool) -> None:
        """Raises `AttemptFailed` (`http.circuit_open`) if no call is to be made now. `is_first` tells a first
        attempt from a retry."""
        circuit = self._circuits.get(host)
        if circuit is None:
            return
        self._circuits.move_to_end(host)
        now = self._monotonic()
        if is_first:
            circuit.count_first(now)
        wait = circuit.wait(now)
        if wait is not None:
            raise AttemptFailed(
                "http.circuit_open",
                f"most calls of {host[1]} have failed; it is left alone for {wait:.0f} s",
                details={"retry_after": round(circuit.turn(now, self._chance()), 3)},
            )

    def succeeded(self, host: Host) -> None:
        circuit = self._circuits.get(host)
        if circuit is not None:
            circuit.succeeded(self._monotonic())

    def failed(self, host: Host, error: TaskError) -> None:
        """Only what says that the service is down counts as a failure of it."""
        if not error.code.startswith(_DOWN):
            self.succeeded(host)
            return
        circuit = self._circuits.setdefault(host, _Circuit())
        if len(self._circuits) > MOST_CIRCUITS:
            self._circuits.popitem(last=False)
        circuit.failed(self._monotonic())

    def left(self, host: Host) -> None:
        """The call was given up; what would have become of it is not known."""
        circuit = self._circuits.get(host)
        if circuit is not None:
            circuit.is_probed = False


class _Circuit:
    __slots__ = ("_calls", "_failures", "_first", "_open_until", "_rate", "_since", "_turn_at", "is_probed")

    def __init__(self) -> None:
        self._since = 0.0
        self._calls = 0
        self._failures = 0
        self._first = 0
        self._open_until: float | None = None
        self._rate = LEAST_RATE
        self._turn_at = 0.0
        self.is_probed = False
        """Whether the one call that may be made is under way."""

    def count_first(self, now: float) -> None:
        """Goes on while calls are refused: a circuit that opens at once has not seen much before."""
        self._begin_window(now)
        self._first += 1
        self._rate = max(self._rate, self._rate_now())

    def wait(self, now: float) -> float | None:
        """Seconds until a call may be made; None if it may be made now."""
        if self._open_until is None:
            return None
        if now < self._open_until or self.is_probed:
            return max(0.0, self._open_until - now)
        self.is_probed = True
        return None

    def turn(self, now: float, chance: float) -> float:
        """In how many seconds the one that was just refused should come back: all of them together come half
        as fast as first attempts do."""
        self._turn_at = max(self._turn_at, self._open_until or 0.0, now) + 1 / self._rate
        return self._turn_at - now - chance / self._rate

    def succeeded(self, now: float) -> None:
        if self._open_until is not None:
            self._open_until, self.is_probed = None, False
            self._begin_window(now, anew=True)
        self._count(now)

    def failed(self, now: float) -> None:
        self._count(now)
        self._failures += 1
        is_bad = self._failures >= LEAST_FAILURES and self._failures >= LEAST_SHARE * self._calls
        if is_bad and self._open_until is None:
            self._rate = self._rate_now()
        if self.is_probed or (is_bad and self._open_until is None):
            self._open_until, self.is_probed = now + OPEN_SECONDS, False

    def _rate_now(self) -> float:
        return max(LEAST_RATE, SHARE_OF_FIRST * self._first / WINDOW)

    def _count(self, now: float) -> None:
        self._begin_window(now)
        self._calls += 1

    def _begin_window(self, now: float, *, anew: bool = False) -> None:
        """Unless the last one goes on."""
        if anew or now - self._since > WINDOW:
            self._since, self._calls, self._failures, self._first = now, 0, 0, 0
