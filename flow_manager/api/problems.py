"""Problems: every answer of 4xx and 5xx, as RFC 9457 describes them.

`KINDS` is the one table from errors to statuses. A `Refusal` is a problem that only HTTP knows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flask import Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from flow_manager.api.answers import json_response
from flow_manager.errors import (
    ApprovalOver,
    ApprovalUnknown,
    ConcurrencyFull,
    CursorInvalid,
    ExecutionOver,
    ExecutionPruned,
    ExecutionUnknown,
    ExpectationMissing,
    FlowChanged,
    FlowManagerError,
    FlowUnknown,
    InvalidFlow,
    InvalidInput,
    InvalidRequest,
    InvalidSchedule,
    MalformedJson,
    NotAsked,
    OutcomeUnknown,
    Overloaded,
    RateLimited,
    ScheduleConflict,
    ScheduleUnknown,
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

log = logging.getLogger(__name__)

PROBLEM_JSON: Final = "application/problem+json"
MOST_ERRORS: Final = 100
REQUEST_ID: Final = "flow_manager.request_id"
"""The member of the WSGI environment that holds the id of the request."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem. Its `type` is `/problems/<name>`; `retry_after` is in seconds."""

    status: int
    name: str
    title: str
    retry_after: int | None = None


BAD_REQUEST = Kind(400, "bad-request", "The request cannot be read")
MALFORMED_JSON = Kind(400, "malformed-json", "The body is not acceptable JSON")
BAD_HOST = Kind(400, "bad-host", "The Host header does not name this service")
INVALID_CURSOR = Kind(400, "invalid-cursor", "The cursor does not belong to this list")
BAD_IDEMPOTENCY_KEY = Kind(400, "bad-idempotency-key", "The Idempotency-Key header cannot be used")
NOT_ASKED = Kind(403, "not-asked", "Somebody else was asked")
CROSS_ORIGIN = Kind(403, "cross-origin", "The request comes from a page of another origin")
NOT_FOUND = Kind(404, "not-found", "There is nothing here")
METHOD_NOT_ALLOWED = Kind(405, "method-not-allowed", "The resource does not answer to this method")
NOT_ACCEPTABLE = Kind(406, "not-acceptable", "The answers of this service are JSON")
ALREADY_TERMINAL = Kind(409, "already-terminal", "The execution has ended")
STATE_FORBIDS = Kind(409, "state-forbids", "The execution cannot do this as it stands")
ALREADY_ANSWERED = Kind(409, "already-answered", "The question needs no answer any more")
EXECUTION_PRUNED = Kind(410, "execution-pruned", "What this request has started was removed since")
VERSION_MISMATCH = Kind(412, "version-mismatch", "It was changed meanwhile")
PRECONDITION_FAILED = Kind(412, "precondition-failed", "Somebody else was faster")
TOO_LARGE = Kind(413, "too-large", "The request is too large")
UNSUPPORTED_MEDIA_TYPE = Kind(415, "unsupported-media-type", "The body is not of an accepted type")
INVALID_REQUEST = Kind(422, "invalid-request", "The request is not valid")
INVALID_FLOW = Kind(422, "invalid-flow", "The flow definition is not valid")
INVALID_SCHEDULE = Kind(422, "invalid-schedule", "The schedule is not valid")
UNKNOWN_SIGNAL = Kind(422, "unknown-signal", "Nothing waits for such a signal")
IDEMPOTENCY_CONFLICT = Kind(422, "idempotency-conflict", "The idempotency key was used for another request")
PRECONDITION_REQUIRED = Kind(428, "precondition-required", "Say which version this takes the place of")
TOO_MANY_SIGNALS = Kind(429, "too-many-signals", "Too many signals wait to be taken up", retry_after=5)
RATE_LIMITED = Kind(429, "rate-limited", "The flow was started as often as it may be")
CONCURRENCY_FULL = Kind(429, "concurrency-full", "As many executions are open as may be", retry_after=5)
INTERNAL_ERROR = Kind(500, "internal-error", "The service failed")
OVERLOADED = Kind(503, "overloaded", "The service is full", retry_after=1)
STOPPING = Kind(503, "stopping", "The service is stopping", retry_after=5)
NOT_READY = Kind(503, "not-ready", "The service accepts no new work", retry_after=5)
READ_ONLY = Kind(503, "read-only", "The store cannot be written")
OUTCOME_UNKNOWN = Kind(503, "outcome-unknown", "It is not known whether this happened")
STORE_UNAVAILABLE = Kind(503, "store-unavailable", "The store does not answer", retry_after=5)
NO_SPACE = Kind(507, "no-space", "There is no space left to store this", retry_after=5)

KINDS: Final[Mapping[type[BaseException], Kind]] = {
    MalformedJson: MALFORMED_JSON,
    InvalidRequest: INVALID_REQUEST,
    InvalidFlow: INVALID_FLOW,
    InvalidSchedule: INVALID_SCHEDULE,
    ScheduleUnknown: NOT_FOUND,
    ScheduleConflict: VERSION_MISMATCH,
    TooLarge: TOO_LARGE,
    InvalidInput: INVALID_REQUEST,
    CursorInvalid: INVALID_CURSOR,
    ExecutionUnknown: NOT_FOUND,
    ExecutionOver: ALREADY_TERMINAL,
    StateForbids: STATE_FORBIDS,
    SignalUnknown: UNKNOWN_SIGNAL,
    TooMuchMail: TOO_MANY_SIGNALS,
    ApprovalUnknown: NOT_FOUND,
    ApprovalOver: ALREADY_ANSWERED,
    NotAsked: NOT_ASKED,
    FlowUnknown: NOT_FOUND,
    ExpectationMissing: PRECONDITION_REQUIRED,
    FlowChanged: PRECONDITION_FAILED,
    StartedBefore: IDEMPOTENCY_CONFLICT,
    ExecutionPruned: EXECUTION_PRUNED,
    RateLimited: RATE_LIMITED,
    ConcurrencyFull: CONCURRENCY_FULL,
    Overloaded: OVERLOADED,
    ShuttingDown: STOPPING,
    StoreFull: NO_SPACE,
    StoreReadOnly: READ_ONLY,
    OutcomeUnknown: OUTCOME_UNKNOWN,
    StoreError: STORE_UNAVAILABLE,
}
"""The kind of each error; an error that is not listed is of the kind of its nearest base class."""

HTTP_KINDS: Final[Mapping[int, Kind]] = {
    kind.status: kind
    for kind in (NOT_FOUND, METHOD_NOT_ALLOWED, NOT_ACCEPTABLE, TOO_LARGE, UNSUPPORTED_MEDIA_TYPE)
}
"""The kinds of what the routing of Flask refuses; other statuses of 4xx are a `BAD_REQUEST`."""


class Refusal(Exception):
    """Raised by the API itself to answer with a problem.

    `errors` are members of the list of the same name, `members` further members of the problem.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Sequence[tuple[str, str]] = (),
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = headers
        self.members = members or {}

    def to_response(self, request_id: str) -> Response:
        kind = self.kind
        body: dict[str, Any] = {
            "type": f"/problems/{kind.name}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "instance": f"/requests/{request_id}",
            **self.members,
        }
        if self.errors:
            body["errors"] = self.errors[:MOST_ERRORS]
        if len(self.errors) > MOST_ERRORS:
            body["errors_truncated"] = True
        headers = [("Content-Type", PROBLEM_JSON), *self.headers]
        if kind.retry_after is not None and not any(name == "Retry-After" for name, _ in self.headers):
            headers.append(("Retry-After", str(kind.retry_after)))
        return json_response(body, kind.status, headers)


def problem_of(error: FlowManagerError) -> dict[str, Any]:
    """An error as a part of an answer about several things."""
    refusal = _of_error(error)
    kind = refusal.kind
    body = {"type": f"/problems/{kind.name}", "title": kind.title, "status": kind.status}
    body |= {"detail": refusal.detail, **refusal.members}
    return body | ({"errors": refusal.errors[:MOST_ERRORS]} if refusal.errors else {})


def answer_error(error: Exception) -> Response:
    """The problem of any exception; what nobody foresaw is logged and told to nobody."""
    request_id: str = request.environ[REQUEST_ID]
    if isinstance(error, Refusal):
        refusal = error
    elif isinstance(error, HTTPException):
        refusal = _of_routing(error)
    else:
        refusal = _of_error(error)
    if refusal.kind.status >= 500:
        _log(refusal.kind, error, request_id)
    return refusal.to_response(request_id)


def _of_routing(error: HTTPException) -> Refusal:
    if isinstance(error, MethodNotAllowed):
        allowed = allowed_by(error)
        return Refusal(METHOD_NOT_ALLOWED, f"allowed here: {allowed}", headers=[("Allow", allowed)])
    status = error.code or 500
    if status >= 500:
        return Refusal(INTERNAL_ERROR, _INTERNAL)
    kind = HTTP_KINDS.get(status, BAD_REQUEST)
    return Refusal(kind, _NOWHERE if kind is NOT_FOUND else kind.title)


def allowed_by(error: MethodNotAllowed) -> str:
    """The methods that are allowed instead, as `Allow` names them."""
    return ", ".join(sorted(error.valid_methods or ()))


def _of_error(error: Exception) -> Refusal:
    kind = next((KINDS[each] for each in type(error).__mro__ if each in KINDS), INTERNAL_ERROR)
    if kind is INTERNAL_ERROR:
        return Refusal(kind, _INTERNAL)
    if isinstance(error, InvalidInput):
        errors = [problem.to_json() for problem in error.problems]
        # A body that is refused by its size is not read to its end, so nothing else can follow it.
        headers = [("Connection", "close")] if kind is TOO_LARGE else []
        return Refusal(kind, str(error), errors=errors, headers=headers)
    if isinstance(error, StartedBefore):
        members = {"execution_id": error.execution_id}
        if kind is not EXECUTION_PRUNED:
            members["execution"] = f"/v1/executions/{error.execution_id}"
        return Refusal(kind, str(error), members=members)
    if isinstance(error, Overloaded | RateLimited):
        return Refusal(kind, str(error), headers=[("Retry-After", str(error.retry_after))])
    if kind is STORE_UNAVAILABLE:
        return Refusal(kind, "the store cannot do this now; the log of the service says why")
    return Refusal(kind, str(error))


def _log(kind: Kind, error: Exception, request_id: str) -> None:
    if kind is INTERNAL_ERROR:
        log.error("request %s failed", request_id, exc_info=error)
    elif not isinstance(error, FlowManagerError | Refusal) or isinstance(error, StoreError):
        log.warning("request %s was answered %d %s: %s", request_id, kind.status, kind.name, error)


_INTERNAL: Final = (
    "the fault is in the service and not in the request; it was logged under the id of the request"
)
_NOWHERE: Final = "no resource has this address; GET / lists those that exist"
