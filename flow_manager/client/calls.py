"""How the calls of the client are made, and their answers read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
import msgspec

from flow_manager.client.connection import Call, Connection
from flow_manager.client.failures import strange
from flow_manager.core.answers import Accepted, Execution
from flow_manager.errors import ExecutionUnknown, FlowManagerError

Value = TypeVar("Value")
Unknown = type[FlowManagerError] | None


class Calls:
    """What the parts of the client share: the connection, and the ways to use it."""

    _connection: Connection

    def _start(
        self, path: str, body: Any, wait: float, key: str | None, unknown: Unknown = None
    ) -> Execution:
        """With a key, one for each call if none is given: so it happens once, however often it is sent."""
        seconds = math.ceil(wait)
        prefer = f"wait={seconds}" if seconds > 0 else "respond-async"
        headers = {"Idempotency-Key": key or new_key(), "Prefer": prefer}
        call = Call("POST", path, body, headers=headers, patience=seconds, unknown=unknown)
        return decoded(self._connection.send(call), Execution)

    def _tell(
        self, execution_id: str, what: str, body: Mapping[str, Any], *, is_repeatable: bool
    ) -> Accepted:
        path = f"/v1/executions/{part(execution_id)}:{what}"
        call = Call("POST", path, body, is_repeatable=is_repeatable, unknown=ExecutionUnknown)
        return decoded(self._connection.send(call), Accepted)

    def _control(
        self, execution_id: str, what: str, body: Mapping[str, Any], reason: str, by: str
    ) -> Accepted:
        """Not sent again: asked twice, it would be done twice."""
        return self._tell(execution_id, what, {**body, "reason": reason, "by": by}, is_repeatable=False)

    def _of_execution(self, path: str, execution_id: str, kind: type[Value]) -> Value:
        return self._get(path.format(part(execution_id)), kind, unknown=ExecutionUnknown)

    def _get(
        self,
        path: str,
        kind: type[Value],
        parameters: Mapping[str, str | int | Sequence[str]] | None = None,
        unknown: Unknown = None,
    ) -> Value:
        call = Call("GET", path, parameters=parameters, unknown=unknown)
        return decoded(self._connection.send(call), kind)

    def _post(self, path: str, body: Mapping[str, Any], kind: type[Value], unknown: Unknown = None) -> Value:
        return decoded(self._connection.send(Call("POST", path, body, unknown=unknown)), kind)


def decoded(response: httpx.Response, kind: type[Value]) -> Value:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except msgspec.MsgspecError as error:
        raise strange(response) from error


def given(**members: Any) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in members.items() if value is not None}


def bare(flow: Mapping[str, Any]) -> Any:
    """A flow document without what may stand beside it."""
    return flow.get("flow", flow)


def part(text: str) -> str:
    """A part of a path, whatever it holds."""
    return quote(text, safe="", errors="replace")


def new_key() -> str:
    return str(uuid4())
