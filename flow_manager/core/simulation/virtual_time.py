"""Virtual time: a clock that jumps from one thing that is due to the next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from heapq import heappop, heappush
from itertools import count


class VirtualTime:
    """What is due, in order: by time, and what was planned first where times are the same."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._plans: list[tuple[datetime, int, Callable[[], bool], Callable[[], None]]] = []
        self._numbers = count()

    def plan(self, at: datetime, is_valid: Callable[[], bool], act: Callable[[], None]) -> None:
        """Do this at that time, if it is still valid then; what is not leaves the clock alone."""
        heappush(self._plans, (at, next(self._numbers), is_valid, act))

    def next(self) -> Callable[[], None] | None:
        """Jump to the next thing that is due, and hand it out; None if nothing ever will be."""
        while self._plans:
            at, _, is_valid, act = heappop(self._plans)
            if is_valid():
                self.now = max(self.now, at)
                return act
        return None
