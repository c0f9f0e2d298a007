"""A flow as it is executed: immutable, every name resolved, every duration a `timedelta`.

The written form is `core.document`; `FlowParser` turns the one into the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Final, Literal

from flow_manager.core.expressions import Expression
from flow_manager.core.mappings import ValueMapping
from flow_manager.core.schemas import Schema

END: Final = "end"
"""The reserved target that ends a flow."""

Outcome = Literal["success", "failure", "timeout", "unknown"]
OnLost = Literal["retry", "unknown"]
Jitter = Literal["full", "none"]
WebhookEvent = Literal["completed", "failed", "cancelled", "waiting"]
ENDS: Final[tuple[WebhookEvent, ...]] = ("completed", "failed", "cancelled")
WhenFull = Literal["queue", "reject"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed attempt is followed by another.

    The wait before attempt n+1 is `delay * backoff ** (n-1)`, at most `max_delay`; with full
    jitter a random share of it. `budget` bounds the whole task run, waits included.
    `retry_on` and `never_on` hold error codes or prefixes of them; `never_on` wins.
    """

    max_attempts: int = 1
    delay: timedelta = timedelta(seconds=1)
    backoff: float = 2.0
    max_delay: timedelta = timedelta(minutes=5)
    jitter: Jitter = "full"
    budget: timedelta | None = None
    retry_on: tuple[str, ...] = ()
    never_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    name: str
    type: str
    description: str = ""
    input: ValueMapping | None = None
    timeout: timedelta | None = None
    retry: RetryPolicy = RetryPolicy()
    on_lost: OnLost = "retry"
    optional: bool = False
    heartbeat_timeout: timedelta | None = None
    run_when: Expression | None = None
    output_schema: Schema | None = None
    compensate_with: str | None = None
    child: Flow | None = None
    """The flow that a task of type `flow` or `for_each` starts."""


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    source_task: str
    description: str = ""
    outcome: Outcome = "success"
    target_task_success: str = END
    target_task_failure: str = END
    when: Expression | None = None
    index: int = 0
    """Its place among the conditions of the flow, as written."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that is told of an execution. `secret` is the name of the secret that signs."""

    url: str
    events: tuple[WebhookEvent, ...] = ENDS
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many executions of the flow with the same key go on at once. Without `key` all have the same."""

    limit: int
    key: ValueMapping | None = None
    when_full: WhenFull = "queue"


@dataclass(frozen=True, slots=True)
class StartRate:
    """How often the published flow may be started: `limit` times in each `per`, all of them at once if none
    was started before."""

    limit: int
    per: timedelta


@dataclass(frozen=True, eq=False)
class Flow:
    """A checked flow. `digest` is the SHA-256 of `document`, the canonical JSON text of the flow."""

    id: str
    name: str
    start_task: str
    tasks: Mapping[str, Task]
    conditions_from: Mapping[str, tuple[Condition, ...]]
    description: str
    labels: Mapping[str, str]
    timeout: timedelta | None
    max_task_runs: int
    document: str
    digest: str
    input_schema: Schema | None = None
    output: ValueMapping | None = None
    cases: Sequence[Mapping[str, Any]] = ()
    """Its golden cases, as written."""
    webhooks: tuple[Webhook, ...] = ()
    concurrency: Concurrency | None = None
    rate: StartRate | None = None

    @cached_property
    def compensates(self) -> bool:
        """Whether anything that it does can be undone."""
        return any(
            task.compensate_with is not None or (task.child is not None and task.child.compensates)
            for task in self.tasks.values()
        )
