"""The calls on executions: looking at them, and sending them something."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from flow_manager.client.calls import Calls, decoded, given, part
from flow_manager.client.connection import Call
from flow_manager.core.answers import (
    Accepted,
    ActedOn,
    Child,
    ChildList,
    Counts,
    Execution,
    ExecutionLine,
    ExecutionList,
    History,
    OpenQuestion,
    Reason,
)
from flow_manager.core.events import Event
from flow_manager.core.states import ExecutionStatus
from flow_manager.errors import ApprovalUnknown

FIRST_LOOK: Final = 0.05
"""Seconds between the first two looks at an execution that is waited for; later ones are rarer,"""
RAREST_LOOK: Final = 2.0
"""but not rarer than this."""


class ExecutionCalls(Calls):
    """The part of the client for executions."""

    # -- looking

    def status(self, execution_id: str) -> Execution:
        """How an execution stands."""
        return self._of_execution("/flow/status/{}", execution_id, Execution)

    def describe(self, execution_id: str) -> Execution:
        """How an execution stands, with the `questions` that it asks."""
        return self._of_execution("/v1/executions/{}", execution_id, Execution)

    def wait(self, execution_id: str, timeout: float | None = None) -> Execution:
        """Wait until an execution has ended, but no longer than `timeout` seconds, and tell how it stands."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        pause = FIRST_LOOK
        while True:
            execution = self.status(execution_id)
            left = deadline - time.monotonic()
            if execution.is_ended or left <= 0:
                return execution
            self._connection.pause(min(pause, left))
            pause = min(pause * 1.5, RAREST_LOOK)

    def history(self, execution_id: str) -> Sequence[Event]:
        """All events of an execution, in order."""
        return self._of_execution("/v1/executions/{}/history", execution_id, History).events

    def why(self, execution_id: str) -> Reason:
        """Why an execution is not moving."""
        return self._of_execution("/v1/executions/{}/why", execution_id, Reason)

    def children(self, execution_id: str) -> Sequence[Child]:
        """The executions that it has started, the first thousand."""
        return self._of_execution("/v1/executions/{}/children", execution_id, ChildList).children

    def capsule(self, execution_id: str) -> Mapping[str, Any]:
        """An execution as one JSON document, to be replayed elsewhere."""
        return self._of_execution("/v1/executions/{}/capsule", execution_id, dict[str, Any])

    def list(self, *, limit: int = 50, status: str | None = None) -> Sequence[ExecutionLine]:
        """The newest executions first."""
        parameters = given(limit=limit, status=status)
        return self._get("/v1/executions", ExecutionList, parameters).executions

    def find(
        self, *, limit: int = 50, cursor: str | None = None, labels: Sequence[str] = (), **filters: str
    ) -> ExecutionList:
        """A page of the executions that these filters let through (`flow_id`, `version`, `status`, `since`,
        `until`, `error`, `reason`, `q`; labels as `name:value`), and the `cursor` of the next."""
        parameters = {**filters, "limit": limit, **given(cursor=cursor), "label": [*labels]}
        return self._get("/v1/executions", ExecutionList, parameters)

    def counts(self) -> Mapping[ExecutionStatus, int]:
        """How many executions there are of each status."""
        return self._get("/v1/executions:counts", Counts).counts

    # -- sending something

    def cancel(self, execution_id: str, reason: str = "", *, by: str = "") -> Accepted:
        """Ask an execution to end. Sent again after a lost answer, it may find that the execution is over."""
        return self._tell(execution_id, "cancel", {"reason": reason, "by": by}, is_repeatable=True)

    def signal(self, execution_id: str, name: str, payload: Any = None, *, by: str = "") -> Accepted:
        """Send a signal to an execution. Not sent again: twice sent, it is there twice."""
        body = {"name": name, "payload": payload, "by": by}
        return self._tell(execution_id, "signal", body, is_repeatable=False)

    def pause(self, execution_id: str, *, reason: str = "", by: str = "") -> Accepted:
        """Hold an execution: what runs may end, nothing else begins."""
        return self._control(execution_id, "pause", {}, reason, by)

    def resume(self, execution_id: str, *, reason: str = "", by: str = "") -> Accepted:
        """Let a paused execution go on."""
        return self._control(execution_id, "resume", {}, reason, by)

    def retry(self, execution_id: str, *, reason: str = "", by: str = "") -> Accepted:
        """Have the failed task run go on with another attempt at once."""
        return self._control(execution_id, "retry", {}, reason, by)

    def rerun(
        self,
        execution_id: str,
        from_task: str,
        *,
        input: Mapping[str, Any] | None = None,
        result: Mapping[str, Any] | None = None,
        reason: str = "",
        by: str = "",
    ) -> Accepted:
        """Go on at a task; with another input of the execution, or with a result (`outcome`, `message`,
        `data`) in place of the task's body."""
        body = {"from_task": from_task, **given(input=input, result=result)}
        return self._control(execution_id, "rerun", body, reason, by)

    def skip(
        self,
        execution_id: str,
        data: Any = None,
        *,
        outcome: str = "success",
        message: str = "",
        reason: str = "",
        by: str = "",
    ) -> Accepted:
        """Give the result of the task that waits."""
        body = {"data": data, "outcome": outcome, "message": message}
        return self._control(execution_id, "skip", body, reason, by)

    def fork(
        self,
        execution_id: str,
        from_task: str | None = None,
        *,
        input: Mapping[str, Any] | None = None,
        reason: str = "",
        by: str = "",
    ) -> Accepted:
        """Start another execution that goes on at this task with the results so far. The answer names it."""
        return self._control(execution_id, "fork", given(from_task=from_task, input=input), reason, by)

    def bulk(
        self,
        action: str,
        filter: Mapping[str, str | Sequence[str]],
        *,
        dry_run: bool = True,
        cursor: str | None = None,
        reason: str = "",
        by: str = "",
    ) -> ActedOn:
        """Have up to 1,000 executions that a filter finds `cancel`, `pause`, `resume` or `retry`; a dry run
        only counts them. Sent again only if it is one."""
        told = {"action": action, "filter": filter, "dry_run": dry_run, "reason": reason, "by": by}
        body = {**told, **given(cursor=cursor)}
        call = Call("POST", "/v1/executions:bulk", body, is_repeatable=dry_run)
        return decoded(self._connection.send(call), ActedOn)

    def questions(self, execution_id: str) -> Sequence[OpenQuestion]:
        """What an execution asks now; each has the `token` to answer with."""
        return self.describe(execution_id).questions

    def question(self, token: str) -> OpenQuestion:
        """The question that a token is for."""
        call = Call("GET", f"/v1/approvals/{part(token)}", unknown=ApprovalUnknown)
        return decoded(self._connection.send(call), OpenQuestion)

    def answer(
        self, token: str, approved: bool, answer: Mapping[str, Any] | None = None, *, by: str = ""
    ) -> Accepted:
        """Answer a question, once."""
        body = {"approved": approved, "answer": answer or {}, "by": by}
        call = Call(
            "POST", f"/v1/approvals/{part(token)}", body, is_repeatable=False, unknown=ApprovalUnknown
        )
        return decoded(self._connection.send(call), Accepted)
