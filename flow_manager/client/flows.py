"""The calls on flows: starting, publishing and checking them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

import httpx
import msgspec

from flow_manager.client.calls import Calls, bare, decoded, given, new_key, part
from flow_manager.client.connection import Call
from flow_manager.core.answers import Execution
from flow_manager.core.flow_answers import (
    DeletedFlow,
    FlowList,
    FlowVersion,
    Simulated,
    StartedAll,
    Tested,
    Validity,
    VersionList,
    WhatIfAnswer,
)
from flow_manager.errors import ExecutionUnknown, FlowUnknown


class PublishedFlow(FlowVersion, frozen=True, kw_only=True):
    """A version of a published flow, with its document where that was asked for. `tag` is what `publish` and
    `delete_flow` take as `expected`."""

    flow: Mapping[str, Any] = {}
    tag: str = ""


class When(TypedDict, total=False):
    """When an execution is to begin: of what is due, the one with the highest priority is taken up first."""

    priority: Literal["low", "normal", "high"]
    start_at: datetime


class FlowCalls(Calls):
    """The part of the client for flows."""

    # -- starting

    def execute(
        self,
        flow: Mapping[str, Any],
        input: Mapping[str, Any] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        wait: float = 60.0,
        key: str | None = None,
    ) -> Execution:
        """Execute a flow document, bare or wrapped in `flow`, once for each `key`; without one, once for each
        call. Waits for its end for `wait` seconds, then tells how it stands; 0 does not wait."""
        body = {**(flow if "flow" in flow else {"flow": flow}), **given(input=input, labels=labels)}
        return self._start("/flow/execute", body, wait, key)

    def start(
        self,
        flow_id: str,
        input: Mapping[str, Any] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        version: int | None = None,
        wait: float = 0.0,
        key: str | None = None,
        **when: Unpack[When],
    ) -> Execution:
        """Start a published flow, the newest version or this one, once for each `key`; without one, once
        for each call; with the `priority`, and not before `start_at`, that are given. Waits for its end for
        `wait` seconds."""
        told = {name: each.isoformat() if isinstance(each, datetime) else each for name, each in when.items()}
        body = given(input=input, labels=labels, version=version, **told)
        path = f"/v1/flows/{part(flow_id)}/executions"
        return self._start(path, body, wait, key, FlowUnknown)

    def start_all(
        self, flow_id: str, items: Sequence[Mapping[str, Any]], *, version: int | None = None
    ) -> StartedAll:
        """Start a published flow up to 1,000 times in one transaction; each item can have `input`, `labels`
        and `key`. Those that are refused do not hinder the others."""
        keyed = [{**item, "key": item.get("key") or new_key()} for item in items]
        path = f"/v1/flows/{part(flow_id)}/executions:batch"
        return self._post(path, {"items": keyed, **given(version=version)}, StartedAll, FlowUnknown)

    # -- publishing

    def publish(self, flow: Mapping[str, Any], *, expected: str | None = None) -> PublishedFlow:
        """Publish a flow document under its id. `expected` is the `tag` of the version that it takes the
        place of, or `*` for any."""
        document = bare(flow)
        path = f"/v1/flows/{part(str(document.get('id', '')))}"
        return _tagged(self._connection.send(Call("PUT", path, document, headers=_if_match(expected))))

    def flows(self, *, limit: int = 50, after: str = "") -> Sequence[FlowVersion]:
        """The newest version of each published flow, by id, from those after `after`."""
        return self._get("/v1/flows", FlowList, {"limit": limit, "after": after}).flows

    def flow(self, flow_id: str, version: int | None = None) -> PublishedFlow:
        """The newest version of a published flow, or this one, with its document."""
        path = f"/v1/flows/{part(flow_id)}" + ("" if version is None else f"/versions/{version}")
        return _tagged(self._connection.send(Call("GET", path, unknown=FlowUnknown)))

    def versions(self, flow_id: str, *, limit: int = 50, before: int | None = None) -> Sequence[FlowVersion]:
        """The versions of a flow, the newest first, from those before number `before`."""
        path = f"/v1/flows/{part(flow_id)}/versions"
        return self._get(path, VersionList, given(limit=limit, before=before), FlowUnknown).versions

    def delete_flow(self, flow_id: str, *, expected: str | None = None) -> DeletedFlow:
        """Let a flow be started no more. Sent again after a lost answer, it may find the flow gone."""
        path, headers = f"/v1/flows/{part(flow_id)}", _if_match(expected)
        call = Call("DELETE", path, headers=headers, unknown=FlowUnknown)
        return decoded(self._connection.send(call), DeletedFlow)

    # -- checking flows

    def validate(self, flow: Mapping[str, Any]) -> Validity:
        """Check a flow document. Raises `InvalidFlow` with all its problems."""
        return self._post("/v1/flows:validate", flow, Validity)

    def simulate(self, flow: Mapping[str, Any], **simulation: Any) -> Simulated:
        """Run a flow with mocks in place of its tasks: `input`, `mocks`, `signals`, `faults`, `now` and what
        else a simulation takes; with `history=True` every event is told."""
        return self._post("/v1/flows:simulate", {"flow": bare(flow), **simulation}, Simulated)

    def test(self, flow: Mapping[str, Any]) -> Tested:
        """Run the golden cases of a flow."""
        return self._post("/v1/flows:test", {"flow": bare(flow)}, Tested)

    def whatif(
        self,
        flow: Mapping[str, Any],
        executions: Sequence[str] | None = None,
        *,
        flow_id: str | None = None,
        limit: int = 100,
    ) -> WhatIfAnswer:
        """Hold an edited flow against these executions, or the newest of the flow `flow_id`."""
        against = given(executions=executions, flow_id=flow_id, limit=limit)
        body = {"flow": bare(flow), **against}
        return self._post("/v1/flows:whatif", body, WhatIfAnswer, unknown=ExecutionUnknown)


def _if_match(expected: str | None) -> Mapping[str, str]:
    if expected is None:
        return {}
    return {"If-Match": expected if expected == "*" else f'"{expected}"'}


def _tagged(response: httpx.Response) -> PublishedFlow:
    version = decoded(response, PublishedFlow)
    return msgspec.structs.replace(version, tag=response.headers.get("ETag", "").strip('"'))
