from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.core.children import ParentLink
from flow_manager.core.definition import Outcome
from flow_manager.core.events import (
    AttemptCancelled,
    AttemptEnded,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionEnding,
    ExecutionPaused,
    ExecutionQuarantined,
    ExecutionRerun,
    ExecutionResumed,
    ExecutionRetried,
    ExecutionStarted,
    ResultGiven,
    RetryScheduled,
    Routed,
    SignalReceived,
    TaskSkipped,
    Wait,
    decode_event,
    encode_event,
)
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus

AT = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)

GOLDEN: list[tuple[Event, str]] = [
    (
        ExecutionStarted(AT, "flow123", {"n": 1}, {"team": "a"}),
        '{"type":"execution_started","at":"2026-01-14T10:30:00Z","flow_id":"flow123",'
        '"input":{"n":1},"labels":{"team":"a"}}',
    ),
    (
        TaskSkipped(AT, "fetch", 2),
        '{"type":"task_skipped","at":"2026-01-14T10:30:00Z","task":"fetch","run":2}',
    ),
    (
        AttemptStarted(AT, "fetch", 2, 3),
        '{"type":"attempt_started","at":"2026-01-14T10:30:00Z","task":"fetch","run":2,"attempt":3}',
    ),
    (
        AttemptEnded(
            AT,
            "fetch",
            2,
            3,
            "failure",
            "no answer",
            {"a": [1.5]},
            TaskError("http.503", "busy", False, {"n": 1}),
        ),
        '{"type":"attempt_ended","at":"2026-01-14T10:30:00Z","task":"fetch","run":2,"attempt":3,'
        '"outcome":"failure","message":"no answer","data":{"a":[1.5]},'
        '"error":{"code":"http.503","message":"busy","retryable":false,"details":{"n":1}}}',
    ),
    (
        AttemptLost(AT, "fetch", 2, 3, "the worker died"),
        '{"type":"attempt_lost","at":"2026-01-14T10:30:00Z","task":"fetch","run":2,"attempt":3,'
        '"reason":"the worker died"}',
    ),
    (
        AttemptCancelled(AT, "fetch", 2, 3),
        '{"type":"attempt_cancelled","at":"2026-01-14T10:30:00Z","task":"fetch","run":2,"attempt":3}',
    ),
    (
        SignalReceived(AT, "paid", 4, {"sum": 1.5}, "shop"),
        '{"type":"signal_received","at":"2026-01-14T10:30:00Z","name":"paid","number":4,'
        '"payload":{"sum":1.5},"by":"shop"}',
    ),
    (
        AttemptReleased(AT, "fetch", 2, 3),
        '{"type":"attempt_released","at":"2026-01-14T10:30:00Z","task":"fetch","run":2,"attempt":3}',
    ),
    (
        RetryScheduled(AT, "fetch", AT + timedelta(microseconds=1), 2, 3),
        '{"type":"retry_scheduled","at":"2026-01-14T10:30:00Z","task":"fetch",'
        '"due_at":"2026-01-14T10:30:00.000001Z","run":2,"attempt":3}',
    ),
    (
        Routed(AT, "fetch", "store", "fetched", False, "timeout"),
        '{"type":"routed","at":"2026-01-14T10:30:00Z","task":"fetch","to":"store","condition":"fetched",'
        '"matched":false,"outcome":"timeout"}',
    ),
    (
        ExecutionQuarantined(AT, "fetch", "lost 3 times"),
        '{"type":"execution_quarantined","at":"2026-01-14T10:30:00Z","task":"fetch","reason":"lost 3 times"}',
    ),
    (
        ExecutionPaused(AT, "ann", "look first", 4),
        '{"type":"execution_paused","at":"2026-01-14T10:30:00Z","by":"ann","reason":"look first","number":4}',
    ),
    (
        ExecutionResumed(AT, "ann", "fine", 5),
        '{"type":"execution_resumed","at":"2026-01-14T10:30:00Z","by":"ann","reason":"fine","number":5}',
    ),
    (
        ExecutionRetried(AT, "ann", "up again", 6),
        '{"type":"execution_retried","at":"2026-01-14T10:30:00Z","by":"ann","reason":"up again","number":6}',
    ),
    (
        ExecutionRerun(AT, "ann", "wrong sum", 7, "fetch", {"n": 1}),
        '{"type":"execution_rerun","at":"2026-01-14T10:30:00Z","by":"ann","reason":"wrong sum","number":7,'
        '"task":"fetch","input":{"n":1}}',
    ),
    (
        ResultGiven(
            AT,
            "ann",
            "by phone",
            8,
            "fetch",
            2,
            3,
            "failure",
            "no",
            {"n": 1},
            TaskError("task.given", "no", False),
        ),
        '{"type":"result_given","at":"2026-01-14T10:30:00Z","by":"ann","reason":"by phone","number":8,'
        '"task":"fetch","run":2,"attempt":3,"outcome":"failure","message":"no","data":{"n":1},'
        '"error":{"code":"task.given","message":"no","retryable":false}}',
    ),
    (
        ExecutionEnding(
            AT, ExecutionStatus.CANCELLED, TaskError("execution.cancelled", "no", False), 4, "ann", {"n": 1}
        ),
        '{"type":"execution_ending","at":"2026-01-14T10:30:00Z","status":"cancelled",'
        '"error":{"code":"execution.cancelled","message":"no","retryable":false},"number":4,"by":"ann",'
        '"output":{"n":1}}',
    ),
    (
        ExecutionEnded(AT, ExecutionStatus.FAILED, TaskError("task.failed", "no")),
        '{"type":"execution_ended","at":"2026-01-14T10:30:00Z","status":"failed",'
        '"error":{"code":"task.failed","message":"no"}}',
    ),
]

BARE: list[tuple[Event, str]] = [
    (ExecutionStarted(AT, "a"), '{"type":"execution_started","at":"2026-01-14T10:30:00Z","flow_id":"a"}'),
    (TaskSkipped(AT, "a", 1), '{"type":"task_skipped","at":"2026-01-14T10:30:00Z","task":"a"}'),
    (AttemptStarted(AT, "a", 1, 1), '{"type":"attempt_started","at":"2026-01-14T10:30:00Z","task":"a"}'),
    (
        AttemptEnded(AT, "a", 1, 1, "success", "", None, None),
        '{"type":"attempt_ended","at":"2026-01-14T10:30:00Z","task":"a"}',
    ),
    (AttemptLost(AT, "a", 1, 1, ""), '{"type":"attempt_lost","at":"2026-01-14T10:30:00Z","task":"a"}'),
    (AttemptCancelled(AT, "a", 1, 1), '{"type":"attempt_cancelled","at":"2026-01-14T10:30:00Z","task":"a"}'),
    (
        SignalReceived(AT, "a", 1, None, ""),
        '{"type":"signal_received","at":"2026-01-14T10:30:00Z","name":"a","number":1}',
    ),
    (AttemptReleased(AT, "a", 1, 1), '{"type":"attempt_released","at":"2026-01-14T10:30:00Z","task":"a"}'),
    (
        RetryScheduled(AT, "a", AT, 1, 2),
        '{"type":"retry_scheduled","at":"2026-01-14T10:30:00Z","task":"a","due_at":"2026-01-14T10:30:00Z"}',
    ),
    (
        Routed(AT, "a", "end", None, True, "success"),
        '{"type":"routed","at":"2026-01-14T10:30:00Z","task":"a","to":"end"}',
    ),
    (
        ExecutionQuarantined(AT, "a", ""),
        '{"type":"execution_quarantined","at":"2026-01-14T10:30:00Z","task":"a"}',
    ),
    (ExecutionPaused(AT, "", "", 0), '{"type":"execution_paused","at":"2026-01-14T10:30:00Z"}'),
    (ExecutionResumed(AT, "", "", 0), '{"type":"execution_resumed","at":"2026-01-14T10:30:00Z"}'),
    (ExecutionRetried(AT, "", "", 0), '{"type":"execution_retried","at":"2026-01-14T10:30:00Z"}'),
    (ExecutionRerun(AT, "", "", 0, "", None), '{"type":"execution_rerun","at":"2026-01-14T10:30:00Z"}'),
    (
        ResultGiven(AT, "", "", 0, "", 1, 1, "success", "", None, None),
        '{"type":"result_given","at":"2026-01-14T10:30:00Z"}',
    ),
    (
        ExecutionEnding(AT, ExecutionStatus.FAILED, None, 0, "", None),
        '{"type":"execution_ending","at":"2026-01-14T10:30:00Z"}',
    ),
    (
        ExecutionEnded(AT, ExecutionStatus.COMPLETED, None),
        '{"type":"execution_ended","at":"2026-01-14T10:30:00Z"}',
    ),
]


LATER: list[tuple[Event, str]] = [
    (
        ExecutionStarted(AT, "a", parent=ParentLink("e0", 2, 3, 4, 5)),
        '{"type":"execution_started","at":"2026-01-14T10:30:00Z","flow_id":"a",'
        '"parent":{"execution_id":"e0","run":2,"attempt":3,"index":4,"depth":5}}',
    ),
    (
        AttemptStarted(AT, "a", isolated=True, compensates=7),
        '{"type":"attempt_started","at":"2026-01-14T10:30:00Z","task":"a","isolated":true,"compensates":7}',
    ),
    (
        AttemptStarted(AT, "a", wait=Wait("time", AT)),
        '{"type":"attempt_started","at":"2026-01-14T10:30:00Z","task":"a",'
        '"wait":{"kind":"time","until":"2026-01-14T10:30:00Z"}}',
    ),
    (
        AttemptStarted(AT, "a", wait=Wait("signal", AT, "paid")),
        '{"type":"attempt_started","at":"2026-01-14T10:30:00Z","task":"a",'
        '"wait":{"kind":"signal","until":"2026-01-14T10:30:00Z","signal":"paid"}}',
    ),
    (
        AttemptStarted(AT, "a", wait=Wait("approval", None, "approval/1/1", 0, "Pay?", {}, ("ann",))),
        '{"type":"attempt_started","at":"2026-01-14T10:30:00Z","task":"a",'
        '"wait":{"kind":"approval","signal":"approval/1/1","question":"Pay?","form":{},"answer_by":["ann"]}}',
    ),
    (
        AttemptStarted(AT, "a", wait=Wait("children", count=3)),
        '{"type":"attempt_started","at":"2026-01-14T10:30:00Z","task":"a",'
        '"wait":{"kind":"children","count":3}}',
    ),
    (
        AttemptLost(AT, "a", blame=False),
        '{"type":"attempt_lost","at":"2026-01-14T10:30:00Z","task":"a","blame":false}',
    ),
    (
        ExecutionEnded(AT, output={"n": 1}),
        '{"type":"execution_ended","at":"2026-01-14T10:30:00Z","output":{"n":1}}',
    ),
]
"""Fields that came after the first version: a history without them still means what it meant."""


@pytest.mark.parametrize(("event", "text"), [*GOLDEN, *BARE, *LATER])
def test_the_stored_form_of_an_event_never_changes(event: Event, text: str) -> None:
    assert encode_event(event) == text
    assert decode_event(text) == event
    assert decode_event(text.encode()) == event


def test_every_event_has_a_golden_line() -> None:
    assert [type(event) for event, _ in GOLDEN] == [type(event) for event, _ in BARE] == list(get_args(Event))


def test_fields_of_a_later_version_are_passed_over() -> None:
    text = '{"type":"attempt_lost","at":"2026-01-14T10:30:00Z","task":"a","severity":{"new":true}}'

    assert decode_event(text) == AttemptLost(AT, "a")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"type":"unheard_of","at":"2026-01-14T10:30:00Z"}',
        '{"type":"attempt_lost","task":"a"}',
        '{"type":"attempt_ended","at":"2026-01-14T10:30:00Z","task":"a","outcome":"fine"}',
        '{"type":"execution_ended","at":"2026-01-14T10:30:00Z","status":"fine"}',
    ],
)
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_event(text)


times = st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(1, 10_000)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, plain, max_size=3)
errors = st.none() | st.builds(TaskError, texts, texts, st.booleans(), plain)
outcomes = st.sampled_from(get_args(Outcome))
attempts: dict[str, Any] = {"at": times, "task": texts, "run": numbers, "attempt": numbers}
parents = st.none() | st.builds(ParentLink, texts, numbers, numbers, numbers, numbers)
waits = st.none() | st.builds(
    Wait,
    st.sampled_from(["time", "signal", "approval", "children"]),
    st.none() | times,
    texts,
    numbers,
    texts,
    st.none() | objects,
    st.lists(texts, max_size=2).map(tuple),
)
statuses = st.sampled_from(ExecutionStatus)
events = st.one_of(
    st.builds(ExecutionStarted, times, texts, objects, st.dictionaries(texts, texts, max_size=3), parents),
    st.builds(TaskSkipped, times, texts, numbers),
    st.builds(AttemptStarted, **attempts, isolated=st.booleans(), wait=waits, compensates=numbers),
    st.builds(
        AttemptEnded, **attempts, outcome=outcomes, message=texts, data=st.none() | objects, error=errors
    ),
    st.builds(AttemptLost, **attempts, reason=texts, blame=st.booleans()),
    st.builds(AttemptCancelled, **attempts),
    st.builds(SignalReceived, times, texts, numbers, plain, texts),
    st.builds(AttemptReleased, **attempts),
    st.builds(RetryScheduled, **attempts, due_at=times),
    st.builds(Routed, times, texts, texts, st.none() | texts, st.booleans(), outcomes),
    st.builds(ExecutionQuarantined, times, texts, texts),
    st.builds(ExecutionPaused, times, texts, texts, numbers),
    st.builds(ExecutionResumed, times, texts, texts, numbers),
    st.builds(ExecutionRetried, times, texts, texts, numbers),
    st.builds(ExecutionRerun, times, texts, texts, numbers, texts, st.none() | objects),
    st.builds(
        ResultGiven, times, texts, texts, numbers, texts, numbers, numbers, outcomes, texts, plain, errors
    ),
    st.builds(ExecutionEnding, times, statuses, errors, numbers, texts, plain),
    st.builds(ExecutionEnded, times, statuses, errors, plain),
)


@given(events)
def test_every_event_comes_back_as_it_was(event: Event) -> None:
    stored = encode_event(event)

    assert decode_event(stored) == event
    assert encode_event(decode_event(stored)) == stored
    assert "\n" not in stored
