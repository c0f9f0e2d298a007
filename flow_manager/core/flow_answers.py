"""The answers of the HTTP API about flows: what they hold, what they would do. See `core.answers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from flow_manager.core.answers import HistoryEntry, InputProblem, Moment, PartProblem
from flow_manager.core.events import Event
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus, WakeReason


class RouteStep(msgspec.Struct, frozen=True):
    """A task of a route, and how the flow goes on after it."""

    task: str
    outcomes: Sequence[str]
    condition: str | None
    matched: bool


class Route(msgspec.Struct, frozen=True):
    """One way through a flow."""

    steps: Sequence[RouteStep]
    status: Literal["completed", "failed"]
    has_loop: bool


class FlowVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a published flow. `digest` is the SHA-256 of its document, `by` who published it."""

    id: str
    version: int
    name: str
    digest: str
    published_at: Moment
    by: str


class VersionWithFlow(FlowVersion, frozen=True, kw_only=True):
    """A version of a published flow, with its document."""

    flow: Mapping[str, Any]


class FlowList(msgspec.Struct, frozen=True):
    """The newest version of each published flow, by id."""

    flows: Sequence[FlowVersion]


class VersionList(msgspec.Struct, frozen=True):
    """The versions of a flow, the newest first."""

    versions: Sequence[FlowVersion]


class DeletedFlow(msgspec.Struct, frozen=True):
    """A flow that cannot be started any more."""

    id: str
    deleted: bool


class StartedItem(msgspec.Struct, frozen=True, kw_only=True):
    """One of several: its execution, and whether this request has started it; or why it was not started."""

    index: int
    execution_id: str | None = None
    is_new: bool = False
    problem: PartProblem | None = None


class StartedAll(msgspec.Struct, frozen=True):
    """What became of several starts, in the order in which they were sent."""

    accepted: int
    refused: int
    items: Sequence[StartedItem]


class Validity(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say of a valid flow."""

    valid: bool
    warnings: Sequence[InputProblem]
    routes: Sequence[Route] = ()
    routes_truncated: bool = False
    unhandled_failures: Sequence[str] = ()


class Edge(msgspec.Struct, frozen=True):
    """A way out of a task that a condition chooses."""

    task: str
    condition: str
    matched: bool
    to: str


class WaitingTask(msgspec.Struct, frozen=True):
    """What a simulated execution, or a child of it, waits for."""

    task: str
    reason: WakeReason
    detail: str


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """A simulated execution; `duration` is in seconds of virtual time. The `events` are told if asked for."""

    status: ExecutionStatus
    output: Any
    error: TaskError | None
    route: Sequence[str]
    attempts: Sequence[HistoryEntry]
    started_at: Moment
    ended_at: Moment | None
    duration: float
    unmocked: Sequence[str]
    exercised: Sequence[Edge]
    not_exercised: Sequence[Edge]
    waiting: Sequence[WaitingTask] = ()
    stopped: str = ""
    events: Sequence[Event] = ()


class CaseDifference(msgspec.Struct, frozen=True):
    """Where a golden case came out otherwise: a JSON Pointer into `expect`."""

    pointer: str
    expected: Any
    actual: Any


class CaseOutcome(msgspec.Struct, frozen=True):
    """A golden case that was run."""

    name: str
    passed: bool
    differences: Sequence[CaseDifference]
    simulated: Simulated


class Coverage(msgspec.Struct, frozen=True):
    """The ways that the conditions of a flow can choose, by whether a golden case took them."""

    exercised: Sequence[Edge]
    not_exercised: Sequence[Edge]


class Tested(msgspec.Struct, frozen=True):
    """The golden cases of a flow. `truncated`: not all were run."""

    passed: bool
    cases: Sequence[CaseOutcome]
    coverage: Coverage
    truncated: bool = False


class RouteDifference(msgspec.Struct, frozen=True):
    """After which task and task run two routes part, and what each does then."""

    task: str
    run: int
    recorded: str
    new: str


class MissingResult(msgspec.Struct, frozen=True):
    """A result that was never recorded."""

    task: str
    visit: int
    attempt: int


class Compared(msgspec.Struct, frozen=True):
    """A recorded execution, held against an edited flow."""

    execution_id: str
    outcome: Literal["same", "differs", "needs"]
    difference: RouteDifference | None = None
    need: MissingResult | None = None


class DifferenceCount(msgspec.Struct, frozen=True):
    """In how many executions two routes part so."""

    task: str
    recorded: str
    new: str
    executions: int


class NeedCount(msgspec.Struct, frozen=True):
    """In how many executions a result of this task is missing."""

    task: str
    executions: int


class ComparisonSummary(msgspec.Struct, frozen=True):
    """The outcomes counted; differences and needs by how often."""

    same: int
    differs: int
    needs: int
    differences: Sequence[DifferenceCount]
    needed: Sequence[NeedCount]


class WhatIfAnswer(msgspec.Struct, frozen=True):
    """An edited flow against recorded executions. `truncated`: not all were compared."""

    summary: ComparisonSummary
    executions: Sequence[Compared]
    truncated: bool = False
