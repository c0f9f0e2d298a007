"""Control: what an operator can have a single execution do.

Everything is durable when the call returns, and stands in the history with who asked and why. A call is
settled in one conditional write: it holds for the execution as it was looked at, or is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from flow_manager.core.intervening import Given, Rerun


class Control(Protocol):
    """Each call raises `ExecutionUnknown`, `StateForbids` if the execution cannot do this as it stands, and
    what `Backend.execute` raises. Those that have it go on raise `ConcurrencyFull` if its flow is full and
    does not let it wait for a slot."""

    def pause(self, execution_id: str, *, reason: str = "", by: str = "") -> None:
        """Hold it: what runs may end, nothing else begins. One that is paused already stays so."""

    def resume(self, execution_id: str, *, reason: str = "", by: str = "") -> None:
        """Let a paused one go on. What has become due meanwhile is due at once."""

    def retry(self, execution_id: str, *, reason: str = "", by: str = "") -> None:
        """Have the failed task run go on with another attempt at once: of an execution that has failed or was
        cancelled, that waits for its next attempt, or that is in quarantine."""

    def rerun(self, execution_id: str, rerun: Rerun, *, reason: str = "", by: str = "") -> None:
        """Go on at another task; with another input, or with a result in place of the task's body. Raises
        `InvalidRequest` for a task that the flow does not have, and for what does not fit its schemas."""

    def give(self, execution_id: str, result: Given, *, reason: str = "", by: str = "") -> None:
        """Give the result of the task that waits, instead of what it waits for. Raises `InvalidRequest`."""

    def fork(
        self,
        execution_id: str,
        from_task: str | None = None,
        input: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        by: str = "",
    ) -> str:
        """Start another execution of the same flow, which goes on at `from_task` with the results that there
        were before it; from its beginning if none is named. The answer is its id. Raises `InvalidRequest`."""
