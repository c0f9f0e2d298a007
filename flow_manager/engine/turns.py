"""Turns: how long one execution may decide before the others on the loop have theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flow_manager.ports.clock import Clock

LONGEST_TURN: Final = 0.1
"""Seconds of deciding after which the other executions on the loop have their turn."""


def turn_of(clock: Clock) -> Callable[[], bool]:
    """Whether deciding may go on; the time is taken when that is first asked, which short steps never do."""
    until = 0.0

    def has_time() -> bool:
        nonlocal until
        now = clock.monotonic()
        until = until or now + LONGEST_TURN
        return now < until

    return has_time
