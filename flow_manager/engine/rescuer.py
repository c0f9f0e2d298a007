"""The rescuer: finds executions that are claimed although nobody drives them, and makes them due.

There should be none. One appears when the store did not say whether a write had happened: the
engine then lets go, and this loop hands the execution to the one path of recovery, which loads
its history and goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Container
from typing import Final

from flow_manager.core.states import Wake, WakeReason
from flow_manager.engine.lookout import Lookout
from flow_manager.errors import StaleClaim
from flow_manager.ports.clock import Clock
from flow_manager.ports.store import Store

log = logging.getLogger(__name__)

REGULAR: Final = 60.0
"""Seconds between two looks when nothing is suspected."""
SUSPICIOUS: Final = 0.25
"""Seconds between two looks when a write's outcome is not known, or a claim looked stray."""


class Rescuer:
    """Looks for claims that are not `driven`. A claim counts as stray when two looks in a row find
    it so: what is just being handed over looks stray once."""

    def __init__(self, store: Store, clock: Clock, driven: Container[str]) -> None:
        self._store = store
        self._clock = clock
        self._driven = driven
        self._suspects: set[tuple[str, int]] = set()
        self._lookout = Lookout("looking for stray claims", self._round, REGULAR, lambda _: self.suspect())

    def suspect(self) -> None:
        """Something may have been left behind: look soon."""
        self._lookout.nudge()

    async def run(self) -> None:
        """Look for ever."""
        await self._lookout.run(first_nap=REGULAR)

    async def _round(self) -> float:
        await asyncio.sleep(SUSPICIOUS)
        await self.look()
        return REGULAR

    async def look(self) -> int:
        """Make due what is claimed and was not driven at this look and the one before; how many."""
        claims = await asyncio.get_running_loop().run_in_executor(None, self._store.claims)
        strays = {
            (claim.execution_id, claim.epoch): claim
            for claim in claims
            if claim.execution_id not in self._driven
        }
        rescued = 0
        for name in self._suspects & strays.keys():
            with contextlib.suppress(StaleClaim):  # it has moved on since the look
                await self._store.set_aside(strays[name], Wake(WakeReason.DUE, self._clock.now()))
                log.warning("execution %s was claimed and not driven; it is due again", name[0])
                rescued += 1
        self._suspects = set(strays)
        if strays:
            self.suspect()
        return rescued
