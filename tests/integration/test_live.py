"""Following executions over a real port."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.raw_http import head
from tests.support.service import ROOT, Service

HELD: dict[str, Any] = {
    "flow": {
        "id": "held",
        "name": "Held",
        "start_task": "ask",
        "tasks": [{"name": "ask", "type": "signal", "input": {"name": "go"}}],
    }
}
FOLLOWERS = 3


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(
        tmp_path, "--max-followers", str(FOLLOWERS), "--handler-threads", "4", "--max-waiters", "1"
    ) as service:
        yield service


class Listener:
    """A client that follows, on a thread of its own; `None` is the end of the stream."""

    def __init__(self, service: Service, path: str, last: str | None = None) -> None:
        self._url = f"{service.client.base_url}{path}"
        self._headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": last})
        self._told: queue.Queue[tuple[str, str, dict[str, Any]] | None] = queue.Queue()
        self._is_open = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        assert self._is_open.wait(10)

    def _listen(self) -> None:
        with contextlib.suppress(httpx.TransportError):  # a service that is killed says no farewell
            self._read()
        self._told.put(None)

    def _read(self) -> None:
        name, position = "", ""
        with httpx.stream("GET", self._url, headers=self._headers, timeout=30) as answer:
            for line in answer.iter_lines():
                self._is_open.set()
                field, _, value = line.partition(": ")
                name = value if field == "event" else name
                position = value if field == "id" else position
                if field == "data":
                    self._told.put((name, position, json.loads(value)))

    def hear(self) -> tuple[str, str, dict[str, Any]] | None:
        return self._told.get(timeout=15)


def start(service: Service) -> str:
    execution_id: str = service.execute(HELD, "respond-async").json()["execution_id"]
    service.await_status(execution_id, "waiting")
    return execution_id


def go(service: Service, execution_id: str) -> None:
    service.client.post(f"/v1/executions/{execution_id}:signal", json={"name": "go"}).raise_for_status()


def test_an_execution_is_followed_as_it_goes_until_its_end(service: Service) -> None:
    execution_id = start(service)
    listener = Listener(service, f"/v1/executions/{execution_id}/events")
    before = [listener.hear() for _ in range(2)]
    go(service, execution_id)
    told = [*before, *iter(listener.hear, None)]

    history = service.client.get(f"/v1/executions/{execution_id}/history").json()["events"]
    assert [each and each[2] for each in told] == history
    assert [each and each[:2] for each in told] == [(event["type"], str(event["seq"])) for event in history]


def test_who_comes_back_after_a_restart_is_told_the_rest(service: Service) -> None:
    execution_id = start(service)
    service.kill()
    service.start()
    listener = Listener(service, f"/v1/executions/{execution_id}/events", last="2")
    go(service, execution_id)

    told = list(iter(listener.hear, None))

    assert [each[1] for each in told if each] == [str(number) for number in range(3, len(told) + 3)]
    assert told[-1] is not None
    assert told[-1][0] == "execution_ended"


def test_changes_of_status_are_told_of_all_executions(service: Service) -> None:
    listener = Listener(service, "/v1/executions:events")
    first, second = start(service), start(service)
    go(service, first)

    told: dict[str, str] = {}
    while told != {first: "completed", second: "waiting"}:
        change = listener.hear()
        assert change is not None
        told[change[2]["execution_id"]] = change[2]["status"]


def test_a_position_of_another_process_is_reset(service: Service) -> None:
    listener = Listener(service, "/v1/executions:events", last="00000000-7")

    heard = listener.hear()

    assert heard is not None
    assert heard[0] == "reset"


def test_those_who_follow_leave_the_threads_to_the_others(service: Service) -> None:
    execution_id = start(service)
    listeners = [Listener(service, f"/v1/executions/{execution_id}/events") for _ in range(FOLLOWERS)]

    refused = service.client.get("/v1/executions:events")
    began = time.monotonic()
    answers = [service.client.get("/health").status_code for _ in range(20)]

    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/overloaded")
    assert answers == [200] * 20
    assert time.monotonic() - began < 5
    go(service, execution_id)
    for listener in listeners:
        assert [each[0] for each in iter(listener.hear, None)][-1] == "execution_ended"


def test_a_client_that_has_left_makes_room_at_the_next_event(service: Service) -> None:
    execution_id = start(service)
    port = int(str(service.client.base_url).rpartition(":")[2].strip("/"))
    for _ in range(FOLLOWERS):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(head("GET", f"/v1/executions/{execution_id}/events", host=f"127.0.0.1:{port}"))
            assert client.recv(100)
    go(service, execution_id)
    service.await_status(execution_id)

    deadline = time.monotonic() + 10
    while (status := _status(service)) != 200 and time.monotonic() < deadline:
        time.sleep(0.05)

    assert status == 200


def _status(service: Service) -> int:
    with service.client.stream("GET", "/v1/executions:events") as answer:
        return answer.status_code


def test_a_stop_ends_the_streams_and_waits_for_none(service: Service) -> None:
    execution_id = start(service)
    listeners = [
        Listener(service, f"/v1/executions/{execution_id}/events", last="2"),
        Listener(service, "/v1/executions:events"),
    ]
    began = time.monotonic()

    assert service.stop(signal.SIGTERM) == 0

    assert time.monotonic() - began < 4
    assert [listener.hear() for listener in listeners] == [None, None]


@pytest.mark.parametrize("way", ["file", "service"])
def test_tail_follows_until_the_end(service: Service, way: str) -> None:
    execution_id = start(service)
    place = (
        ["--database", str(service.database)] if way == "file" else ["--url", str(service.client.base_url)]
    )
    command = [sys.executable, "-m", "flow_manager", "tail", execution_id, "--json", *place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        told = [json.loads(process.stdout.readline()) for _ in range(2)]
        go(service, execution_id)
        told += [json.loads(line) for line in process.stdout]

    assert told == service.client.get(f"/v1/executions/{execution_id}/history").json()["events"]
    assert process.returncode == 0


def test_tail_says_in_one_line_what_the_service_refuses(service: Service) -> None:
    unknown = "0198c0de-0000-7000-8000-00000000000f"
    url = str(service.client.base_url)
    command = [sys.executable, "-m", "flow_manager", "tail", unknown, "--url", url]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: no execution has the id '{unknown}'\n"
