"""The error that a problem of the service is raised as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import httpx
import msgspec

from flow_manager.core.answers import InputProblem, ProblemDetails
from flow_manager.errors import (
    ApprovalOver,
    ConcurrencyFull,
    CursorInvalid,
    ExecutionOver,
    ExecutionPruned,
    ExpectationMissing,
    FlowChanged,
    FlowManagerError,
    InvalidFlow,
    InvalidInput,
    InvalidRequest,
    InvalidSchedule,
    MalformedJson,
    NotAsked,
    OutcomeUnknown,
    Overloaded,
    Problem,
    ProblemError,
    RateLimited,
    ScheduleConflict,
    ShuttingDown,
    SignalUnknown,
    StartedBefore,
    StateForbids,
    StoreError,
    StoreFull,
    StoreReadOnly,
    TooLarge,
    TooMuchMail,
)

PROBLEM_JSON: Final = "application/problem+json"

ERRORS: Final[Mapping[str, type[FlowManagerError]]] = {
    "malformed-json": MalformedJson,
    "invalid-request": InvalidRequest,
    "invalid-flow": InvalidFlow,
    "invalid-schedule": InvalidSchedule,
    "invalid-cursor": CursorInvalid,
    "too-large": TooLarge,
    "already-terminal": ExecutionOver,
    "state-forbids": StateForbids,
    "unknown-signal": SignalUnknown,
    "too-many-signals": TooMuchMail,
    "already-answered": ApprovalOver,
    "not-asked": NotAsked,
    "idempotency-conflict": StartedBefore,
    "execution-pruned": ExecutionPruned,
    "precondition-required": ExpectationMissing,
    "precondition-failed": FlowChanged,
    "version-mismatch": ScheduleConflict,
    "rate-limited": RateLimited,
    "concurrency-full": ConcurrencyFull,
    "overloaded": Overloaded,
    "stopping": ShuttingDown,
    "no-space": StoreFull,
    "read-only": StoreReadOnly,
    "outcome-unknown": OutcomeUnknown,
    "store-unavailable": StoreError,
}
"""The error of each kind of problem; of those that are not listed it is `ProblemError` itself."""


def failure_of(response: httpx.Response, unknown: type[FlowManagerError] | None) -> FlowManagerError:
    """The error that an answer stands for. Where it has a class of its own, its cause is the `ProblemError`
    with all that the answer says. `unknown` is what it is if nothing was found; None if nothing was asked
    for by a name."""
    problem = problem_of(response)
    kind = unknown if problem.type == "not-found" else ERRORS.get(problem.type)
    if kind is None:
        return problem
    error = _made(kind, problem, response)
    error.__cause__ = problem
    return error


def _made(kind: type[FlowManagerError], problem: ProblemError, response: httpx.Response) -> FlowManagerError:
    if issubclass(kind, InvalidInput):
        return kind(problem.detail, problem.problems)
    if issubclass(kind, Overloaded | RateLimited):
        return kind(problem.detail, retry_after_of(response) or 1)
    if issubclass(kind, StartedBefore):
        details = msgspec.json.decode(response.content, type=ProblemDetails)
        return kind(problem.detail, details.execution_id)
    return kind(problem.detail)


def problem_of(response: httpx.Response) -> ProblemError:
    """What the answer says; of one that is none of Flow Manager's, that it is not."""
    if response.headers.get("Content-Type") == PROBLEM_JSON:
        try:
            details = msgspec.json.decode(response.content, type=ProblemDetails)
        except msgspec.MsgspecError:
            return strange(response)
        return ProblemError(
            details.detail,
            status=details.status,
            type=details.type.removeprefix("/problems/"),
            instance=details.instance,
            problems=[_problem(each) for each in details.errors],
        )
    return strange(response)


def strange(response: httpx.Response) -> ProblemError:
    """An answer that no Flow Manager gives."""
    content_type = response.headers.get("Content-Type", "nothing")[:64]
    detail = (
        f"{response.request.method} {response.request.url} was answered {response.status_code} with "
        f"{content_type}, as no Flow Manager of this version does; is the address right?"
    )
    return ProblemError(detail, status=response.status_code)


def retry_after_of(response: httpx.Response) -> int | None:
    """The seconds of `Retry-After`, if it names some."""
    text = response.headers.get("Retry-After", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


def _problem(fault: InputProblem) -> Problem:
    """Query parameters and headers are places as well."""
    place = fault.pointer or fault.parameter or fault.header or "#"
    return Problem(place, fault.code, fault.detail, fault.hint, fault.line, fault.column, fault.offset)
