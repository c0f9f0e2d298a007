"""The written form of a flow: what a JSON document may say, field by field.

These models are the one source of the published JSON Schema. What no schema can say (names that
exist, ways that lead to an end) is in `core.checks`; unknown fields are found by `core.misfits`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.types import StringConstraints
from pydantic_core import PydanticCustomError

from flow_manager.core.definition import ENDS, Jitter, OnLost, Outcome, WebhookEvent, WhenFull
from flow_manager.core.document_words import (
    ID,
    LABEL,
    SECRET,
    URL,
    Duration,
    ErrorCode,
    ExpressionText,
    JsonSchema,
    LabelValue,
    Line,
    Name,
    Text,
    name_of,
)

MOST_TASKS: Final = 10_000
MOST_CONDITIONS: Final = 40_000
"""One for each outcome of each of the most tasks."""
MOST_TASK_RUNS: Final = 10_000
MOST_LABELS: Final = 64
MOST_ATTEMPTS: Final = 100
MOST_BACKOFF: Final = 100
MOST_CODES: Final = 64
MOST_CASES: Final = 1_000
MOST_WEBHOOKS: Final = 8
LONGEST_URL: Final = 2_048
MOST_SLOTS: Final = 1_000
MOST_STARTS: Final = 1_000_000

_WRITTEN = ConfigDict(
    strict=True,
    extra="ignore",
    json_schema_extra={"additionalProperties": False, "patternProperties": {"^x-": True}},
)

WRITTEN: Final = _WRITTEN
"""How every written document is read."""


class RetryDocument(BaseModel):
    """When a failed attempt of a task is followed by another."""

    model_config = _WRITTEN

    max_attempts: int = Field(
        1, ge=1, le=MOST_ATTEMPTS, description="Attempts of one task run, the first one included."
    )
    delay: Duration = Field(timedelta(seconds=1), description="Wait before the second attempt. Default 1s.")
    backoff: float = Field(
        2.0,
        ge=1,
        le=MOST_BACKOFF,
        description="What each further wait is multiplied by.",
        allow_inf_nan=False,
    )
    max_delay: Duration | None = Field(
        None, description="The longest wait. Default 5m, or delay if that is longer."
    )
    jitter: Jitter = Field(
        "full", description="full: wait a random share of the time; none: wait exactly as long."
    )
    budget: Duration | None = Field(
        None, description="Total time of a task run, waits included; no attempt is scheduled beyond it."
    )
    retry_on: list[ErrorCode] = Field(
        [], max_length=MOST_CODES, description="Error codes, or starts of them, to retry. Default: all."
    )
    never_on: list[ErrorCode] = Field(
        [], max_length=MOST_CODES, description="Error codes, or starts of them, not to retry; wins."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_delay is not None and self.max_delay < self.delay:
            raise PydanticCustomError("order", "max_delay must not be shorter than delay")
        return self


class TaskDocument(BaseModel):
    """A task of the flow."""

    model_config = _WRITTEN

    name: Name = Field(description="Name of the task in this flow.")
    description: Text = Field("", description="What the task does, for people.")
    type: Name | None = Field(None, description="The registered task to run. Default: the name.")
    input: dict[str, Any] | None = Field(
        None, description="What the task is given; texts may hold expressions, as ${ ... }."
    )
    output_schema: JsonSchema | None = Field(
        None, description="JSON Schema of the data of a success; data that does not fit is a failure."
    )
    timeout: Duration | None = Field(None, description="The longest time of one attempt.")
    heartbeat_timeout: Duration | None = Field(
        None, description="The longest time between two heartbeats of an attempt."
    )
    retry: RetryDocument | None = Field(None, description="How failures are retried. Default: not at all.")
    on_lost: OnLost = Field(
        "retry",
        description="If the worker dies during an attempt: retry starts it again, unknown never does.",
    )
    optional: bool = Field(False, description="Whether a failure routes as if the task had succeeded.")
    run_when: ExpressionText | None = Field(
        None, description="Expression: where it is false, the task is skipped, and routes as success."
    )
    compensate_with: Name | None = Field(
        None, description="The task that undoes this one if the execution fails or is cancelled."
    )


class ConditionDocument(BaseModel):
    """Where the flow goes on after a task."""

    model_config = _WRITTEN

    name: Name = Field(description="Name of the condition in this flow.")
    description: Text = Field("", description="What the condition is for.")
    source_task: Name = Field(description="The task whose outcome is looked at.")
    outcome: Outcome = Field(
        "success", description="The outcome that matches. failure matches every outcome but success."
    )
    when: ExpressionText | None = Field(
        None, description="Expression: the condition matches only where it is true."
    )
    target_task_success: Name = Field("end", description="The next task if the condition matches, or end.")
    target_task_failure: Name = Field(
        "end",
        description="The next task if no condition of the source task matches, or end; used of the last.",
    )


class WebhookDocument(BaseModel):
    """An address that is told what becomes of an execution."""

    model_config = _WRITTEN

    url: Annotated[str, StringConstraints(pattern=URL, max_length=LONGEST_URL, strict=True)] = Field(
        description="An absolute http or https URL; it is sent a POST request."
    )
    events: list[WebhookEvent] = Field(
        list(ENDS), min_length=1, max_length=16, description="What it is told of. Default: every end."
    )
    secret: Annotated[str, name_of(SECRET)] | None = Field(
        None, description="Name of the secret that signs what is sent."
    )


class OnEndDocument(BaseModel):
    """What happens when an execution ends."""

    model_config = _WRITTEN

    webhooks: list[WebhookDocument] = Field(
        [], max_length=MOST_WEBHOOKS, description="Who is told, each at another address."
    )


class ConcurrencyDocument(BaseModel):
    """How many executions of the flow go on at once."""

    model_config = _WRITTEN

    key: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=4096)] | None = Field(
        None,
        description="Executions with the same key count together; may hold ${ ... } over input.",
    )
    limit: int = Field(ge=1, le=MOST_SLOTS, description="So many with the same key go on at once.")
    when_full: WhenFull = Field(
        "queue", description="queue: further executions wait for a slot; reject: they are refused."
    )


class RateDocument(BaseModel):
    """How often the published flow may be started."""

    model_config = _WRITTEN

    limit: int = Field(ge=1, le=MOST_STARTS, description="So many starts in each period.")
    per: Duration = Field(description="The period.")


class FlowDocument(BaseModel):
    """Tasks that run one after another, and the conditions that choose the next."""

    model_config = _WRITTEN

    id: Annotated[str, name_of(ID)] = Field(description="Unique identifier of the flow.")
    name: Line = Field(description="Name of the flow, for people.")
    description: Text = Field("", description="What the flow does.")
    labels: dict[Annotated[str, name_of(LABEL)], LabelValue] = Field(
        {}, max_length=MOST_LABELS, description="Names and values to find executions by."
    )
    input_schema: JsonSchema | None = Field(
        None, description="JSON Schema (2020-12) of the input of an execution; its defaults are filled in."
    )
    output: Any = Field(
        None, description="The output of a completed execution; texts may hold expressions, as ${ ... }."
    )
    start_task: Name = Field(description="Name of the first task.")
    tasks: list[TaskDocument] = Field(
        min_length=1, max_length=MOST_TASKS, description="The tasks, in any order."
    )
    conditions: list[ConditionDocument] = Field(
        [],
        max_length=MOST_CONDITIONS,
        description="The conditions. Those of one task are read in this order; the first match counts.",
    )
    timeout: Duration | None = Field(None, description="The longest time of a whole execution.")
    max_task_runs: int = Field(
        1000, ge=1, le=MOST_TASK_RUNS, description="Task runs of one execution; bounds loops."
    )
    concurrency: ConcurrencyDocument | None = Field(
        None, description="How many executions go on at once. Default: any number."
    )
    rate: RateDocument | None = Field(
        None, description="How often the published flow may be started. Default: at any time."
    )
    tests: list[dict[str, Any]] = Field(
        [], max_length=MOST_CASES, description="Golden cases: simulations, and what is expected of each."
    )
    on_end: OnEndDocument | None = Field(None, description="Who is told when an execution ends.")


def flow_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of flow documents, both bare and wrapped in `flow`."""
    schema = FlowDocument.model_json_schema(ref_template="#/$defs/{model}")
    definitions = schema.pop("$defs")
    definitions["FlowDocument"] = schema
    bare = {"$ref": "#/$defs/FlowDocument"}
    wrapped = {
        "type": "object",
        "properties": {
            "flow": bare,
            "input": {"type": "object", "description": "The input of an execution of this flow."},
            "labels": schema["properties"]["labels"],
        },
        "required": ["flow"],
        "additionalProperties": False,
        "patternProperties": {"^x-": True},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Flow",
        "description": FlowDocument.__doc__,
        "if": {"type": "object", "required": ["flow"]},
        "then": wrapped,
        "else": bare,
        "$defs": definitions,
    }
