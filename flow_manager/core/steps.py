"""Task types without a body: the engine does by itself what they say.

Their inputs are models, like those of any task type. `transform`, `succeed` and `fail` have their
result at once; the others wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from flow_manager.core.document_words import Duration, ErrorCode, Line, Name, Text
from flow_manager.core.durations import LONGEST

MOST_ITEMS: Final = 10_000
MOST_PARALLEL: Final = 1_000

_INPUT = ConfigDict(strict=True, extra="forbid", populate_by_name=True)


def _moment(text: str) -> datetime:
    """A time of the calendar, with its zone. Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone, such as Z or +02:00")
    return moment.astimezone(UTC)


class WaitInput(BaseModel):
    """Wait for a time, or for a duration."""

    model_config = _INPUT

    duration: Duration | None = Field(None, alias="for", description="How long to wait.")
    until: str | None = Field(None, max_length=64, description="ISO 8601 with a zone: when to go on.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.duration is None) == (self.until is None):
            raise PydanticCustomError("schema", "a wait has either 'for' or 'until'")
        if self.until is not None:
            try:
                _moment(self.until)
            except (ValueError, OverflowError) as error:
                raise PydanticCustomError(
                    "bad-time", "'until' is not a time: {reason}", {"reason": str(error)}
                ) from error
        return self

    def end(self, now: datetime) -> datetime:
        """When to go on, at most 366 days from now."""
        if self.duration is not None:
            return now + self.duration
        return min(_moment(self.until or ""), now + LONGEST)


class SignalInput(BaseModel):
    """Wait for a signal."""

    model_config = _INPUT

    name: Name | None = Field(None, description="Name of the signal. Default: the name of the task.")
    timeout: Duration | None = Field(None, description="How long to wait at most.")


class ApprovalInput(BaseModel):
    """Wait for somebody's answer to a question."""

    model_config = _INPUT

    question: Text = Field(description="What is asked.")
    form: dict[str, Any] | None = Field(None, description="JSON Schema of what goes with the answer.")
    answer_by: list[Annotated[str, Field(max_length=255)]] = Field(
        [], max_length=100, description="Who may answer. Default: anybody who has the link."
    )
    timeout: Duration | None = Field(None, description="How long to wait at most.")


class FlowInput(BaseModel):
    """Run another flow as a child, and wait for its end."""

    model_config = _INPUT

    flow: dict[str, Any] = Field(description="The flow, a document of its own.")
    input: dict[str, Any] = Field(default_factory=dict, description="The input of the child.")


class ForEachInput(FlowInput):
    """Run another flow once for each item of a list, and wait for all ends."""

    items: list[Any] = Field(max_length=MOST_ITEMS, description="What to run it for, in order.")
    max_parallel: int = Field(10, ge=1, le=MOST_PARALLEL, description="Children that are open at once.")
    tolerate: int = Field(0, ge=0, le=MOST_ITEMS, description="Children that may fail.")


class TransformInput(BaseModel):
    """The result is the input."""

    model_config = ConfigDict(extra="allow")


class SucceedInput(BaseModel):
    """End the flow here, completed."""

    model_config = _INPUT

    message: Line = Field("", description="Why.")
    output: Any = Field(None, description="The output of the execution.")


class FailInput(BaseModel):
    """End the flow here, failed."""

    model_config = _INPUT

    code: ErrorCode = Field("flow.failed", description="The code of the error.")
    message: Line = Field("the flow ended itself as failed", description="Why.")
    output: Any = Field(None, description="The output of the execution.")


STEP_TYPES: Final[Mapping[str, type[BaseModel]]] = MappingProxyType(
    {
        "wait": WaitInput,
        "signal": SignalInput,
        "approval": ApprovalInput,
        "flow": FlowInput,
        "for_each": ForEachInput,
        "transform": TransformInput,
        "succeed": SucceedInput,
        "fail": FailInput,
    }
)
"""The task types that need no code, and what each is given."""


def description_of(step_type: str) -> str:
    """One line about a task type that needs no code."""
    return (STEP_TYPES[step_type].__doc__ or "").splitlines()[0]


WITH_CHILDREN: Final = frozenset({"flow", "for_each"})
LAST_STEPS: Final = frozenset({"succeed", "fail"})


def first_misfit(error: ValidationError) -> str:
    """One sentence about an input that does not fit, and where."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def deadline(now: datetime, *durations: timedelta | None) -> datetime | None:
    """The earliest of several ends; None if there is none."""
    ends = [now + duration for duration in durations if duration is not None]
    return min(ends) if ends else None
