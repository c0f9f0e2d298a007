"""The operations on schedules."""

from __future__ import annotations

from typing import Any, Final

from flow_manager.api.bodies import Nothing
from flow_manager.api.operation import WRITING, Answer, Body, Operation, Parameter
from flow_manager.api.operations_search import LIMIT
from flow_manager.api.problems import (
    CONCURRENCY_FULL,
    CROSS_ORIGIN,
    INVALID_SCHEDULE,
    NOT_FOUND,
    OVERLOADED,
    RATE_LIMITED,
    VERSION_MISMATCH,
    Kind,
)
from flow_manager.api.schedules import BackfillBody
from flow_manager.core.answers import Accepted
from flow_manager.core.schedule_answers import Backfilled, FireList, Schedule, ScheduleList, Times
from flow_manager.core.schedule_document import ScheduleDocument
from flow_manager.ports.scheduling import DEFAULT_PREVIEWED, MOST_PREVIEWED

_ONE: Final = "/v1/schedules/{schedule_id}"
_COUNT: Final = Parameter(
    "count",
    "So many times.",
    {"type": "integer", "minimum": 1, "maximum": MOST_PREVIEWED, "default": DEFAULT_PREVIEWED},
)
_IF_MATCH: Final = Parameter(
    "If-Match",
    "The `ETag` of the schedule as it was seen.",
    {"type": "string", "examples": ['"1"']},
    place="header",
)
_IF_NONE_MATCH: Final = Parameter(
    "If-None-Match", "`*`: only if there is none.", {"type": "string", "examples": ["*"]}, place="header"
)


def schedule_body() -> dict[str, Any]:
    """The schema of a schedule. It need not say its id: the address does, or nobody wants to know."""
    schema = ScheduleDocument.model_json_schema()
    schema["required"] = [name for name in schema["required"] if name != "id"]
    return schema


_SCHEDULE: Final = Body(
    schedule_body, {"flow_id": "greeting", "cron": "30 2 * * 1-5", "timezone": "Europe/Berlin"}
)


def _change(name: str, summary: str, answers: dict[int, Answer], *problems: Kind) -> Operation:
    return Operation(
        method="POST",
        path=f"{_ONE}:{name}",
        name=f"{name}_schedule",
        summary=summary,
        area="schedules",
        body=Body(Nothing.model_json_schema, {}),
        answers=answers,
        problems=[NOT_FOUND, VERSION_MISMATCH, *problems, *WRITING],
    )


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/schedules",
        name="schedules",
        summary="The schedules.",
        area="schedules",
        parameters=[LIMIT, Parameter("after", "Those with a greater id.", {"type": "string"})],
        answers={200: Answer("By id.", ScheduleList)},
        problems=[OVERLOADED],
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="schedule",
        summary="A schedule, with its next times.",
        area="schedules",
        answers={200: Answer("The schedule.", Schedule, ["ETag"])},
        problems=[NOT_FOUND],
    ),
    Operation(
        method="PUT",
        path=_ONE,
        name="put_schedule",
        summary="Store the schedule in the body.",
        area="schedules",
        parameters=[_IF_MATCH, _IF_NONE_MATCH],
        body=_SCHEDULE,
        answers={
            200: Answer("It is stored in the place of another, or was stored before.", Schedule, ["ETag"]),
            201: Answer("It is new.", Schedule, ["ETag"]),
        },
        problems=[INVALID_SCHEDULE, VERSION_MISMATCH, *WRITING],
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="delete_schedule",
        summary="Have a schedule start nothing more. What it has started goes on.",
        area="schedules",
        parameters=[_IF_MATCH],
        answers={204: Answer("It is not there any more.", None)},
        problems=[NOT_FOUND, CROSS_ORIGIN, VERSION_MISMATCH, OVERLOADED, *WRITING],
    ),
    _change(
        "pause",
        "Have it start nothing, until it is resumed.",
        {200: Answer("It is paused.", Schedule, ["ETag"])},
    ),
    _change("resume", "Have it go on from now.", {200: Answer("It goes on.", Schedule, ["ETag"])}),
    _change(
        "trigger",
        "Start it now.",
        {202: Answer("It was started.", Accepted, ["Location"])},
        INVALID_SCHEDULE,
        RATE_LIMITED,
        CONCURRENCY_FULL,
    ),
    Operation(
        method="POST",
        path=f"{_ONE}:backfill",
        name="backfill_schedule",
        summary="Start those times of the past that have not been started.",
        area="schedules",
        body=Body(
            BackfillBody.model_json_schema,
            {"since": "2026-03-01T00:00:00Z", "until": "2026-03-08T00:00:00Z", "limit": 100},
        ),
        answers={202: Answer("What was started; with `go_on_since` there is more.", Backfilled)},
        problems=[NOT_FOUND, INVALID_SCHEDULE, RATE_LIMITED, CONCURRENCY_FULL, *WRITING],
    ),
    Operation(
        method="GET",
        path=f"{_ONE}/preview",
        name="schedule_times",
        summary="The next times of a schedule.",
        area="schedules",
        parameters=[_COUNT],
        answers={200: Answer("Nominal times: a jitter comes on top.", Times)},
        problems=[NOT_FOUND],
    ),
    Operation(
        method="GET",
        path=f"{_ONE}/fires",
        name="schedule_fires",
        summary="What became of the times of a schedule.",
        area="schedules",
        parameters=[LIMIT],
        answers={200: Answer("The latest first.", FireList)},
        problems=[NOT_FOUND, OVERLOADED],
    ),
    Operation(
        method="POST",
        path="/v1/schedules:preview",
        name="preview_schedule",
        summary="The next times of the schedule in the body, which is not stored.",
        area="schedules",
        parameters=[_COUNT],
        body=_SCHEDULE,
        answers={200: Answer("Nominal times: a jitter comes on top.", Times)},
        problems=[INVALID_SCHEDULE],
        asks_store=False,
    ),
)
