"""Admission: whether another execution may be started, so that everything stays bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flow_manager.errors import Overloaded
from flow_manager.ports.clock import Clock

STALL: Final = 2.0
"""Seconds without an answer of the store to any start, after which new ones are refused at once."""
FULL_MEMORY: Final = 3.0
"""Seconds for which a full store is remembered; whoever waits for space asks every second."""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """`max_running` executions are worked on at once; `max_waiting` more may be accepted; and
    `max_starting` starts may be on their way into the store."""

    max_running: int = 12_000
    max_waiting: int = 10_000
    max_starting: int = 1_000


class Admission:
    """Counts what is on its way in, and remembers how the store answered last."""

    def __init__(self, limits: EngineLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._starting = 0
        self._heard_at = 0.0
        self._full_at = float("-inf")
        self.waiting = 0
        """Executions that are due and have no place; as of the last look, and what came since."""

    def refusal(self, running: int) -> Overloaded | None:
        """Why nothing can be started now, or None."""
        limits = self._limits
        if self._starting >= limits.max_starting or (
            running >= limits.max_running and self.waiting >= limits.max_waiting
        ):
            return Overloaded("the service is full; nothing was started, try again shortly")
        if self._starting and self._clock.monotonic() - self._heard_at > STALL:
            return Overloaded("the database does not answer at the moment; nothing was started, try again")
        return None

    def has_place(self, running: int) -> bool:
        """Whether an execution can be worked on at once."""
        return running < self._limits.max_running

    def free_places(self, running: int) -> int:
        return max(0, self._limits.max_running - running)

    def begun(self) -> None:
        """A start is on its way into the store."""
        if not self._starting:
            self._heard_at = self._clock.monotonic()
        self._starting += 1

    def answered(self) -> None:
        """The store has answered a start."""
        self._starting -= 1
        self._heard_at = self._clock.monotonic()

    def store_was_full(self) -> None:
        self._full_at = self._clock.monotonic()

    @property
    def is_full(self) -> bool:
        """Whether the store had no space when it was last asked, a moment ago."""
        return self._clock.monotonic() - self._full_at < FULL_MEMORY
