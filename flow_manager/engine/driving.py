"""Driving: the edge of each execution that is worked on. What goes wrong inside stops it and no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from flow_manager.core.decision import WORKER_DIED, Action, Loss
from flow_manager.core.states import FOR_AN_OPERATOR, Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.engine.audience import Audience
from flow_manager.engine.execution import ClaimedExecution
from flow_manager.engine.poller import Poller
from flow_manager.engine.rescuer import Rescuer
from flow_manager.engine.waiters import Waiters
from flow_manager.errors import FlowManagerError, OutcomeUnknown, StaleClaim
from flow_manager.ports.clock import Clock
from flow_manager.ports.store import Claim, Store

log = logging.getLogger(__name__)

IN_DOUBT: Final = Loss("whether the result was stored was not known", blame=False)


class Engine(Protocol):
    """What driving needs of the engine around it."""

    store: Store
    clock: Clock
    audience: Audience
    poller: Poller
    rescuer: Rescuer

    @property
    def is_draining(self) -> bool: ...


class Driver:
    """`driven` are the executions that are worked on. `failed` is told what the store answered."""

    def __init__(self, engine: Engine, waiters: Waiters, failed: Callable[[Exception], None]) -> None:
        self._engine = engine
        self._waiters = waiters
        self._failed = failed
        self._doubtful: set[str] = set()
        self.driven: dict[str, ClaimedExecution] = {}

    def loss_of(self, execution_id: str) -> Loss:
        """How the worker of an attempt was lost that is open when its execution is taken up."""
        loss = IN_DOUBT if execution_id in self._doubtful else WORKER_DIED
        self._doubtful.discard(execution_id)
        return loss

    def interrupt(self, execution_ids: Sequence[str]) -> None:
        """These are cancelled."""
        for execution_id in execution_ids:
            if execution_id in self.driven:
                self.driven[execution_id].cancel()

    async def drive(self, execution: ClaimedExecution, action: Action | None) -> None:
        """Until it ends or parks."""
        execution_id = execution.claim.execution_id
        self.driven[execution_id] = execution
        try:
            wake = await execution.drive(action)
        except StaleClaim as error:
            log.warning("execution %s belongs to another writer now: %s", execution_id, error)
            self._waiters.left(execution_id)
        except OutcomeUnknown as error:
            # Whoever waits for it goes on waiting: the rescuer makes it due again.
            log.warning("whether a step of execution %s was recorded is not known: %s", execution_id, error)
            self._doubtful.add(execution_id)
            self._failed(error)
            await self._tell_if_ended(execution_id)
        except asyncio.CancelledError:
            # Only a task body that kept its asyncio task does this, long after its end. The rescuer
            # makes the execution due, and whoever waits for it goes on waiting.
            log.warning("execution %s was cancelled by something that it started", execution_id)
            self._engine.rescuer.suspect()
        except Exception as error:
            log.exception("execution %s cannot go on", execution_id)
            await self.set_aside(execution.claim, f"{type(error).__name__}: {error}")
        else:
            self._settle(execution, wake)
        finally:
            del self.driven[execution_id]

    def _settle(self, execution: ClaimedExecution, wake: Wake | None) -> None:
        execution_id = execution.claim.execution_id
        if wake is None:
            self._waiters.ended(execution.view)
            if execution.view.parent is not None or execution.flow.concurrency is not None:
                self._engine.poller.nudge()
        elif wake.reason in FOR_AN_OPERATOR or self._engine.is_draining:
            if wake.reason is WakeReason.CODE:
                log.warning("execution %s waits for a start with the code of %s", execution_id, wake.detail)
            self._waiters.left(execution_id)
        else:
            self._engine.poller.nudge()

    async def _tell_if_ended(self, execution_id: str) -> None:
        """The step in doubt may have been the last one."""
        view = await asyncio.get_running_loop().run_in_executor(
            None, self._engine.store.describe, execution_id
        )
        if not view.is_ended:
            return
        self._doubtful.discard(execution_id)
        self._waiters.ended(view)

    async def set_aside(self, claim: Claim, reason: str) -> None:
        """Park an execution for repair; its history is left as it is."""
        wake = Wake(WakeReason.REPAIR, self._engine.clock.now(), reason[:500])
        try:
            await self._engine.store.set_aside(claim, wake)
            self._engine.audience.moved(View(claim.execution_id).waiting_for(wake))
        except FlowManagerError as error:
            log.error("execution %s could not be set aside: %s", claim.execution_id, error)
        self._waiters.left(claim.execution_id)
