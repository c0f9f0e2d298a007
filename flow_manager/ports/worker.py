"""The worker: runs the bodies of attempts, whatever kind of code they are."""

from __future__ import annotations

from collections.abc import Awaitable, Container, Mapping
from typing import Any, Protocol

import msgspec

from flow_manager.core.attempts import Attempt
from flow_manager.core.definition import Outcome
from flow_manager.core.results import TaskError, output_misfit
from flow_manager.core.schemas import Schema


class AttemptOrder(msgspec.Struct, frozen=True):
    """What is to be run, and all that its context is made of.

    `timeout` is in seconds, counted from when the body starts: an attempt that waits for a free
    thread or process has not started. `input` is that of the execution, `task_input` that of the task.
    """

    execution_id: str
    flow_id: str
    task: str
    task_type: str
    run: int
    attempt: int
    input: Mapping[str, Any]
    task_input: Mapping[str, Any]
    attempts: Mapping[str, Attempt]
    """The last result of each task."""
    timeout: float | None = None
    """Seconds for the body, from its start."""
    time_left: float | None = None
    """Seconds until the execution's own deadline, from now, whatever the attempt has to wait for."""
    silence: float | None = None
    """Seconds that the body may be silent between two heartbeats."""
    isolated: bool = False
    """Whether to run the body in a process of its own, whatever its task asks for; if it can be."""

    @property
    def within(self) -> float | None:
        """Seconds for an attempt that starts now; None if nothing bounds it."""
        if self.timeout is None or self.time_left is None:
            return self.time_left if self.timeout is None else self.timeout
        return min(self.timeout, self.time_left)


class AttemptResult(msgspec.Struct, frozen=True):
    """The outcome of one attempt, safe to record: `data` is JSON within the limits, and the body
    holds no reference to it.

    `is_lost` says that the process under the body died: whether it took effect is unknown.
    """

    outcome: Outcome
    message: str = ""
    data: Any = None
    error: TaskError | None = None
    is_lost: bool = False

    def checked(self, schema: Schema) -> AttemptResult:
        """The same if its data fits the schema, and otherwise a failure that says what does not."""
        error = output_misfit(schema, self.data)
        return self if error is None else AttemptResult("failure", error.message, None, error)


class Worker(Protocol):
    @property
    def task_types(self) -> Container[str]:
        """The types whose code is at hand."""

    def run(self, order: AttemptOrder) -> Awaitable[AttemptResult]:
        """Run one attempt. Whatever the body does, the answer is a result and never an exception.

        Cancelling the call tells the body to stop. It does not wait for a body in a thread or a
        process; an `async def` body without a timeout is cancelled itself, and can delay that."""

    async def stop(self) -> None:
        """Let go of threads and processes; bodies still running are told and left behind."""
