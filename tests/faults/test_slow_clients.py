"""F35: clients that send slowly, do not go away, or take nothing of what they asked for."""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from select import select
from typing import Any, Final

import httpx
import psutil
import pytest

from flow_manager.api.server import CLIENT_SILENCE, HEAD_TIMEOUT
from flow_manager.bootstrap import threads_of
from flow_manager.settings import Settings
from tests.support.documents import document, task
from tests.support.raw_http import head, request
from tests.support.service import Service, wait_for
from tests.support.soundness import assert_sound
from tests.support.watching import Ask, Watch, health, p99

QUICK = document(task("nothing"), task("plain"), flow_id="quick")
LARGE = {
    **document(*[task("nothing", {"text": "${input.text}"})] * 40, flow_id="large"),
    "input": {"text": "x" * 200_000},
}
"""Its events are more than the system keeps for a client that does not take them."""

PLACES: Final = Settings().handler_threads - 8
"""Requests with a body that are in work at once."""
FOLLOWERS: Final = Settings().max_followers
MEMORY: Final = 512
"""MiB that it has at most."""
SMALL: Final = 4096
"""Bytes that the system keeps for such a client at its own end."""

Slow = Callable[[Service, int], Sequence[socket.socket]]


def connect(service: Service, content: bytes, *, takes_little: bool = False) -> socket.socket:
    connection = socket.socket()
    if takes_little:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    connection.settimeout(10.0)
    connection.connect(("127.0.0.1", service.port))
    connection.sendall(content)
    return connection


def slow_heads(service: Service, count: int) -> Sequence[socket.socket]:
    return [connect(service, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: a") for _ in range(count)]


def slow_bodies(service: Service, count: int) -> Sequence[socket.socket]:
    """They leave one of ten places to others, whatever their count."""
    lines = ("Content-Type: application/json", "Content-Length: 100000")
    content = head("POST", "/flow/execute", *lines) + b"{"
    return [connect(service, content) for _ in range(min(count, PLACES * 9 // 10))]


def idle_connections(service: Service, count: int) -> Sequence[socket.socket]:
    """They were answered once."""
    connections = [connect(service, request("GET", "/health")) for _ in range(count)]
    for each in connections:
        assert each.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    return connections


def takers_of_nothing(service: Service, count: int) -> Sequence[socket.socket]:
    """Each asks for more than the system keeps for it."""
    content = request("GET", "/openapi.json") * 100
    return [connect(service, content, takes_little=True) for _ in range(min(count, 100))]


def followers_of_nothing(service: Service, count: int) -> Sequence[socket.socket]:
    """They follow an execution, and take none of its events. One place is left to others."""
    execution_id = service.execute(LARGE).json()["execution_id"]
    content = request("GET", f"/v1/executions/{execution_id}/events")
    return [connect(service, content, takes_little=True) for _ in range(min(count, FOLLOWERS - 1))]


KINDS: Mapping[str, Slow] = {
    "heads": slow_heads,
    "bodies": slow_bodies,
    "idle": idle_connections,
    "takers of nothing": takers_of_nothing,
    "followers of nothing": followers_of_nothing,
}


@contextlib.contextmanager
def trickling(connections: Sequence[socket.socket]) -> Iterator[None]:
    """A byte a second on each connection."""
    stopping = threading.Event()

    def send() -> None:
        while not stopping.wait(1.0):
            for each in connections:
                with contextlib.suppress(OSError):  # the service has closed it
                    each.send(b"a", socket.MSG_DONTWAIT)

    thread = threading.Thread(target=send)
    thread.start()
    yield
    stopping.set()
    thread.join()


@contextlib.contextmanager
def closing_all(connections: Sequence[socket.socket]) -> Iterator[None]:
    try:
        yield
    finally:
        for each in connections:
            each.close()


class Healthy:
    """Clients as they should be: how long they wait."""

    def __init__(self, service: Service) -> None:
        self.executed: list[str] = []
        self._service = service

    def watch(self, seconds: float) -> dict[str, list[float]]:
        asks: dict[str, Ask] = {"health": health, "execute": self._execute}
        with contextlib.ExitStack() as stack:
            watches = {name: stack.enter_context(Watch(self._service, ask)) for name, ask in asks.items()}
            time.sleep(seconds)
        return {name: watch.seconds for name, watch in watches.items()}

    def _execute(self, client: httpx.Client) -> httpx.Response:
        answer = client.post("/flow/execute", json=QUICK)
        if answer.is_success:
            self.executed.append(answer.json()["execution_id"])
        return answer


@pytest.fixture
def many_files() -> Iterator[None]:
    """Both ends of a connection take one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("count", "seconds", "typical", "most"),
    [
        # What is typical on a machine that does other things besides says nothing of single answers.
        pytest.param(100, 1.5, statistics.median, 0.1, id="100"),
        pytest.param(1_000, 30.0, p99, 0.01, id="1,000", marks=pytest.mark.torture),
    ],
)
def test_slow_clients_keep_nobody_else_waiting(
    tmp_path: Path, kind: str, count: int, seconds: float, typical: Callable[[Any], float], most: float
) -> None:
    with Service(tmp_path, "--log-level", "error") as service:
        assert service.process is not None
        healthy = Healthy(service)
        idle = healthy.watch(seconds)
        connections = KINDS[kind](service, count)
        with closing_all(connections), trickling(connections if kind in ("heads", "bodies") else ()):
            time.sleep(1.0)
            busy = healthy.watch(seconds)
            process = psutil.Process(service.process.pid)
            threads, memory = process.num_threads(), process.memory_info().rss >> 20
        assert service.stop() == 0

    for name, taken in busy.items():
        assert typical(taken) <= max(most, 2 * typical(idle[name])), name
    assert threads <= threads_of(Settings())
    assert memory <= MEMORY
    assert_sound(service.database, healthy.executed)


def await_completed(service: Service) -> str:
    """The id of the first execution that is not refused any more."""

    def look() -> str | None:
        answer = service.execute(QUICK)
        return answer.json()["execution_id"] if answer.is_success else None

    return wait_for(look, service.log, service.process)


def test_more_slow_bodies_than_places_keep_reading_alive_and_end_with_their_clients(tmp_path: Path) -> None:
    lines = ("Content-Type: application/json", "Content-Length: 9999")
    with Service(tmp_path, "--log-level", "error") as service:
        accepted = [await_completed(service)]
        slow = head("POST", "/flow/execute", *lines) + b"{"
        connections = [connect(service, slow) for _ in range(PLACES + 20)]
        with closing_all(connections):
            # One of ours that came in between would keep a place free for the next.
            wait_for(lambda: len(select(connections, [], [], 0.1)[0]) >= 20 or None, service.log)
            refused = service.execute(QUICK)
            read = service.client.get(f"/flow/status/{accepted[0]}")

        accepted.append(await_completed(service))
        assert service.stop() == 0

    assert refused.status_code == 503
    assert refused.json()["type"] == "/problems/overloaded"
    assert refused.headers["Retry-After"]
    assert read.status_code == 200
    assert_sound(service.database, accepted)


def keepalive_timers(port: int) -> int:
    """Established connections of this port that the system will ask whether anybody is still there."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        row[1].endswith(f":{port:04X}") and row[3] == "01" and row[5].startswith("02:") for row in rows
    )


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells of the timers")
def test_the_host_of_a_body_that_does_not_end_is_asked_whether_it_is_there(tmp_path: Path) -> None:
    with Service(tmp_path, "--log-level", "error") as service:
        with closing_all(slow_bodies(service, 10)):
            wait_for(lambda: keepalive_timers(service.port) >= 10 or None, service.log)
        assert service.stop() == 0


def closed_after(connections: Sequence[socket.socket], patience: float) -> float:
    """Seconds until the service has closed all of them; what it sends meanwhile is taken."""
    began = time.monotonic()
    selector = selectors.DefaultSelector()
    for each in connections:
        selector.register(each, selectors.EVENT_READ)
    while selector.get_map():
        assert time.monotonic() - began <= patience, f"{len(selector.get_map())} are still open"
        for key, _ in selector.select(1.0):
            connection: Any = key.fileobj
            with contextlib.suppress(ConnectionError):
                if connection.recv(1 << 16):
                    continue
            selector.unregister(connection)
    return time.monotonic() - began


@pytest.mark.torture
def test_heads_that_do_not_end_are_cut_off(tmp_path: Path) -> None:
    with Service(tmp_path, "--log-level", "error") as service:
        connections = [*slow_heads(service, 100), *idle_connections(service, 100)]
        with closing_all(connections), trickling(connections[:100]):
            took = closed_after(connections, HEAD_TIMEOUT / 1000 + 20)
        assert service.stop() == 0

    assert took >= HEAD_TIMEOUT / 1000 - 10


@pytest.mark.torture
def test_followers_that_take_nothing_are_dropped_and_leave_their_places(tmp_path: Path) -> None:
    with Service(tmp_path, "--log-level", "error") as service:
        first = service.execute(LARGE).json()["execution_id"]
        content = request("GET", f"/v1/executions/{first}/events")
        connections = [connect(service, content, takes_little=True) for _ in range(FOLLOWERS)]
        with closing_all(connections):
            began = time.monotonic()
            time.sleep(1.0)
            assert service.client.get(f"/v1/executions/{first}/events").status_code == 503
            while service.client.get(f"/v1/executions/{first}/events").status_code == 503:
                assert time.monotonic() - began < 3 * CLIENT_SILENCE / 1000
                time.sleep(1.0)
        assert service.stop() == 0
    assert_sound(service.database, [first])
