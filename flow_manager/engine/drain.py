"""A drain: what is under way ends in its own time, or is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from flow_manager.engine.execution import ClaimedExecution
from flow_manager.ports.clock import Clock

CLAIM_PATIENCE: Final = 1.0
"""Seconds that a drain waits for claims that are on their way."""
RELEASE_PATIENCE: Final = 1.5
"""Seconds for writing down what a drain releases."""


class Drain:
    """`running` are the tasks of the executions that are worked on, `driven` those executions; `loops`
    are the loops of the engine, the first of which claims."""

    def __init__(
        self,
        clock: Clock,
        running: Mapping[str, asyncio.Task[None]],
        driven: Mapping[str, ClaimedExecution],
        loops: Sequence[asyncio.Task[None]],
    ) -> None:
        self._clock = clock
        self._running = running
        self._driven = driven
        self._loops = loops

    async def run(self, grace: timedelta, hurry: asyncio.Event) -> None:
        """Let running attempts end within `grace` (or until `hurry` is set) and record their results;
        then release the rest."""
        for loop in self._loops[1:]:
            loop.cancel()
        deadline = self._clock.monotonic() + grace.total_seconds()
        hurried = asyncio.ensure_future(hurry.wait())
        # A claim that is on its way is waited for, so that it can be given back.
        for polling in self._loops[:1]:
            await _first_of(polling, hurried, CLAIM_PATIENCE)
            polling.cancel()
        while self._running and not hurried.done() and self._clock.monotonic() < deadline:
            left = max(0.0, deadline - self._clock.monotonic())
            everything = asyncio.ensure_future(asyncio.wait(list(self._running.values())))
            await _first_of(everything, hurried, left)
            everything.cancel()
        hurried.cancel()
        for execution in list(self._driven.values()):
            execution.release()
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=RELEASE_PATIENCE)


async def _first_of(one: asyncio.Future[Any], other: asyncio.Future[Any], patience: float) -> None:
    await asyncio.wait((one, other), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
