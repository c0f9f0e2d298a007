"""The operations on published flows: their versions, and starting them."""

from __future__ import annotations

from typing import Any, Final

from flow_manager.api.keys import MOST_KEY, REPLAYED
from flow_manager.api.operation import WRITING, Answer, Body, Operation, Parameter
from flow_manager.api.operations_flows import (
    EXAMPLE,
    IDEMPOTENCY_KEY,
    PREFER,
    STARTED_ONCE,
    flow_body,
)
from flow_manager.api.operations_search import LIMIT
from flow_manager.api.problems import (
    CROSS_ORIGIN,
    INVALID_FLOW,
    NOT_FOUND,
    OVERLOADED,
    PRECONDITION_FAILED,
    PRECONDITION_REQUIRED,
    RATE_LIMITED,
)
from flow_manager.api.starts import BatchBody, Item, StartBody
from flow_manager.core.answers import Execution
from flow_manager.core.document import flow_schema
from flow_manager.core.flow_answers import (
    DeletedFlow,
    FlowList,
    FlowVersion,
    StartedAll,
    VersionList,
    VersionWithFlow,
)

_IF_MATCH: Final = Parameter(
    "If-Match",
    "The `ETag` of the newest version, or `*` for any: which one this change is meant for.",
    {"type": "string", "examples": ["*"]},
    place="header",
)
_OPEN: Final[dict[str, Any]] = {"additionalProperties": False, "patternProperties": {"^x-": True}}
"""Members of one's own begin with `x-`."""


def _labels() -> dict[str, Any]:
    """The labels of an execution follow the same rules as those of a flow."""
    schema: dict[str, Any] = flow_schema()["$defs"]["FlowDocument"]["properties"]["labels"]
    return schema


def start_body() -> dict[str, Any]:
    schema = StartBody.model_json_schema() | _OPEN
    schema["properties"]["labels"] = _labels()
    schema["properties"]["start_at"] = {
        "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
        "default": None,
        "description": "A time with its zone before which it does not begin.",
    }
    return schema


def batch_body() -> dict[str, Any]:
    """The items are judged one by one, so those that are wrong do not hinder the others."""
    item = Item.model_json_schema() | _OPEN
    item["properties"]["labels"] = _labels()
    item["properties"]["key"] = {
        "anyOf": [{"type": "string", "minLength": 1, "maxLength": MOST_KEY}, {"type": "null"}],
        "default": None,
        "description": "An idempotency key.",
    }
    schema = BatchBody.model_json_schema() | _OPEN
    schema["properties"]["items"]["items"] = {"$ref": "#/$defs/StartItem"}
    return {**schema, "$defs": {"StartItem": {**item, "title": "StartItem"}}}


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/flows",
        name="flows",
        summary="The published flows.",
        area="published flows",
        parameters=[LIMIT, Parameter("after", "Those with a greater id.", {"type": "string"})],
        answers={200: Answer("The newest version of each, by id.", FlowList)},
        problems=[OVERLOADED],
    ),
    Operation(
        method="GET",
        path="/v1/flows/{flow_id}",
        name="flow",
        summary="The newest version of a flow, with its document.",
        area="published flows",
        answers={200: Answer("The version.", VersionWithFlow, ["ETag"])},
        problems=[NOT_FOUND],
    ),
    Operation(
        method="PUT",
        path="/v1/flows/{flow_id}",
        name="publish",
        summary="Publish the flow in the body, as a new version if the newest one is not the same.",
        area="published flows",
        parameters=[_IF_MATCH],
        body=Body(flow_body, {"flow": EXAMPLE["flow"]}),
        answers={
            200: Answer("The newest version is the same.", FlowVersion, ["Location", "ETag"]),
            201: Answer("The new version.", FlowVersion, ["Location", "ETag"]),
        },
        problems=[NOT_FOUND, INVALID_FLOW, PRECONDITION_FAILED, PRECONDITION_REQUIRED, *WRITING],
    ),
    Operation(
        method="DELETE",
        path="/v1/flows/{flow_id}",
        name="delete_flow",
        summary="Let a flow be started no more.",
        area="published flows",
        parameters=[_IF_MATCH],
        answers={200: Answer("It cannot be started any more; its versions stay.", DeletedFlow)},
        problems=[NOT_FOUND, CROSS_ORIGIN, PRECONDITION_FAILED, *WRITING],
    ),
    Operation(
        method="GET",
        path="/v1/flows/{flow_id}/versions",
        name="versions",
        summary="All versions of a flow, also of a deleted one.",
        area="published flows",
        parameters=[
            LIMIT,
            Parameter(
                "before",
                "Those before this number.",
                {"type": "integer", "minimum": 1, "maximum": 999_999_999},
            ),
        ],
        answers={200: Answer("The newest first.", VersionList)},
        problems=[NOT_FOUND, OVERLOADED],
    ),
    Operation(
        method="GET",
        path="/v1/flows/{flow_id}/versions/{version}",
        name="version",
        summary="A version of a flow, with its document.",
        area="published flows",
        answers={200: Answer("The version.", VersionWithFlow, ["ETag"])},
        problems=[NOT_FOUND],
    ),
    Operation(
        method="POST",
        path="/v1/flows/{flow_id}/executions",
        name="start",
        summary="Start a published flow.",
        area="published flows",
        parameters=[PREFER, IDEMPOTENCY_KEY],
        body=Body(start_body, {"input": {"name": "Ada"}, "labels": {"team": "shop"}}),
        answers={
            200: Answer("It was started before, with the same key.", Execution, ["Location", REPLAYED]),
            201: Answer("It has ended; also if it failed.", Execution, ["Location", "Preference-Applied"]),
            202: Answer("It goes on.", Execution, ["Location", "Preference-Applied"]),
        },
        problems=[NOT_FOUND, RATE_LIMITED, *STARTED_ONCE],
    ),
    Operation(
        method="POST",
        path="/v1/flows/{flow_id}/executions:batch",
        name="start_all",
        summary="Start a published flow several times, in one transaction.",
        area="published flows",
        body=Body(batch_body, {"items": [{"input": {"name": "Ada"}, "key": "order-7"}, {}]}),
        answers={200: Answer("One answer for each item; also if none was started.", StartedAll)},
        problems=[NOT_FOUND, *WRITING],
    ),
)
