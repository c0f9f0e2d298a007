"""The pruner: removes ended executions that need not be kept, a few at a time."""

from __future__ import annotations

import logging
import time
from typing import Final

from flow_manager.engine.lookout import Lookout
from flow_manager.ports.clock import Clock
from flow_manager.ports.retention import Prune, Pruned, Retention
from flow_manager.ports.store import Store

log = logging.getLogger(__name__)

REGULAR: Final = 60.0
"""Seconds between two looks when there is nothing to do."""
SHORTEST_PAUSE: Final = 0.02
REST: Final = 9
"""A pause between two steps is so many times as long as the step took, waiting for others included: pruning
has a tenth of the writer's time at most, and less when others want it."""
REST_WHEN_OVER: Final = 1
"""The same while the store is larger than it may be: half of the time, so that it does not grow on."""


class Pruner:
    """Asks the store for one small step after another, until nothing is left to remove."""

    def __init__(self, store: Store, clock: Clock, retention: Retention) -> None:
        self._store = store
        self._clock = clock
        self._retention = retention
        self._after = b""
        self._removed = 0

    async def run(self) -> None:
        """Look for ever, if anything is bounded."""
        if self._retention.is_bounded:
            await Lookout("pruning ended executions", self._step, REGULAR).run()

    async def _step(self) -> float:
        """A look, and the seconds until the next."""
        began = time.monotonic()
        pruned = await self.look()
        if pruned.is_done:
            return REGULAR
        rest = REST_WHEN_OVER if pruned.is_over else REST
        return max(SHORTEST_PAUSE, rest * (time.monotonic() - began))

    async def look(self) -> Pruned:
        """One step."""
        pruned = await self._store.prune(Prune(self._clock.now(), self._retention, self._after))
        self._after = pruned.after
        self._removed += pruned.executions
        if pruned.is_done:
            if self._removed:
                log.info("%d ended executions were pruned", self._removed)
            if pruned.is_over:
                log.warning(
                    "the store is larger than it may be, and nothing that has ended is left to prune; "
                    "raise --max-store, or see which executions are open"
                )
            self._removed = 0
        return pruned
