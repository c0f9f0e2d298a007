"""The web server itself, over real sockets, in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flow_manager.api.app import create_app
from flow_manager.api.server import LAST_ANSWERS, ApiServer
from flow_manager.errors import SettingsError
from flow_manager.settings import Settings
from tests.support.fake_backend import DOCUMENT, EXECUTION, FakeBackend

ROOT = Path(__file__).parents[3]

POST = b"POST /flow/validate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


class FakeService:
    """`tests.support.fake_service` in a process; what it says is read line by line."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fake_service", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.log = ""
        while "listening on" not in self.log:
            self._read_line()
        self.url = self.log.split()[-1]
        self.port = int(self.url.rpartition(":")[2])

    def _read_line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the service has ended: {self.log}"
        self.log += line
        return line.strip()

    def hear(self) -> str:
        """The next thing that happens."""
        while not (line := self._read_line()).isalpha():
            pass
        return line

    def post(self) -> httpx.Response:
        return httpx.post(f"{self.url}/flow/execute", json=DOCUMENT, timeout=30)

    def health(self) -> httpx.Response:
        return httpx.get(f"{self.url}/health", timeout=10)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, content: bytes) -> bytes:
        """What comes back for these bytes until the connection is closed, or nothing more comes."""
        with self.connect() as connection:
            connection.sendall(content)
            return _read_all(connection)

    def kill(self) -> None:
        self.process.kill()
        self.log += self.process.communicate()[0]


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[FakeService]:
    service = FakeService(*arguments)
    try:
        yield service
    finally:
        service.kill()


@pytest.fixture(scope="module")
def service() -> Iterator[FakeService]:
    with running() as service:
        yield service


def _read_all(connection: socket.socket) -> bytes:
    answer = b""
    connection.settimeout(0.5)
    with contextlib.suppress(TimeoutError, ConnectionError):
        while piece := connection.recv(65536):
            answer += piece
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(line.split()[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.")]


def test_the_service_answers_on_the_port_it_took(service: FakeService) -> None:
    health = service.health()

    assert health.status_code == 200
    assert health.json()["status"] == "ok"
    assert service.post().json()["execution_id"] == EXECUTION


def test_a_kept_connection_serves_many_requests(service: FakeService) -> None:
    with httpx.Client(base_url=service.url) as client:
        answers = [client.post("/flow/execute", json=DOCUMENT) for _ in range(50)]

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 50


@pytest.mark.parametrize(
    ("case", "head"),
    [
        ("10 GiB announced", b"Content-Length: 10737418240\r\n\r\n{"),
        ("10 GiB announced and asked for", b"Content-Length: 10737418240\r\nExpect: 100-continue\r\n\r\n"),
        ("one byte too many", b"Content-Length: 1048577\r\n\r\n{"),
    ],
)
def test_a15_a_body_that_is_too_large_is_refused_unread(service: FakeService, case: str, head: bytes) -> None:
    answer = service.ask(POST + head)

    assert statuses(answer) == [413]
    assert b"application/problem+json" in answer


def test_a15_an_endless_body_is_cut_off(service: FakeService) -> None:
    sent = 0
    with service.connect() as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while sent < 64 << 20:
                connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent += 65536

    assert sent < 64 << 20
    assert service.health().status_code == 200


def test_a_chunked_body_is_read_whole(service: FakeService) -> None:
    chunks = b'4\r\n{"id\r\n6\r\n": "a"\r\n1\r\n}\r\n0\r\n\r\n'

    answer = service.ask(POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks)

    assert statuses(answer) == [200]


SMUGGLED = b"GET /v1/doctor HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: +10\r\n\r\n{}        ",
        b"Content-Length: 0x0A\r\n\r\n{}        ",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 1_0\r\n\r\n{}        ",
        b"Content-Length: \r\n\r\n",
        b"Content-Length: 99999999999999999999\r\n\r\n{}",
        b"Content-Length: 2, 3\r\n\r\n{} ",
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        b"X-A: a\rb\r\nContent-Length: 2\r\n\r\n{}",
        b"X-A: a\0b\r\nContent-Length: 2\r\n\r\n{}",
        b"X-A: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_c18_a_second_request_cannot_hide_in_the_first(service: FakeService, framing: bytes) -> None:
    answer = service.ask(POST + framing + SMUGGLED)

    assert statuses(answer) == [400]
    assert b"violations" not in answer


@pytest.mark.parametrize(
    ("case", "content", "status"),
    [
        ("200 headers", GET + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n", 431),
        ("64 KB header", GET + b"X-A: " + b"a" * 65536 + b"\r\n\r\n", 431),
        ("16 KB address", b"GET /" + b"a" * 16384 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("64 KB address", b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        ("a byte beyond ASCII", b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("no host", b"GET /health HTTP/1.1\r\n\r\n", 400),
        ("two hosts", GET + b"Host: evil.example\r\n\r\n", 400),
        ("body on GET", GET + b"Content-Length: 2\r\n\r\n{}", 400),
        ("TRACE", b"TRACE /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_c18_an_odd_head_is_refused(service: FakeService, case: str, content: bytes, status: int) -> None:
    assert statuses(service.ask(content)) == [status]
    assert service.health().status_code == 200


def test_bodies_that_never_come_do_not_keep_health_from_answering(service: FakeService) -> None:
    with contextlib.ExitStack() as connections:
        for _ in range(100):
            connection = connections.enter_context(service.connect())
            connection.sendall(POST + b"Content-Length: 100\r\n\r\n{")
        began = time.monotonic()
        health = service.health()
        took = time.monotonic() - began

    assert health.status_code == 200
    assert took < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_the_service(number: signal.Signals) -> None:
    with running() as service, service.connect():  # an idle connection does not hold it up
        service.process.send_signal(number)
        said = [service.hear(), service.hear()]

        assert said == ["stop", "stopped"]
        assert service.process.wait(LAST_ANSWERS) == 0


def test_while_it_drains_the_service_answers_and_takes_nothing_new() -> None:
    with running("30") as service:
        answers: list[httpx.Response] = []
        waiting = threading.Thread(target=lambda: answers.append(service.post()))
        waiting.start()
        assert service.hear() == "start"

        service.process.send_signal(signal.SIGTERM)
        assert service.hear() == "stop"
        health, refused = service.health(), service.post()
        service.process.send_signal(signal.SIGTERM)
        assert [service.hear(), service.hear()] == ["hurry", "stopped"]
        waiting.join(10)

        assert health.json()["status"] == "stopping"
        assert refused.status_code == 503
        assert refused.json()["type"] == "/problems/stopping"
        assert refused.headers["Retry-After"]
        assert [answer.json()["status"] for answer in answers] == ["completed"]
        assert service.process.wait(LAST_ANSWERS) == 0


def test_what_is_ready_within_the_grace_is_answered() -> None:
    with running("0.3") as service:
        answers: list[httpx.Response] = []
        waiting = [threading.Thread(target=lambda: answers.append(service.post())) for _ in range(20)]
        for each in waiting:
            each.start()
        assert {service.hear() for _ in waiting} == {"start"}

        service.process.send_signal(signal.SIGTERM)
        for each in waiting:
            each.join(10)

        assert [answer.status_code for answer in answers] == [200] * 20
        assert service.process.wait(LAST_ANSWERS) == 0


def test_the_log_says_where_it_listens_and_nothing_of_the_server_beneath() -> None:
    with running() as service:
        service.process.terminate()
        service.process.wait(10)

    assert "listening on http://127.0.0.1:" in service.log
    assert "ranian" not in service.log


def make(settings: Settings) -> ApiServer:
    backend = FakeBackend()
    return ApiServer(create_app(backend, settings), settings, on_stop=lambda: None, on_hurry=lambda: None)


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(SettingsError, match=rf"port {port} .* is in use.*--port"):
            make(Settings(port=port))


def test_two_services_cannot_share_a_port() -> None:
    first = make(Settings(port=0))
    try:
        with pytest.raises(SettingsError, match=str(first.port)):
            make(Settings(port=first.port))
    finally:
        first.close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "host.invalid"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(SettingsError, match=f"{host}.*--host"):
        make(Settings(host=host, port=0))


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_the_address_can_be_opened_as_it_is_told(host: str, url: str) -> None:
    server = make(Settings(host=host, port=0))
    try:
        assert server.url == f"{url}{server.port}"
        assert server.port > 0
    finally:
        server.close()
