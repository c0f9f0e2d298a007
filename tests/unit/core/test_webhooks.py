"""Who is told what of a step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from flow_manager.core.children import ParentLink
from flow_manager.core.definition import ENDS, Flow, Webhook
from flow_manager.core.events import AttemptStarted, Event, ExecutionEnded, ExecutionStarted
from flow_manager.core.parser import FlowParser
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.core.webhooks import MOST_OUTPUT, Webhooks
from tests.support.documents import document, task
from tests.support.executions import NOW
from tests.support.flows import flow_of

HOOK = Webhook("https://a.example/hook", ENDS, "signing")
ALL = Webhook("https://all.example/", ENDS)
PARENT = ParentLink("0198c0de-0000-7000-8000-000000000001", 1, 1, 0, 1)
ID = "0198c0de-0000-7000-8000-000000000002"


def told(
    flow: Flow,
    last: Event,
    wake: Wake | None = None,
    *,
    for_all: tuple[Webhook, ...] = (),
    parent: ParentLink | None = None,
) -> list[dict[str, Any]]:
    events = [ExecutionStarted(NOW, flow.id, parent=parent), last]
    view = View.fold(ID, events)
    deliveries = Webhooks(for_all).deliveries(flow, view, events[1:], wake)
    return [{"to": each.destination, **msgspec.json.decode(each.payload)} for each in deliveries]


def flow_with(*webhooks: Webhook) -> Flow:
    return replace(flow_of("a"), webhooks=webhooks)


ENDINGS = {
    "completed": ExecutionEnded(NOW),
    "failed": ExecutionEnded(NOW, ExecutionStatus.FAILED, TaskError("task.failed", "no")),
    "cancelled": ExecutionEnded(NOW, ExecutionStatus.CANCELLED, TaskError("execution.cancelled", "no")),
}


@pytest.mark.parametrize("event", ENDINGS)
def test_each_end_is_told_to_whoever_wants_to_hear_of_it(event: Any) -> None:
    flow = flow_with(HOOK, replace(HOOK, url="https://b.example/", events=(event,)))
    deaf = replace(HOOK, events=tuple(each for each in (*ENDS, "waiting") if each != event))

    assert [(each["to"], each["event"], each["status"]) for each in told(flow, ENDINGS[event])] == [
        ("https://a.example/hook", event, event),
        ("https://b.example/", event, event),
    ]
    assert told(flow_with(deaf), ENDINGS[event]) == []


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (WakeReason.CLAIM, None),
        (WakeReason.DUE, None),
        (WakeReason.CHILDREN, None),
        (WakeReason.SIGNAL, "waiting"),
        (WakeReason.CODE, "waiting"),
        (WakeReason.QUARANTINE, "quarantined"),
    ],
)
def test_waiting_is_told_if_no_time_and_no_child_ends_it(reason: WakeReason, status: str | None) -> None:
    found = told(
        flow_with(replace(HOOK, events=("waiting",))),
        AttemptStarted(NOW, "a"),
        Wake(reason, NOW, "paid"),
    )

    assert [each["status"] for each in found] == ([] if status is None else [status])
    if found:
        assert found[0]["waiting"] == {
            "reason": reason.value,
            "due_at": "2026-01-01T12:00:00.000000Z",
            "detail": "paid",
        }


def test_a_step_that_adds_nothing_tells_nothing() -> None:
    view = View.fold(ID, [ExecutionStarted(NOW, "test")])
    flow = flow_with(replace(HOOK, events=("waiting",)))

    assert not Webhooks().deliveries(flow, view, [], Wake(WakeReason.CODE, NOW))


def test_a_flow_without_webhooks_tells_nothing() -> None:
    assert told(flow_with(), ENDINGS["completed"]) == []


def test_what_all_executions_tell_is_told_by_those_that_are_nobodys_child() -> None:
    own = replace(ALL, secret="own")

    assert [each["to"] for each in told(flow_with(HOOK), ENDINGS["completed"], for_all=(ALL,))] == [
        ALL.url,
        HOOK.url,
    ]
    found = told(flow_with(HOOK), ENDINGS["completed"], for_all=(ALL,), parent=PARENT)
    assert [each["to"] for each in found] == [HOOK.url]
    assert len(told(flow_with(own), ENDINGS["completed"], for_all=(ALL,))) == 1


def test_the_payload_says_which_execution_and_how_it_ended() -> None:
    [payload] = told(flow_with(HOOK), ENDINGS["failed"])

    assert payload.pop("delivery_id")
    assert payload == {
        "to": HOOK.url,
        "event": "failed",
        "execution_id": ID,
        "flow_id": "test",
        "status": "failed",
        "error": {"code": "task.failed", "message": "no", "retryable": True, "details": None},
        "at": "2026-01-01T12:00:00.000000Z",
        "seq": 2,
    }


def test_the_id_is_the_same_each_time_and_another_for_each_destination() -> None:
    flow = flow_with(HOOK, replace(HOOK, url="https://b.example/"))

    first, second = (
        [each["delivery_id"] for each in told(flow, ENDINGS["completed"])],
        [each["delivery_id"] for each in told(flow, ENDINGS["completed"])],
    )

    assert first == second
    assert len(set(first)) == 2


@pytest.mark.parametrize(("size", "is_told"), [(MOST_OUTPUT - 2, True), (MOST_OUTPUT - 1, False)])
def test_a_large_output_is_left_out(size: int, is_told: bool) -> None:
    [payload] = told(flow_with(HOOK), ExecutionEnded(NOW, output="x" * size))

    assert ("output" in payload, "output_left_out" in payload) == (is_told, not is_told)


def test_a_large_error_keeps_its_code_and_the_start_of_its_message() -> None:
    error = TaskError("task.failed", "x" * 2_000, False, {"body": "y" * MOST_OUTPUT})

    [payload] = told(flow_with(HOOK), ExecutionEnded(NOW, ExecutionStatus.FAILED, error))

    assert payload["error"] == {
        "code": "task.failed",
        "message": "x" * 1_000,
        "retryable": False,
        "details": None,
    }


# -- as they are written


def problems_of(*webhooks: Any, secrets: frozenset[str] = frozenset({"signing"})) -> list[tuple[str, str]]:
    report = FlowParser({"a": None}, secrets).check(document(task("a"), on_end={"webhooks": list(webhooks)}))
    return [
        (problem.pointer.removeprefix("#/flow/on_end/webhooks"), problem.code) for problem in report.errors
    ]


def test_webhooks_are_part_of_the_flow() -> None:
    written = [{"url": HOOK.url, "secret": "signing"}, {"url": ALL.url, "events": ["waiting"], "x-why": 1}]

    flow = FlowParser({"a": None}, {"signing"}).parse(document(task("a"), on_end={"webhooks": written}))

    assert flow.webhooks == (HOOK, Webhook(ALL.url, ("waiting",)))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example/hook",
        "ftp://a.example/",
        "https://",
        "https:///hook",
        "https://user@a.example/",
        "https://a.example/#part",
        "https://a.example/a b",
        "https://a.example/\n",
        "https://a.example\\b",
        "https://a.example/\u2028",
    ],
)
def test_a_url_has_the_shape_of_one(url: str) -> None:
    assert problems_of({"url": url}) == [("/0/url", "bad-url")]


@pytest.mark.parametrize(
    ("webhook", "expected"),
    [
        ({}, [("/0/url", "required")]),
        ({"url": 1}, [("/0/url", "wrong-type")]),
        ({"url": "https://a.example/" + "x" * 2_048}, [("/0/url", "too-long")]),
        ({"url": HOOK.url, "event": ["failed"]}, [("/0/event", "unknown-field")]),
        ({"url": HOOK.url, "events": []}, [("/0/events", "required")]),
        ({"url": HOOK.url, "events": ["fail"]}, [("/0/events/0", "unknown-value")]),
        ({"url": HOOK.url, "secret": "a-b"}, [("/0/secret", "bad-name")]),
        ({"url": HOOK.url, "secret": "none"}, [("/0/secret", "unknown-secret")]),
        ("https://a.example/", [("/0", "wrong-type")]),
    ],
)
def test_what_is_wrong_with_a_webhook_is_told_with_its_place(
    webhook: Any, expected: list[tuple[str, str]]
) -> None:
    assert problems_of(webhook) == expected


def test_one_address_is_told_once() -> None:
    assert problems_of({"url": HOOK.url}, {"url": HOOK.url, "events": ["waiting"]}) == [
        ("/1/url", "duplicate-name")
    ]


def test_there_may_be_a_few() -> None:
    hooks = [{"url": f"https://a.example/{number}"} for number in range(9)]

    assert problems_of(*hooks) == [("", "too-many")]
    assert problems_of(*hooks[:8]) == []
