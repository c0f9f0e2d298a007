"""The written form of a schedule: which flow is started, when, and what if that is not possible."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from flow_manager.core.document import MOST_LABELS, WRITTEN
from flow_manager.core.document_words import ID, LABEL, Duration, LabelValue, Text, name_of
from flow_manager.core.findings import Findings
from flow_manager.core.misfits import find_unknown_names, fitting
from flow_manager.core.plain import shown
from flow_manager.core.schedules import (
    FARTHEST,
    UTC_ZONE,
    BadCron,
    Cron,
    Every,
    NeverFires,
    Once,
    TimeRule,
    zone_names,
    zone_of,
)
from flow_manager.core.values import canonical, find_fault
from flow_manager.errors import InvalidSchedule

Overlap = Literal["skip", "queue", "cancel", "allow"]
Missed = Literal["skip", "latest", "all"]

MOST_INPUT: Final = 256 << 10
"""Bytes of the input that a schedule may hold."""
SHORTEST: Final = timedelta(seconds=1)
LONGEST_JITTER: Final = timedelta(days=1)
_LONGEST_TIME: Final = 64
_RULES: Final = ("cron", "every", "at")
_HAS_DATE_AND_TIME: Final = re.compile(r"\d{4}-?\d\d-?\d\d[T ]\d\d")


def _time(value: object) -> datetime:
    if not isinstance(value, str) or len(value) > _LONGEST_TIME or not _HAS_DATE_AND_TIME.match(value):
        raise PydanticCustomError("bad-time", "a time is written as 2026-03-29T02:30:00+01:00")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise PydanticCustomError("bad-time", "not a time: {reason}", {"reason": str(error)}) from error
    raise PydanticCustomError("bad-time", "a time needs its zone, such as Z or +02:00")


Time = Annotated[datetime, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]


class ScheduleDocument(BaseModel):
    """A schedule: the flow that it starts, and when."""

    model_config = WRITTEN

    id: Annotated[str, name_of(ID)] = Field(description="Unique identifier of the schedule.")
    description: Text = Field("", description="What the schedule is for.")
    flow_id: Annotated[str, name_of(ID)] = Field(description="The published flow that is started.")
    version: int | None = Field(
        None, ge=1, description="The version of the flow. Default: the newest one when it is started."
    )
    input: dict[str, Any] = Field({}, description="Input of the executions.")
    labels: dict[Annotated[str, name_of(LABEL)], LabelValue] = Field(
        {}, max_length=MOST_LABELS, description="Labels of the executions, beside those of the flow."
    )
    cron: str | None = Field(None, description="Five fields of cron, in local time of `timezone`.")
    timezone: str | None = Field(None, description="Name of the time zone of `cron`. Default: UTC.")
    every: Duration | None = Field(None, description="Elapsed time between two starts, from 1s.")
    anchor: Time | None = Field(
        None, description="A time from which `every` is counted. Default: 1970-01-01T00:00:00Z."
    )
    at: Time | None = Field(None, description="A single time.")
    overlap: Overlap = Field(
        "skip",
        description="If the last one has not ended: skip this time, queue it, cancel the last, allow both.",
    )
    missed: Missed = Field(
        "latest", description="Of the times that were missed, start none (skip), the latest, or all."
    )
    catchup_window: Duration | None = Field(
        None,
        description="How late a time is still started. Default: 1m for skip, 366d for latest, 1d for all.",
    )
    jitter: Duration | None = Field(
        None, description="Start each time later, by a part of this that follows from the id; at most 1d."
    )

    @property
    def text(self) -> str:
        """The canonical JSON text, without what is left at its default."""
        return canonical(
            self.model_dump(mode="json", exclude_defaults=True, exclude={"every", "catchup_window", "jitter"})
            | {
                name: value.total_seconds()
                for name in ("every", "catchup_window", "jitter")
                if (value := getattr(self, name)) is not None
            }
        )

    @property
    def rule(self) -> TimeRule:
        """Raises `BadCron` and `NeverFires`, and `LookupError` for a zone that is not there any more."""
        if self.at is not None:
            return Once(self.at)
        if self.every is not None:
            return Every(self.every) if self.anchor is None else Every(self.every, self.anchor)
        zone = zone_of(self.timezone or "UTC")
        if zone is None or self.cron is None:
            raise LookupError(f"no time zone is called {shown(self.timezone or '')} here")
        return Cron(self.cron, zone)

    @property
    def timing(self) -> tuple[object, ...]:
        """What its times follow from."""
        return self.cron, self.timezone or "UTC", self.every, self.anchor, self.at


_FIELDS: Final = dict(ScheduleDocument.model_fields)


def read_schedule(
    value: object, now: datetime, schedule_id: str | None = None, *, is_known: bool = False
) -> ScheduleDocument:
    """The schedule of a JSON value; `schedule_id` is the id that it has if it says none. Raises
    `InvalidSchedule` with all that is wrong with it. `is_known`: it was stored before, so it need not fire
    any more."""
    errors = Findings()
    document = _read(value, schedule_id, errors)
    if document is not None and not errors:
        _check_rule(document, now, errors, is_known)
    if errors or document is None:
        problems = errors.problems(value)
        raise InvalidSchedule(f"the schedule is not valid: {problems[0].detail}", problems)
    return document


def _read(value: object, schedule_id: str | None, errors: Findings) -> ScheduleDocument | None:
    if not isinstance(value, dict):
        errors.add((), "wrong-type", "a schedule is an object")
        return None
    given_input = value.get("input")
    if isinstance(given_input, dict) and find_fault(given_input, MOST_INPUT) is not None:
        errors.add(("input",), "too-large", f"the input may have {MOST_INPUT >> 10} KiB, and is plain JSON")
    if schedule_id is not None and value.get("id", schedule_id) != schedule_id:
        errors.add(("id",), "conflict", f"the address names the schedule {shown(schedule_id)}")
    find_unknown_names(value, _FIELDS, (), errors)
    given = {"id": schedule_id} if schedule_id is not None else {}
    _check_fields_together(value, errors)
    _check_zone(value, errors)
    _check_cron(value, errors)
    return fitting(ScheduleDocument, {**given, **value}, errors)


def _check_fields_together(value: Mapping[str, Any], errors: Findings) -> None:
    """Exactly one of the rules, and of the others only what belongs to it."""
    rules = [name for name in _RULES if value.get(name) is not None]
    if not rules:
        errors.add((), "required", "a schedule says when: by cron, every or at")
    for name in rules[1:]:
        errors.add((name,), "conflict", f"a schedule has one rule, and here is {rules[0]} already")
    for name, rule in (("timezone", "cron"), ("anchor", "every")):
        if value.get(name) is not None and value.get(rule) is None:
            errors.add((name,), "conflict", f"{name} belongs to {rule}")


def _check_zone(value: Mapping[str, Any], errors: Findings) -> None:
    name = value.get("timezone")
    if isinstance(name, str) and zone_of(name) is None:
        hint = "a name of the IANA list, such as Europe/Berlin"
        errors.add(
            ("timezone",), "unknown-zone", f"{shown(name)} is not a time zone", hint, (name, zone_names())
        )


def _check_cron(value: Mapping[str, Any], errors: Findings) -> None:
    text = value.get("cron")
    if not isinstance(text, str):
        return
    try:
        Cron(text, UTC_ZONE)
    except BadCron as error:
        errors.add(("cron",), "bad-cron", str(error), "such as 30 2 * * 1-5: at 02:30 from Monday to Friday")
    except NeverFires as error:
        errors.add(("cron",), "never-fires", str(error))


def _check_rule(document: ScheduleDocument, now: datetime, errors: Findings, is_known: bool) -> None:
    if document.every is not None and document.every < SHORTEST:
        errors.add(("every",), "out-of-range", "the shortest interval is 1s")
    if document.jitter is not None and document.jitter > LONGEST_JITTER:
        errors.add(("jitter",), "out-of-range", "the longest jitter is 1d")
    found = document.rule.after(now)
    if (found is None or found - now > FARTHEST) and not is_known:
        where = next(name for name in _RULES if getattr(document, name) is not None)
        errors.add((where,), "never-fires", "it has no time within the next eight years")


def stored_schedule(text: str) -> ScheduleDocument:
    """A schedule as it was stored. Raises `ValueError` if it is damaged."""
    return ScheduleDocument.model_validate(orjson.loads(text))
