"""A lookout: one look after another, whatever goes wrong. The edge of every background loop of the engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from flow_manager.errors import FlowManagerError

log = logging.getLogger(__name__)


class Lookout:
    """`look` answers for how many seconds there is nothing to look at; `aim` says in the log what it looks
    for. After a look that fails the next one comes in `patience` seconds. `refused` is told of the errors
    that are expected of a look."""

    def __init__(
        self,
        aim: str,
        look: Callable[[], Awaitable[float]],
        patience: float,
        refused: Callable[[FlowManagerError], None] = lambda _: None,
    ) -> None:
        self._aim = aim
        self._look = look
        self._patience = patience
        self._refused = refused
        self._nudged = asyncio.Event()
        self._stopping = False

    def nudge(self) -> None:
        """There may be something to look at: end the nap. One that comes during a look ends the next."""
        self._nudged.set()

    def stop(self) -> None:
        """End the loop, after the look that is under way."""
        self._stopping = True
        self._nudged.set()

    async def run(self, first_nap: float = 0.0) -> None:
        """Look until stopped or cancelled; for the first time after `first_nap` seconds, or when nudged."""
        nap = first_nap
        while not self._stopping:
            if nap > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._nudged.wait(), nap)
            self._nudged.clear()
            if not self._stopping:
                nap = await self._try()

    async def _try(self) -> float:
        try:
            return await self._look()
        except FlowManagerError as error:  # the store says no; the next look may work
            log.warning("%s failed, trying again: %s", self._aim, error)
            self._refused(error)
        except Exception:  # the edge of all loops: without them nothing that waits would go on
            log.exception("%s failed, trying again", self._aim)
        return self._patience
