"""The operations on executions as they are many: finding, counting and following them."""

from __future__ import annotations

from typing import Any, Final

from flow_manager.api.bulk import BulkBody
from flow_manager.api.operation import WRITING, Answer, Body, Operation, Parameter
from flow_manager.api.problems import INVALID_CURSOR, NOT_FOUND, OVERLOADED, STOPPING
from flow_manager.api.requests import EVENT_STREAM
from flow_manager.core.answers import ActedOn, Counts, ExecutionList
from flow_manager.core.document_words import ERROR_CODE, ID, LINE
from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.ports.filters import MOST_TEXT
from flow_manager.ports.search import DEFAULT_LISTED, MOST_LABELS_ASKED, MOST_LISTED

LIMIT: Final = Parameter(
    "limit",
    "At most so many.",
    {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": DEFAULT_LISTED},
)
_TIME: Final[dict[str, Any]] = {"type": "string", "format": "date-time"}

_FILTERS: Final = (
    Parameter("flow_id", "Only those of this flow.", {"type": "string", "pattern": f"^{ID}$"}),
    Parameter(
        "version",
        "Only those of this version of the flow `flow_id`.",
        {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    ),
    Parameter(
        "status",
        "Only those with this status.",
        {"type": "string", "enum": [status.value for status in ExecutionStatus]},
    ),
    Parameter("since", "Only those that were accepted then or later.", _TIME),
    Parameter("until", "Only those that were accepted before.", _TIME),
    Parameter(
        "error",
        "Only those that failed with this code, or with a dot at its end, with one that begins so.",
        {"type": "string", "pattern": f"^{ERROR_CODE}$"},
    ),
    Parameter(
        "reason",
        "Only those that wait for this.",
        {"type": "string", "enum": [reason.value for reason in WakeReason]},
    ),
    Parameter(
        "q",
        "Only those with this text in the id of the flow, in a label or in the code of the error, or at the "
        "beginning of their id.",
        {"type": "string", "pattern": LINE, "minLength": 1, "maxLength": MOST_TEXT},
    ),
    Parameter(
        "label",
        "Only those with this label, as `name:value`; can be given several times.",
        {"type": "array", "items": {"type": "string", "pattern": ":"}, "maxItems": MOST_LABELS_ASKED},
    ),
)


def _last_event_id(description: str, **schema: Any) -> Parameter:
    return Parameter("Last-Event-ID", description, {"type": "string", **schema}, place="header")


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/executions",
        name="executions",
        summary="The newest executions, or the newest of those that are looked for.",
        area="executions",
        parameters=[
            *_FILTERS,
            LIMIT,
            Parameter("cursor", "Those after the page that this came with.", {"type": "string"}),
        ],
        answers={200: Answer("The newest first; with a `cursor` there is more to look at.", ExecutionList)},
        problems=[INVALID_CURSOR, OVERLOADED],
    ),
    Operation(
        method="GET",
        path="/v1/executions:counts",
        name="counts",
        summary="How many executions there are of each status.",
        area="executions",
        answers={200: Answer("By status; up to a second old.", Counts)},
        problems=[OVERLOADED],
    ),
    Operation(
        method="POST",
        path="/v1/executions:bulk",
        name="bulk",
        summary="Do the same with many executions, or count them.",
        area="executions",
        body=Body(
            BulkBody.model_json_schema,
            {"action": "retry", "filter": {"flow_id": "greeting", "error": "http."}, "dry_run": True},
        ),
        answers={200: Answer("How many were found, and what became of it.", ActedOn)},
        problems=[INVALID_CURSOR, *WRITING],
    ),
    Operation(
        method="GET",
        path="/v1/executions:events",
        name="changes",
        summary="A stream of the changes of status of all executions.",
        area="executions",
        parameters=[_last_event_id("The id of the last event that was told; go on after it.")],
        answers={200: Answer("Server-sent events, without an end.", content_type=EVENT_STREAM)},
        problems=[OVERLOADED, STOPPING],
    ),
    Operation(
        method="GET",
        path="/v1/executions/{execution_id}/events",
        name="events",
        summary="A stream of the events of an execution, until it has ended.",
        area="executions",
        parameters=[
            _last_event_id(
                "The `seq` of the last event that was told; go on after it.", pattern="^[0-9]{1,9}$"
            )
        ],
        answers={
            200: Answer("Server-sent events.", content_type=EVENT_STREAM),
            204: Answer("It has ended, and all was told.", None),
        },
        problems=[NOT_FOUND, OVERLOADED, STOPPING],
    ),
)
