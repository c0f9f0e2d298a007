"""A small HTTP client that keeps many connections busy.

`python -m benchmarks.load PORT PATH CONNECTIONS SECONDS`

The body of each request comes from stdin; the answer is one JSON object: requests per second,
latencies in milliseconds, and how many answers had a status other than 200. It runs in a process
of its own and spends a few microseconds on a request, so that the server is what is measured.
"""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Connection:
    sock: socket.socket
    sent_at: float = 0.0
    received: bytes = b""

    def send(self, request: bytes) -> None:
        self.sent_at = time.perf_counter()
        self.received = b""
        self.sock.sendall(request)

    def receive(self) -> bool:
        """Whether the whole answer is there now."""
        chunk = self.sock.recv(65536)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        self.received += chunk
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return False
        length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
        return len(body) >= int(length)


def measure(port: int, path: str, body: bytes, connections: int, seconds: float) -> dict[str, Any]:
    request = (
        f"POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        connection = Connection(socket.create_connection(("127.0.0.1", port)))
        selector.register(connection.sock, selectors.EVENT_READ, connection)
        connection.send(request)
    latencies: list[float] = []
    refused = 0
    began = time.perf_counter()
    ends_at = began + seconds
    while time.perf_counter() < ends_at:
        for key, _ in selector.select(0.1):
            connection = key.data
            if connection.receive():
                latencies.append(time.perf_counter() - connection.sent_at)
                refused += not connection.received.startswith(b"HTTP/1.1 200")
                connection.send(request)
    taken = time.perf_counter() - began
    latencies.sort()
    return {
        "per_second": len(latencies) / taken,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
        "refused": refused,
    }


def load(port: int, path: str, body: bytes, connections: int, seconds: float) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load", str(port), path, str(connections), str(seconds)]
    done = subprocess.run(command, input=body, stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    if answer["refused"]:
        raise AssertionError(f"{answer['refused']} requests were not answered with 200")
    return answer


if __name__ == "__main__":
    port, path, connections, seconds = sys.argv[1:]
    result = measure(int(port), path, sys.stdin.buffer.read(), int(connections), float(seconds))
    print(json.dumps(result))
