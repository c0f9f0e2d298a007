"""Servers in processes of their own: the service, and an empty route on the same web server."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flask import Flask

from flow_manager import bootstrap
from flow_manager.api.server import ApiServer
from flow_manager.settings import Settings

READY = re.compile(r"listening on http://[^:]+:(\d+)")
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    pid: int
    seconds_to_ready: float


@contextlib.contextmanager
def service(database: Path, *options: str) -> Iterator[Server]:
    """`flow-manager serve` with the tasks of the workloads; it logs nothing but that it is ready."""
    command = ["flow_manager", "serve", "--port", "0", "--database", str(database)]
    with _started([*command, "--task-module", "benchmarks.flows", *options]) as server:
        yield server


@contextlib.contextmanager
def empty_route() -> Iterator[Server]:
    with _started(["benchmarks.servers"]) as server:
        yield server


@contextlib.contextmanager
def _started(module: Sequence[str]) -> Iterator[Server]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with tempfile.NamedTemporaryFile("w+", prefix="flow-manager-bench-", suffix=".log") as log:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", *module], stderr=log, env=environment)
        try:
            port = _port(Path(log.name), process, began + PATIENCE)
            yield Server(port, process.pid, time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _port(log: Path, process: subprocess.Popen[bytes], deadline: float) -> int:
    while time.perf_counter() < deadline and process.poll() is None:
        found = READY.search(log.read_text(encoding="utf-8"))
        if found:
            return int(found[1])
        time.sleep(0.01)
    raise RuntimeError(f"the server did not get ready: {log.read_text(encoding='utf-8')}")


def main() -> None:
    """An empty JSON route on the service's own web server, with the same settings."""
    settings = Settings(port=0)
    bootstrap.configure_logging(settings)
    app = Flask(__name__)

    @app.post("/empty")
    def empty() -> tuple[bytes, dict[str, str]]:
        return b"{}", {"Content-Type": "application/json"}

    ApiServer(app, settings, on_stop=lambda: None, on_hurry=lambda: None).serve()
    os._exit(0)


if __name__ == "__main__":
    main()
