"""What is sent to executions: signals, answers and cancellations."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from flow_manager.core.events import AttemptStarted, ExecutionStarted, Wait
from flow_manager.errors import (
    ApprovalOver,
    ExecutionOver,
    FlowManagerError,
    InvalidRequest,
    NotAsked,
    OutcomeUnknown,
    Problem,
    SignalUnknown,
    StoreReadOnly,
    TooMuchMail,
)
from flow_manager.ports.backend import ChildSummary, Question
from tests.support.fake_backend import EXECUTION, FakeBackend, second
from tests.unit.api.conftest import codes_of, kind_of

QUESTION = Question("ask", "Ship it?", {"type": "object"}, ("ada",), second(60), "a.1.1.f00")
UNKNOWN = "0198c0de-0000-7000-8000-00000000ffff"


def test_a_cancellation_is_accepted_with_its_reason(client: FlaskClient, backend: FakeBackend) -> None:
    response = client.post(f"/v1/executions/{EXECUTION}:cancel", json={"reason": "too late", "by": "ada"})

    assert (response.status_code, response.get_json()) == (202, {"execution_id": EXECUTION, "accepted": True})
    assert response.headers["Location"] == f"/v1/executions/{EXECUTION}"
    assert backend.sent == [("cancel", "too late", None, "ada")]


@pytest.mark.parametrize("payload", [None, 7, "text", [1], {"n": {"m": 1}}])
def test_a_signal_is_accepted_with_any_payload(
    client: FlaskClient, backend: FakeBackend, payload: object
) -> None:
    response = client.post(f"/v1/executions/{EXECUTION}:signal", json={"name": "go", "payload": payload})

    assert response.status_code == 202
    assert backend.sent == [("signal", "go", payload, "")]


@pytest.mark.parametrize(
    ("action", "body", "errors"),
    [
        ("cancel", [], [("#", "wrong-type")]),
        ("cancel", {"reason": 7}, [("#/reason", "wrong-type")]),
        ("cancel", {"reason": "a\nb"}, [("#/reason", "bad-text")]),
        ("cancel", {"reason": "x" * 257, "by": "x" * 256}, [("#/by", "too-long"), ("#/reason", "too-long")]),
        ("cancel", {"reasons": "x"}, [("#/reasons", "unknown-field")]),
        ("signal", {}, [("#/name", "required")]),
        ("signal", {"name": "a b"}, [("#/name", "bad-name")]),
        ("signal", {"name": "go", "by": "x" * 256}, [("#/by", "too-long")]),
        ("signal", {"nam": "go", "payload": 1}, [("#/nam", "unknown-field"), ("#/name", "required")]),
        ("signal", {"name": "go", "x-note": 1}, [("#/x-note", "unknown-field")]),
        ("skip", {"outcome": "sucess"}, [("#/outcome", "unknown-value")]),
        ("rerun", {"from_task": "a", "result": {"dta": 1}}, [("#/result/dta", "unknown-field")]),
        ("pause", {f"{n:03}": 1 for n in range(200)}, [(f"#/{n:03}", "unknown-field") for n in range(100)]),
    ],
)
def test_a_body_that_does_not_fit_is_refused_with_all_that_is_wrong(
    client: FlaskClient, backend: FakeBackend, action: str, body: Any, errors: list[tuple[str, str]]
) -> None:
    response = client.post(f"/v1/executions/{EXECUTION}:{action}", json=body)

    assert response.status_code == 422
    assert codes_of(response) == errors
    assert backend.sent == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ExecutionOver("over"), (409, "already-terminal")),
        (SignalUnknown("unknown"), (422, "unknown-signal")),
        (TooMuchMail("much"), (429, "too-many-signals")),
        (OutcomeUnknown("unknown"), (503, "outcome-unknown")),
        (StoreReadOnly("read only"), (503, "read-only")),
        (InvalidRequest("no", [Problem("#/payload", "too-large", "too large")]), (422, "invalid-request")),
    ],
)
def test_what_cannot_be_sent_has_its_own_answer(
    client: FlaskClient, backend: FakeBackend, error: FlowManagerError, kind: tuple[int, str]
) -> None:
    backend.error = error

    response = client.post(f"/v1/executions/{EXECUTION}:signal", json={"name": "go"})

    assert kind_of(response) == kind


@pytest.mark.parametrize("action", ["cancel", "signal"])
@pytest.mark.parametrize("execution_id", [UNKNOWN, "7", "..", "x" * 200])
def test_nothing_is_sent_to_an_execution_that_nobody_knows(
    client: FlaskClient, action: str, execution_id: str
) -> None:
    response = client.post(f"/v1/executions/{execution_id}:{action}", json={"name": "go"})

    assert response.status_code in (404, 422)


def test_whoever_has_the_link_sees_the_question_and_answers_it(
    client: FlaskClient, backend: FakeBackend
) -> None:
    backend.asked = [QUESTION]

    seen = client.get("/v1/approvals/a.1.1.f00")
    answered = client.post(
        "/v1/approvals/a.1.1.f00", json={"approved": True, "answer": {"n": 1}, "by": "ada"}
    )

    assert seen.get_json() == QUESTION.to_json()
    assert (answered.status_code, answered.get_json()["execution_id"]) == (202, EXECUTION)
    assert backend.sent == [("answer", "a.1.1.f00", {"approved": True, "n": 1}, "ada")]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ApprovalOver("over"), (409, "already-answered")), (NotAsked("not you"), (403, "not-asked"))],
)
def test_an_answer_that_is_not_wanted_is_refused(
    client: FlaskClient, backend: FakeBackend, error: FlowManagerError, kind: tuple[int, str]
) -> None:
    backend.error = error

    response = client.post("/v1/approvals/a.1.1.f00", json={"approved": True})

    assert kind_of(response) == kind


def test_a_link_that_nobody_gave_out_leads_nowhere(client: FlaskClient) -> None:
    assert kind_of(client.get("/v1/approvals/x.1.1.bad")) == (404, "not-found")
    assert kind_of(client.post("/v1/approvals/x.1.1.bad", json={"approved": True})) == (404, "not-found")


def test_an_answer_says_yes_or_no(client: FlaskClient, backend: FakeBackend) -> None:
    backend.asked = [QUESTION]

    response = client.post("/v1/approvals/a.1.1.f00", json={"approved": "yes"})

    assert codes_of(response) == [("#/approved", "wrong-type")]


def test_an_execution_that_asks_shows_its_question(client: FlaskClient, backend: FakeBackend) -> None:
    wait = Wait("approval", second(60), "approval/1/1", 0, "Ship it?")
    backend.events = (
        ExecutionStarted(second(0), "flow123"),
        AttemptStarted(second(0), "fetch", wait=wait),
    )
    backend.asked = [QUESTION]

    body = client.get(f"/v1/executions/{EXECUTION}").get_json()

    assert body["questions"] == [QUESTION.to_json()]
    assert body["execution_history"][0]["status"] == "waiting"


def test_children_are_listed_in_the_order_of_their_start(client: FlaskClient, backend: FakeBackend) -> None:
    backend.brood = [ChildSummary(2, 1, 0, UNKNOWN, None), ChildSummary(2, 1, 1, EXECUTION, "completed")]

    body = client.get(f"/v1/executions/{EXECUTION}/children").get_json()

    assert [(child["index"], child["status"]) for child in body["children"]] == [
        (0, "open"),
        (1, "completed"),
    ]
