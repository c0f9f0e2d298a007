"""The client: the calls of the HTTP API as methods with typed results."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
import msgspec

from flow_manager.client.connection import Call, Connection
from flow_manager.client.failures import strange
from flow_manager.core.answers import (
    Accepted,
    Child,
    ChildList,
    Counts,
    Diagnosis,
    Execution,
    ExecutionLine,
    ExecutionList,
    History,
    OpenQuestion,
    Reason,
    Repaired,
    ServiceHealth,
    TaskTypeLine,
    TaskTypeList,
)
from flow_manager.core.events import Event
from flow_manager.core.flow_answers import FlowVersion, Simulated, Tested, Validity, WhatIfAnswer
from flow_manager.core.states import ExecutionStatus
from flow_manager.errors import ApprovalUnknown, ExecutionUnknown, FlowManagerError

DEFAULT_URL: Final = "http://127.0.0.1:5000"
FIRST_LOOK: Final = 0.05
"""Seconds between the first two looks at an execution that is waited for; later ones are rarer,"""
RAREST_LOOK: Final = 2.0
"""but not rarer than this."""

Value = TypeVar("Value")


class Client:
    """A client of the service at `url`, for one thread or many.

    `timeout` is how long an answer may take, in seconds, beyond a wait that is asked for. What can safely
    be sent again is sent up to `tries` times. All methods raise `ServiceUnreachable`, and what the service
    refuses as the error of `flow_manager.errors` that it is; its cause is then the `ProblemError` with all
    that the service said. `transport` is how httpx gets there, if not by itself. As a context it is closed
    at the end.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout: float = 30.0,
        tries: int = 5,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._connection = Connection(url, timeout=timeout, tries=tries, transport=transport)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- starting

    def execute(
        self,
        flow: Mapping[str, Any],
        input: Mapping[str, Any] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        wait: float = 60.0,
    ) -> Execution:
        """Execute a flow document, bare or wrapped in `flow`. Waits for its end for `wait` seconds, then
        tells how it stands; 0 does not wait. Not sent again if the answer is lost."""
        body = {**(flow if "flow" in flow else {"flow": flow}), **_given(input=input, labels=labels)}
        # What comes of a lost answer the service alone knows: one that knows no keys would start it twice.
        return self._start("/flow/execute", body, wait, _new_key(), is_repeatable=False)

    def start(
        self,
        flow_id: str,
        input: Mapping[str, Any] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        version: int | None = None,
        wait: float = 0.0,
        key: str | None = None,
    ) -> Execution:
        """Start a published flow, the newest version or this one, once for each `key`; without one, once
        for each call. Waits for its end for `wait` seconds."""
        body = _given(input=input, labels=labels, version=version)
        path = f"/v1/flows/{_part(flow_id)}/executions"
        return self._start(path, body, wait, key or _new_key(), is_repeatable=True)

    def publish(self, flow: Mapping[str, Any], *, expected: str | None = None) -> FlowVersion:
        """Publish a flow document under its id. `expected` is the `tag` of the version that it takes the
        place of, or `*` for any."""
        document = _bare(flow)
        tag = expected if expected in (None, "*") else f'"{expected}"'
        headers = {} if tag is None else {"If-Match": tag}
        call = Call("PUT", f"/v1/flows/{_part(str(document.get('id', '')))}", document, headers=headers)
        response = self._connection.send(call)
        version = _decoded(response, FlowVersion)
        return msgspec.structs.replace(version, tag=response.headers.get("ETag", "").strip('"'))

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

    def list(self, *, limit: int = 50, status: str | None = None) -> Sequence[ExecutionLine]:
        """The newest executions first."""
        parameters = _given(limit=limit, status=status)
        return self._get("/v1/executions", ExecutionList, parameters).executions

    def find(
        self, *, limit: int = 50, cursor: str | None = None, labels: Sequence[str] = (), **filters: str
    ) -> ExecutionList:
        """A page of the executions that these filters let through (`flow_id`, `version`, `status`, `since`,
        `until`, `error`, `reason`, `q`; labels as `name:value`), and the `cursor` of the next."""
        parameters = {**filters, "limit": limit, **_given(cursor=cursor), "label": [*labels]}
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
        body = {"from_task": from_task, **_given(input=input, result=result)}
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
        return self._control(execution_id, "fork", _given(from_task=from_task, input=input), reason, by)

    def questions(self, execution_id: str) -> Sequence[OpenQuestion]:
        """What an execution asks now; each has the `token` to answer with."""
        return self.describe(execution_id).questions

    def question(self, token: str) -> OpenQuestion:
        """The question that a token is for."""
        call = Call("GET", f"/v1/approvals/{_part(token)}", unknown=ApprovalUnknown)
        return _decoded(self._connection.send(call), OpenQuestion)

    def answer(
        self, token: str, approved: bool, answer: Mapping[str, Any] | None = None, *, by: str = ""
    ) -> Accepted:
        """Answer a question, once."""
        body = {"approved": approved, "answer": answer or {}, "by": by}
        call = Call(
            "POST", f"/v1/approvals/{_part(token)}", body, is_repeatable=False, unknown=ApprovalUnknown
        )
        return _decoded(self._connection.send(call), Accepted)

    # -- checking flows

    def validate(self, flow: Mapping[str, Any]) -> Validity:
        """Check a flow document. Raises `InvalidFlow` with all its problems."""
        return self._post("/v1/flows:validate", flow, Validity)

    def simulate(self, flow: Mapping[str, Any], **simulation: Any) -> Simulated:
        """Run a flow with mocks in place of its tasks: `input`, `mocks`, `signals`, `faults`, `now` and what
        else a simulation takes; with `history=True` every event is told."""
        return self._post("/v1/flows:simulate", {"flow": _bare(flow), **simulation}, Simulated)

    def test(self, flow: Mapping[str, Any]) -> Tested:
        """Run the golden cases of a flow."""
        return self._post("/v1/flows:test", {"flow": _bare(flow)}, Tested)

    def whatif(
        self,
        flow: Mapping[str, Any],
        executions: Sequence[str] | None = None,
        *,
        flow_id: str | None = None,
        limit: int = 100,
    ) -> WhatIfAnswer:
        """Hold an edited flow against these executions, or the newest of the flow `flow_id`."""
        against = _given(executions=executions, flow_id=flow_id, limit=limit)
        body = {"flow": _bare(flow), **against}
        return self._post("/v1/flows:whatif", body, WhatIfAnswer, unknown=ExecutionUnknown)

    # -- the service

    def tasks(self) -> Sequence[TaskTypeLine]:
        """The registered task types, and those that need no code."""
        return self._get("/v1/tasks", TaskTypeList).tasks

    def doctor(self) -> Diagnosis:
        """Whether every open execution has what will move it on."""
        return self._get("/v1/doctor", Diagnosis)

    def repair(self) -> Repaired:
        """Mend what can be mended of what `doctor` finds."""
        return self._post("/v1/doctor:repair", {}, Repaired)

    def health(self) -> ServiceHealth:
        """What the service can do now."""
        return self._get("/health", ServiceHealth)

    # -- how it is said

    def _start(self, path: str, body: Any, wait: float, key: str, *, is_repeatable: bool) -> Execution:
        seconds = math.ceil(wait)
        headers = {"Idempotency-Key": key, "Prefer": f"wait={seconds}" if seconds > 0 else "respond-async"}
        call = Call("POST", path, body, headers=headers, is_repeatable=is_repeatable, patience=seconds)
        return _decoded(self._connection.send(call), Execution)

    def _tell(
        self, execution_id: str, what: str, body: Mapping[str, Any], *, is_repeatable: bool
    ) -> Accepted:
        path = f"/v1/executions/{_part(execution_id)}:{what}"
        call = Call("POST", path, body, is_repeatable=is_repeatable, unknown=ExecutionUnknown)
        return _decoded(self._connection.send(call), Accepted)

    def _control(
        self, execution_id: str, what: str, body: Mapping[str, Any], reason: str, by: str
    ) -> Accepted:
        """Not sent again: asked twice, it would be done twice."""
        return self._tell(execution_id, what, {**body, "reason": reason, "by": by}, is_repeatable=False)

    def _of_execution(self, path: str, execution_id: str, kind: type[Value]) -> Value:
        call = Call("GET", path.format(_part(execution_id)), unknown=ExecutionUnknown)
        return _decoded(self._connection.send(call), kind)

    def _get(
        self, path: str, kind: type[Value], parameters: Mapping[str, str | int | Sequence[str]] | None = None
    ) -> Value:
        return _decoded(self._connection.send(Call("GET", path, parameters=parameters)), kind)

    def _post(
        self,
        path: str,
        body: Mapping[str, Any],
        kind: type[Value],
        unknown: type[FlowManagerError] | None = None,
    ) -> Value:
        return _decoded(self._connection.send(Call("POST", path, body, unknown=unknown)), kind)


def _decoded(response: httpx.Response, kind: type[Value]) -> Value:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except msgspec.MsgspecError as error:
        raise strange(response) from error


def _given(**members: Any) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in members.items() if value is not None}


def _bare(flow: Mapping[str, Any]) -> Any:
    """A flow document without what may stand beside it."""
    return flow.get("flow", flow)


def _part(text: str) -> str:
    """A part of a path, whatever it holds."""
    return quote(text, safe="")


def _new_key() -> str:
    return str(uuid4())
