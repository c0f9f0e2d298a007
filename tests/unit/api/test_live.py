"""Server-sent events, from a backend that says what there is to tell."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient

from flow_manager.api import live
from flow_manager.core.states import ExecutionStatus
from flow_manager.errors import StoreDamaged
from flow_manager.ports.live import Change, Changes
from flow_manager.settings import Settings
from tests.support.fake_backend import COMPLETED, EXECUTION, FakeBackend, second
from tests.unit.api.conftest import client_of, kind_of

EVENTS = f"/v1/executions/{EXECUTION}/events"
CHANGES = "/v1/executions:events"
STREAM = {"Accept": "text/event-stream"}
RAN = Change("one", "shop", ExecutionStatus.RUNNING, second(0), None)
DONE = Change("two", "shop", ExecutionStatus.COMPLETED, second(0), second(1))


def blocks(text: str) -> list[dict[str, str]]:
    """The blocks of a stream, without comments."""
    found = [[line for line in block.split("\n") if not line.startswith(":")] for block in text.split("\n\n")]
    return [dict(line.split(": ", 1) for line in lines if line) for lines in found if any(lines)]


def test_the_events_of_an_execution_are_told_with_their_numbers(client: FlaskClient) -> None:
    response = client.get(EVENTS, headers=STREAM)

    assert (response.status_code, response.content_type) == (200, "text/event-stream")
    assert response.headers["Cache-Control"] == "no-store"
    told = blocks(response.text)
    assert [block["id"] for block in told] == [str(number + 1) for number in range(len(COMPLETED))]
    assert told[0]["event"] == "execution_started"
    history = client.get(f"/v1/executions/{EXECUTION}/history").get_json()["events"]
    assert [json.loads(block["data"]) for block in told] == history


def test_who_comes_back_is_told_the_rest(client: FlaskClient, backend: FakeBackend) -> None:
    told = blocks(client.get(EVENTS, headers={**STREAM, "Last-Event-ID": "6"}).text)

    assert [block["id"] for block in told] == ["7", "8"]
    assert backend.live.after == [6]


def test_who_has_had_everything_need_not_come_back(client: FlaskClient) -> None:
    assert client.get(EVENTS, headers={"Last-Event-ID": str(len(COMPLETED))}).status_code == 204


@pytest.mark.parametrize("last", ["x", "-1", "\u0663", "1" * 10, "1.0"])
def test_a_number_that_no_event_has_is_refused(client: FlaskClient, last: str) -> None:
    assert kind_of(client.get(EVENTS, headers={"Last-Event-ID": last})) == (400, "bad-request")


@pytest.mark.parametrize("path", ["/v1/executions/x/events", f"/v1/executions/{EXECUTION[:-1]}2/events"])
def test_what_is_not_there_cannot_be_followed(client: FlaskClient, path: str) -> None:
    assert kind_of(client.get(path, headers=STREAM)) == (404, "not-found")


def test_changes_have_a_position_only_where_all_before_was_told(
    client: FlaskClient, backend: FakeBackend
) -> None:
    backend.live.told = [
        Changes((), "b-0"),
        Changes((RAN, DONE), "b-2"),
        Changes((), "b-2"),
        Changes((), "b-9", True),
    ]

    response = client.get(CHANGES, headers={**STREAM, "Last-Event-ID": "b-0"})

    told = blocks(response.text)
    assert backend.live.after == ["b-0"]
    assert [(block.get("event"), block.get("id")) for block in told] == [
        (None, "b-0"), ("status", None), ("status", "b-2"), ("reset", "b-9")
    ]  # fmt: skip
    assert json.loads(told[2]["data"]) == DONE.to_json()


def test_a_client_that_is_told_nothing_gets_a_heartbeat(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def monotonic() -> float:
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr(live.LiveRoutes.__init__, "__defaults__", (monotonic,))
    backend.live.told = [Changes((), "b-0")] * 100

    text = client_of(backend, Settings()).get(CHANGES).text

    assert 5 <= text.count(":\n\n") <= 8


def test_what_goes_wrong_on_the_way_ends_the_answer(client: FlaskClient, backend: FakeBackend) -> None:
    backend.ending.clear()
    response = client.get(EVENTS, headers=STREAM, buffered=False)
    chunks = iter(response.response)
    next(chunks), next(chunks)
    backend.ending.set()

    assert len(list(chunks)) == len(COMPLETED) - 1
    backend.error = StoreDamaged("damaged")
    assert kind_of(client.get(EVENTS, headers=STREAM)) == (503, "store-unavailable")


def test_only_so_many_may_follow_and_who_leaves_makes_room(backend: FakeBackend) -> None:
    client = client_of(backend, Settings(max_followers=2))
    backend.ending.clear()
    streams = [client.get(path, buffered=False) for path in (EVENTS, CHANGES)]

    refused = client.get(EVENTS, headers=STREAM)
    assert kind_of(refused) == (503, "overloaded")
    assert client.get(f"/v1/executions/{EXECUTION}").status_code == 200

    for stream in streams:
        stream.close()
    backend.ending.set()
    assert [client.get(EVENTS, buffered=True).status_code for _ in range(4)] == [200] * 4
    assert [client.get("/v1/executions/x/events").status_code for _ in range(4)] == [404] * 4


@pytest.mark.parametrize("path", [EVENTS, CHANGES])
def test_a_stream_is_for_those_who_accept_it_and_nothing_else_is_one(client: FlaskClient, path: str) -> None:
    assert client.get(path, headers=STREAM).status_code == 200
    assert client.get(path).status_code == 200
    assert kind_of(client.get(path, headers={"Accept": "text/html"})) == (406, "not-acceptable")
    assert kind_of(client.get("/v1/executions", headers=STREAM)) == (406, "not-acceptable")
