"""Starting executions with more than a flow and its input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from flow_manager.core.definition import Flow
from flow_manager.core.view import View
from flow_manager.errors import FlowManagerError

LONGEST_DELAY: Final = timedelta(days=366)
"""Between a start and the time at which it is to begin."""
MOST_STARTED: Final = 1_000
"""Executions that are started together."""


@dataclass(frozen=True, slots=True)
class StartOptions:
    """How an execution is started. `key` is an idempotency key, `fingerprint` the SHA-256 of what is asked
    for under it. `priority` is -1, 0 or 1. `start_at` is the time before which it does not begin. `version`
    is that of the published flow which is started; 0 if it is not a published one. The `rate` of a flow
    counts for published ones."""

    key: str | None = None
    fingerprint: bytes = b""
    priority: int = 0
    start_at: datetime | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """An execution as it stands, and whether this call has started it."""

    view: View
    is_new: bool


@dataclass(frozen=True, slots=True)
class StartRequest:
    """One of several executions to be started together."""

    input: Mapping[str, Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    options: StartOptions = StartOptions()


@dataclass(frozen=True, slots=True)
class Accepted:
    """One of several executions that were started together."""

    execution_id: str
    is_new: bool


class Starter(Protocol):
    """A part of `ports.backend.Backend`."""

    def start(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        options: StartOptions,
        *,
        labels: Mapping[str, str] | None = None,
        wait: timedelta | None = None,
    ) -> Start:
        """As `execute`; an execution that the same request has started before is the answer as well, as
        it stands after at most `wait`.

        Raises what `execute` raises, and `KeyConflict`, `ExecutionPruned`, `RateLimited` and
        `ConcurrencyFull`."""

    def start_all(
        self, flow: Flow, requests: Sequence[StartRequest]
    ) -> Sequence[Accepted | FlowManagerError]:
        """Start up to `MOST_STARTED` executions in one transaction; for each its id, or why it was not
        started. Raises what `execute` raises if none was."""
