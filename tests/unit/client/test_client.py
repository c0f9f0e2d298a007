"""The methods of the client, against the application itself: no socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from flow_manager.api.app import create_app
from flow_manager.client import Client
from flow_manager.core.attempts import format_time
from flow_manager.core.events import AttemptStarted
from flow_manager.core.states import ExecutionStatus
from flow_manager.errors import (
    ApprovalUnknown,
    ExecutionUnknown,
    FlowUnknown,
    InvalidFlow,
    InvalidRequest,
    Problem,
    ProblemError,
    ScheduleUnknown,
    ShuttingDown,
    StartedBefore,
)
from flow_manager.ports.backend import ChildSummary, Question, Violation
from flow_manager.settings import Settings
from tests.support.fake_backend import COMPLETED, DOCUMENT, EXECUTION, FAILED, FakeBackend, invalid, second

OTHER = EXECUTION[:-1] + "2"
VERSION = {
    "id": "flow123",
    "version": 2,
    "name": "Data",
    "digest": "ab",
    "published_at": "2026-01-14T10:30:00.000000Z",
    "by": "",
}
SCHEDULE = {
    "id": "nightly",
    "version": 3,
    "paused": False,
    "changed_time": "2026-01-14T10:30:00.000000Z",
    "next_time": None,
    "next_times": [],
    "schedule": None,
}


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def client(backend: FakeBackend) -> Iterator[Client]:
    app = create_app(backend, Settings())
    with Client(tries=1, transport=httpx.WSGITransport(app=app)) as client:
        yield client


@pytest.mark.parametrize("document", [DOCUMENT, DOCUMENT["flow"]], ids=["wrapped", "bare"])
def test_a_flow_is_executed(client: Client, backend: FakeBackend, document: dict[str, Any]) -> None:
    execution = client.execute(document, {"n": 1}, labels={"team": "shop"}, wait=2.5)

    assert (execution.execution_id, execution.status) == (EXECUTION, ExecutionStatus.COMPLETED)
    assert execution.is_ended
    assert [entry.task_name for entry in execution.execution_history] == ["fetch", "store"]
    assert execution.end_time == second(2)
    start = backend.starts[0]
    assert (start.input, start.labels, start.wait) == ({"n": 1}, {"team": "shop"}, timedelta(seconds=3))
    assert backend.checked == [DOCUMENT]


def test_one_that_nobody_waits_for_goes_on(client: Client, backend: FakeBackend) -> None:
    backend.ending.clear()

    execution = client.execute(DOCUMENT, wait=0)

    assert (execution.status, execution.end_time, execution.is_ended) == ("running", None, False)


def test_a_flow_that_is_not_valid_is_refused_with_all_its_problems(
    client: Client, backend: FakeBackend
) -> None:
    problem = Problem("#/flow/tasks/0/timout", "unknown-field", "no", "did you mean 'timeout'?")
    backend.report = invalid(problem)

    for call in (client.execute, client.validate):
        with pytest.raises(InvalidFlow) as caught:
            call(DOCUMENT)
        assert caught.value.problems == (problem,)


def test_an_execution_is_described(client: Client, backend: FakeBackend) -> None:
    backend.events = FAILED

    for call in (client.status, client.describe):
        execution = call(EXECUTION)
        assert execution.error is not None
        assert (execution.error.code, execution.status) == ("task.failed", "failed")
        assert execution.execution_history[0].error == execution.error


def test_its_history_is_made_of_events(client: Client) -> None:
    assert list(client.history(EXECUTION)) == list(COMPLETED)
    assert isinstance(client.history(EXECUTION)[1], AttemptStarted)


def test_what_is_unknown_is_an_error(client: Client) -> None:
    calls = (client.status, client.describe, client.history, client.children, client.cancel, client.wait)
    for call in calls:
        with pytest.raises(ExecutionUnknown, match="no execution has this id") as caught:
            call(OTHER)
        assert isinstance(caught.value.__cause__, ProblemError)
    with pytest.raises(ExecutionUnknown):
        client.signal("../v1/tasks?x=#", "paid")


def test_executions_are_listed(client: Client, backend: FakeBackend) -> None:
    (line,) = client.list(limit=3, status="completed")

    assert (line.execution_id, line.start_time, line.end_time) == (EXECUTION, second(0), second(2))
    assert backend.listed == [(3, ExecutionStatus.COMPLETED)]


def test_a_list_that_cannot_be_is_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.list(limit=0)

    assert caught.value.problems[0].pointer == "limit"


def test_things_are_sent(client: Client, backend: FakeBackend) -> None:
    assert client.cancel(EXECUTION, "it rains", by="Ada").accepted
    assert client.signal(EXECUTION, "paid", {"amount": 1}).execution_id == EXECUTION

    assert backend.sent == [("cancel", "it rains", None, "Ada"), ("signal", "paid", {"amount": 1}, "")]


def test_questions_are_answered(client: Client, backend: FakeBackend) -> None:
    backend.asked = [Question("ask", "Shall we?", None, ("Ada",), second(9), "a.1.1.ff")]

    question = client.question("a.1.1.ff")
    client.answer(question.token, True, {"amount": 1}, by="Ada")

    assert (question.token, question.until) == ("a.1.1.ff", second(9))
    assert backend.sent == [("answer", "a.1.1.ff", {"approved": True, "amount": 1}, "Ada")]
    with pytest.raises(ApprovalUnknown):
        client.question("other")


def test_children_are_listed(client: Client, backend: FakeBackend) -> None:
    backend.brood = [ChildSummary(1, 1, 0, OTHER, None)]

    assert [(child.execution_id, child.status) for child in client.children(EXECUTION)] == [(OTHER, "open")]


def test_the_service_tells_of_itself(client: Client, backend: FakeBackend) -> None:
    backend.broken = [Violation(EXECUTION, "wake.missing", "nothing will move it on")]

    assert (client.health().status, client.health().accepts_work) == ("ok", True)
    assert [each.name for each in client.tasks()] == ["fetch"]
    assert (client.doctor().sound, client.doctor().violations[0].code) == (False, "wake.missing")
    backend.stop()
    with pytest.raises(ShuttingDown):
        client.execute(DOCUMENT)


def test_flows_are_checked_simulated_and_tested(client: Client) -> None:
    case = {"name": "all is well", "expect": {"route": ["fetch", "store"]}}
    document = {"flow": {**DOCUMENT["flow"], "tests": [case]}}
    error = {"code": "shop.closed"}

    assert client.validate(document).valid
    simulated = client.simulate(document, mocks={"fetch": [{"error": error}]}, history=True)
    assert (simulated.route, simulated.status) == (["fetch"], "failed")
    assert simulated.error is not None
    assert simulated.error.code == "shop.closed"
    assert format_time(simulated.events[0].at) == "2026-01-01T00:00:00.000000Z"
    tested = client.test(document)
    assert (tested.passed, tested.cases[0].simulated.status) == (True, "completed")


def test_an_edited_flow_is_held_against_executions(client: Client) -> None:
    for compared in (client.whatif(DOCUMENT, [EXECUTION]), client.whatif(DOCUMENT, flow_id="flow123")):
        assert [each.outcome for each in compared.executions] == ["same"]
        assert compared.summary.same == 1
    with pytest.raises(ExecutionUnknown):
        client.whatif(DOCUMENT, [OTHER])


class Service:
    """A service in which an execution ends at the third look."""

    def __init__(self) -> None:
        self.looks = 0
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        self.looks += 1
        status = "completed" if self.looks >= 3 else "running"
        times = {"start_time": "2026-01-14T10:30:00.000000Z", "end_time": None}
        body: dict[str, Any] = {
            "execution_id": EXECUTION,
            "flow_id": "f",
            "status": status,
            "execution_history": [],
            **times,
        }
        return httpx.Response(200, json={**body, "from_the_future": True})


def test_an_execution_is_waited_for() -> None:
    service = Service()
    with Client(transport=httpx.MockTransport(service)) as client:
        assert client.wait(EXECUTION).status == "completed"
    assert service.looks == 3


def test_who_has_waited_long_enough_is_told_how_it_stands() -> None:
    service = Service()
    with Client(transport=httpx.MockTransport(service)) as client:
        assert client.wait(EXECUTION, timeout=0).status == "running"
    assert service.looks == 1


def test_every_start_has_a_key_and_a_start_by_id_keeps_its_own() -> None:
    service = Service()
    with Client(transport=httpx.MockTransport(service)) as client:
        client.start("a/b", {"n": 1}, version=3, wait=1, key="order-7")
        client.start("f")
        client.execute(DOCUMENT)

    keys = [request.headers["Idempotency-Key"] for request in service.asked]
    assert keys[0] == "order-7"
    assert len(set(keys)) == 3
    assert service.asked[0].url.raw_path == b"/v1/flows/a%2Fb/executions"
    assert service.asked[0].read() == b'{"input":{"n":1},"version":3}'
    assert [request.headers["Prefer"] for request in service.asked] == ["wait=1", "respond-async", "wait=60"]


def test_a_flow_is_published_in_place_of_the_version_that_was_seen() -> None:
    asked: list[httpx.Request] = []

    def service(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(201, json=VERSION, headers={"ETag": '"2-ab"'})

    with Client(transport=httpx.MockTransport(service)) as client:
        published = client.publish(DOCUMENT, expected="1-aa")
        client.publish(DOCUMENT["flow"], expected="*")
        client.publish(DOCUMENT)

    assert (published.version, published.tag) == (2, "2-ab")
    assert [request.headers.get("If-Match") for request in asked] == ['"1-aa"', "*", None]
    assert {(request.method, request.url.path) for request in asked} == {("PUT", "/v1/flows/flow123")}


class Told:
    """A service that answers everything with one body, and keeps what it was asked."""

    def __init__(self, body: object, status: int = 200, **headers: str) -> None:
        self._answer = (status, body, headers)
        self.asked: list[httpx.Request] = []
        self.client = Client(transport=httpx.MockTransport(self), tries=1)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        status, body, headers = self._answer
        return httpx.Response(status, json=body, headers=headers)

    @property
    def calls(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.asked]


def test_a_start_says_when_it_is_to_begin() -> None:
    told = Told({"type": "x"}, 202)
    moment = datetime(2026, 7, 1, 9, tzinfo=UTC)

    with pytest.raises(ProblemError):
        told.client.start("f", priority="high", start_at=moment)

    assert told.asked[0].read() == b'{"priority":"high","start_at":"2026-07-01T09:00:00+00:00"}'


def test_a_published_flow_is_read_started_and_deleted(client: Client) -> None:
    newest = client.flow("flow123")

    assert (newest.version, newest.flow) == (1, {})
    assert newest.tag.startswith("1-")
    assert client.flow("flow123", 1) == newest
    assert [each.id for each in client.flows()] == ["flow123"]
    assert [each.version for each in client.versions("flow123")] == [1]
    assert client.start("flow123", {"n": 1}, wait=1, key="order-7").execution_id == EXECUTION
    started = client.start_all("flow123", [{"input": {"n": 1}}, {"labels": {"?": "x"}}])
    assert (started.accepted, started.refused) == (1, 1)
    assert started.items[0].execution_id == EXECUTION
    assert started.items[1].problem is not None
    assert started.items[1].problem.errors[0].code == "bad-name"
    assert client.delete_flow("flow123", expected=newest.tag).deleted
    for call in (client.flow, client.versions, client.delete_flow, client.start):
        with pytest.raises(FlowUnknown):
            call("other")
    with pytest.raises(FlowUnknown):
        client.start_all("other", [{}])


def test_each_of_several_starts_has_a_key() -> None:
    told = Told({"accepted": 0, "refused": 0, "items": []})

    told.client.start_all("f", [{"key": "order-7"}, {}, {"input": {}}], version=3)

    body = json.loads(told.asked[0].read())
    keys = [item["key"] for item in body["items"]]
    assert (keys[0], len(set(keys)), body["version"]) == ("order-7", 3, 3)


def test_a_key_that_was_used_for_something_else_names_the_execution() -> None:
    headers = {"Content-Type": "application/problem+json"}
    body = {"type": "/problems/idempotency-conflict", "title": "t", "status": 422, "detail": "d"}
    told = Told({**body, "execution_id": EXECUTION}, 422, **headers)

    with pytest.raises(StartedBefore) as caught:
        told.client.execute(DOCUMENT, key="order-7")

    assert caught.value.execution_id == EXECUTION


def test_schedules_are_stored_in_place_of_the_version_that_was_seen() -> None:
    told = Told(SCHEDULE)
    client = told.client

    assert client.put_schedule("a/b", {"every": "1h"}).next_time is None
    client.put_schedule("x", {}, expected=0)
    client.put_schedule("x", {}, expected=3)
    client.delete_schedule("x", expected=3)
    for call in (client.schedule, client.pause_schedule, client.resume_schedule):
        assert call("x").version == 3

    at = "/v1/schedules/x"
    assert told.calls[0] == "PUT /v1/schedules/a%2Fb"
    assert told.calls[3:] == [f"DELETE {at}", f"GET {at}", f"POST {at}:pause", f"POST {at}:resume"]
    assert told.asked[0].read() == b'{"every":"1h"}'
    assert [request.headers.get("If-Match") for request in told.asked[:4]] == [None, None, '"3"', '"3"']
    assert told.asked[1].headers["If-None-Match"] == "*"


def test_the_times_of_a_schedule_are_told_and_filled_in() -> None:
    fire = {"nominal_time": "2026-01-01T00:00:00Z", "time": "2026-01-02T00:00:00Z"}
    fires = [{**fire, "outcome": "backfilled", "execution_id": EXECUTION}]
    times = Told({"times": ["2026-01-01T00:00:00Z"]})
    filled = Told({"started": fires, "already_started": 1, "go_on_since": None, "fires": fires})
    since, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)

    assert times.client.schedule_times("x", count=1) == times.client.preview_schedule({}, count=1) == [since]
    assert times.calls == ["GET /v1/schedules/x/preview?count=1", "POST /v1/schedules:preview?count=1"]
    done = filled.client.backfill_schedule("x", since, until)
    assert (done.started[0].nominal_time, done.already_started, done.go_on_since) == (since, 1, None)
    assert filled.client.schedule_fires("x") == done.started
    assert filled.calls == ["POST /v1/schedules/x:backfill", "GET /v1/schedules/x/fires?limit=50"]
    expected = {"since": "2026-01-01T00:00:00+00:00", "until": "2026-01-02T00:00:00+00:00", "limit": 100}
    assert json.loads(filled.asked[0].read()) == expected


def test_a_schedule_is_started_by_hand_and_one_that_is_unknown_is_an_error(client: Client) -> None:
    told = Told({"execution_id": EXECUTION, "accepted": True}, 202)
    assert told.client.trigger_schedule("x").execution_id == EXECUTION
    assert told.calls == ["POST /v1/schedules/x:trigger"]
    assert list(client.schedules()) == []
    for call in (client.schedule, client.schedule_times, client.schedule_fires):
        with pytest.raises(ScheduleUnknown):
            call("x")


def test_the_same_is_done_with_many(client: Client) -> None:
    counted = client.bulk("cancel", {"flow_id": "flow123", "label": ["team:shop"]})
    done = client.bulk("cancel", {"flow_id": "flow123"}, dry_run=False, reason="it rains")

    assert (counted.dry_run, counted.matched, counted.accepted) == (True, 1, 0)
    assert (done.dry_run, done.accepted, done.cursor) == (False, 1, None)
    with pytest.raises(InvalidRequest):
        client.bulk("cancel", {})


def test_a_capsule_is_a_document(client: Client) -> None:
    assert isinstance(client.capsule(EXECUTION), dict)
    with pytest.raises(ExecutionUnknown):
        client.capsule(OTHER)


@pytest.mark.parametrize("content", [b"[]", b"hello", b'{"execution_id": 1}'])
def test_an_answer_that_is_none_of_ours_is_an_error(content: bytes) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=content))

    with Client(transport=transport) as client, pytest.raises(ProblemError, match="is the address right"):
        client.status(EXECUTION)
