"""Servers in processes of their own: the service, and an empty route on the same web server."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, request

from flow_manager import bootstrap
from flow_manager.api.server import ApiServer
from flow_manager.settings import Settings

PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    pid: int
    seconds_to_ready: float


@contextlib.contextmanager
def service(database: Path, *options: str) -> Iterator[Server]:
    """`flow-manager serve` with the tasks of the workloads."""
    command = ["flow_manager", "serve", "--database", str(database), "--task-module", "benchmarks.flows"]
    with _started([*command, *options]) as server:
        yield server


@contextlib.contextmanager
def empty_route() -> Iterator[Server]:
    with _started(["benchmarks.servers"]) as server:
        yield server


@contextlib.contextmanager
def _started(module: Sequence[str]) -> Iterator[Server]:
    port = _free_port()
    environment = {**os.environ, "FLOW_MANAGER_PORT": str(port)}
    with tempfile.TemporaryFile(prefix="flow-manager-bench-", suffix=".log") as log:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", *module], stderr=log, env=environment)
        try:
            _await(port, process, began + PATIENCE)
            yield Server(port, process.pid, time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _await(port: int, process: subprocess.Popen[bytes], deadline: float) -> None:
    """Until it answers: any answer will do."""
    while time.perf_counter() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if sock.recv(16):
                return
        time.sleep(0.01)
    raise RuntimeError(f"the server did not get ready; exit code {process.poll()}")


def main() -> None:
    """A JSON route that receives its body and does nothing, on the service's own web server, with
    the same settings."""
    settings = Settings.load({}, os.environ)
    bootstrap.configure_logging(settings)
    app = Flask(__name__)

    @app.post("/empty")
    def empty() -> tuple[bytes, dict[str, str]]:
        request.get_data()
        return b"{}", {"Content-Type": "application/json"}

    ApiServer(app, settings, on_stop=lambda: None, on_hurry=lambda: None).serve()
    os._exit(0)


if __name__ == "__main__":
    main()
