"""The states of an execution, and what moves each open one on.

Every execution that has not ended owns exactly one wake reason, written in the same
transaction as its history. `STATUS_OF` is the whole mapping from wake reason to status.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec


class ExecutionStatus(StrEnum):
    RUNNING = "running"
    WAITING = "waiting"
    QUARANTINED = "quarantined"
    NEEDS_REPAIR = "needs_repair"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    """Open: an operator holds it."""
    COMPENSATING = "compensating"
    """Open: it failed or was cancelled, and what it had done is being undone."""


MOVING: Final = frozenset({ExecutionStatus.RUNNING, ExecutionStatus.WAITING})
"""Open, and on its way without anybody's help."""

ENDED: Final = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED})


class WakeReason(StrEnum):
    """What will move an open execution on."""

    CLAIM = "claim"
    """A live claim: the engine is working on it now."""
    DUE = "due"
    """A time: the engine takes it up at `due_at`."""
    SIGNAL = "signal"
    """A signal; or the time `due_at`, after which it is too late for one."""
    CHILDREN = "children"
    """The end of a child."""
    SLOT = "slot"
    """A free slot: so many executions with the same key go on as may."""
    CODE = "code"
    """Task code that is not registered here; it goes on when a start finds the code again."""
    PAUSE = "pause"
    """An operator: it was paused."""
    QUARANTINE = "quarantine"
    """An operator: its task killed the worker too often."""
    REPAIR = "repair"
    """An operator: what is stored about it cannot be read."""


STATUS_OF: Final[Mapping[WakeReason, ExecutionStatus]] = MappingProxyType(
    {
        WakeReason.CLAIM: ExecutionStatus.RUNNING,
        WakeReason.DUE: ExecutionStatus.WAITING,
        WakeReason.SIGNAL: ExecutionStatus.WAITING,
        WakeReason.CHILDREN: ExecutionStatus.WAITING,
        WakeReason.SLOT: ExecutionStatus.WAITING,
        WakeReason.CODE: ExecutionStatus.WAITING,
        WakeReason.PAUSE: ExecutionStatus.PAUSED,
        WakeReason.QUARANTINE: ExecutionStatus.QUARANTINED,
        WakeReason.REPAIR: ExecutionStatus.NEEDS_REPAIR,
    }
)


TIMED: Final = frozenset({WakeReason.DUE, WakeReason.SIGNAL, WakeReason.CHILDREN})
"""Wake reasons that come true at `due_at` at the latest."""
FAR_AWAY: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""The time at which something is due that no time makes due."""

FOR_AN_OPERATOR: Final = frozenset(
    {WakeReason.CODE, WakeReason.PAUSE, WakeReason.QUARANTINE, WakeReason.REPAIR}
)
"""Wake reasons that no caller should wait for: only an operator moves such an execution on."""


class Wake(msgspec.Struct, frozen=True):
    """The one wake reason of an open execution. `due_at` is the time after which it is due.

    `detail` names the thing waited for (the missing task type, the cause of the quarantine).
    """

    reason: WakeReason
    due_at: datetime
    detail: str = ""
