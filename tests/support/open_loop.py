"""Clients that do not slow down when the service does: requests are sent by the clock, whether or not those
before have been answered. `python -m tests.support.open_loop PORT RATE SECONDS PREFER`

The body of each request to start an execution comes from stdin. RATE is in requests a second; with 0 there
are 64 clients, and each sends its next request when its last one is answered, which measures the capacity.
PREFER is the value of that header, or `-`. The answer is a `Report` as JSON on stdout.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

MOST_CONNECTIONS: Final = 2_000
CLIENTS: Final = 64
PATIENCE: Final = 30.0
"""Seconds for the answers that are out when the last request has been sent."""
ROOT: Final = Path(__file__).parents[2]


@dataclass
class Report:
    """What became of the requests. `unsent` were due when all connections were taken."""

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    without_retry_after: int = 0
    unanswered: int = 0
    unsent: int = 0

    @property
    def per_second(self) -> float:
        return len(self.accepted) / self.seconds


@dataclass(slots=True, eq=False)
class _Connection:
    sock: socket.socket
    received: bytes = b""
    is_asked: bool = False
    """Whether an answer is out."""

    def answer(self) -> tuple[bytes, bytes] | None:
        """The head and the body, when they are there. Raises `ConnectionError`."""
        piece = self.sock.recv(1 << 16)
        if not piece:
            raise ConnectionError("closed")
        self.received += piece
        head, found, body = self.received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if not found or len(body) < int(length):
            return None
        self.received = b""
        return head.lower(), body


class _Clients:
    def __init__(self, port: int, request: bytes, rate: float) -> None:
        self._port = port
        self._request = request
        self._rate = rate
        self._selector = selectors.DefaultSelector()
        self._free: deque[_Connection] = deque()
        self._open = 0
        self._out = 0
        self.report = Report()

    def run(self, seconds: float) -> Report:
        began = time.monotonic()
        sent = 0
        while (elapsed := time.monotonic() - began) < seconds:
            due = int(elapsed * self._rate) - sent if self._rate else CLIENTS - self._out
            for _ in range(due):
                sent += 1
                self._send()
            self._receive(0.001)
        self.report.seconds = time.monotonic() - began
        while self._out and time.monotonic() - began < seconds + PATIENCE:
            self._receive(0.1)
        self.report.unanswered += self._out
        return self.report

    def _send(self) -> None:
        connection = self._free.pop() if self._free else self._connect()
        if connection is None:
            self.report.unsent += 1
            return
        try:
            connection.sock.sendall(self._request)
        except OSError:
            self.report.unanswered += 1
            self._close(connection)
        else:
            connection.is_asked = True
            self._out += 1

    def _connect(self) -> _Connection | None:
        if self._open >= MOST_CONNECTIONS:
            return None
        with contextlib.suppress(OSError):
            connection = _Connection(socket.create_connection(("127.0.0.1", self._port), timeout=1.0))
            self._selector.register(connection.sock, selectors.EVENT_READ, connection)
            self._open += 1
            return connection
        return None

    def _lose(self, connection: _Connection) -> None:
        """The service has closed it; one on which no answer is out it may close when it likes."""
        if connection.is_asked:
            self._out -= 1
            self.report.unanswered += 1
        else:
            self._free.remove(connection)
        self._close(connection)

    def _close(self, connection: _Connection) -> None:
        self._selector.unregister(connection.sock)
        connection.sock.close()
        self._open -= 1

    def _receive(self, patience: float) -> None:
        for key, _ in self._selector.select(patience):
            connection: _Connection = key.data
            try:
                answer = connection.answer()
            except OSError:
                self._lose(connection)
                continue
            if answer is not None:
                connection.is_asked = False
                self._out -= 1
                self._note(*answer)
                self._free.append(connection)

    def _note(self, head: bytes, body: bytes) -> None:
        status = head.split(b" ", 2)[1].decode()
        self.report.statuses[status] += 1
        if status in ("200", "202"):
            self.report.accepted.append(orjson.loads(body)["execution_id"])
        elif b"\r\nretry-after:" not in head:
            self.report.without_retry_after += 1


def flood(port: int, document: object, rate: float, seconds: float, prefer: str = "-") -> Report:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "tests.support.open_loop", str(port), str(rate), str(seconds), prefer]
    done = subprocess.run(
        command, input=json.dumps(document).encode(), stdout=subprocess.PIPE, check=True, cwd=ROOT
    )
    report = Report(**json.loads(done.stdout))
    report.statuses = Counter(report.statuses)
    return report


def main(port: int, rate: float, seconds: float, prefer: str) -> None:
    body = sys.stdin.buffer.read()
    lines = ["POST /flow/execute HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *([] if prefer == "-" else [f"Prefer: {prefer}"]), "", ""]
    request = "\r\n".join(lines).encode() + body
    print(json.dumps(vars(_Clients(port, request, rate).run(seconds))))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
