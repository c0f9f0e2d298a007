"""The service as users run it: a real process, a real port, a real file; and the means to kill it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from tests.support.ports import LOOPBACK, free_port

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0

Found = TypeVar("Found")


class Service:
    """`flow-manager serve` in a folder of its own. As a context it is started, and killed at the end."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        task_modules: Sequence[str] = ("tests.support.service_tasks",),
        environment: dict[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.database = folder / "flow-manager.db"
        self._options = options
        self._modules = task_modules
        self._environment = environment or {}
        self._wrapper = wrapper
        self.log_path = folder / "service.log"
        self._read_from = 0
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(timeout=60.0)

    def start(self) -> Self:
        """Start it and wait until it listens."""
        self.launch()
        self.await_ready()
        return self

    def launch(self) -> None:
        """Start it without waiting."""
        self._read_from = self.log_path.stat().st_size if self.log_path.exists() else 0
        modules = [part for module in self._modules for part in ("--task-module", module)]
        self.port = free_port()
        command = [*self._wrapper, sys.executable, "-m", "flow_manager", "serve", "--port", str(self.port)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--database", str(self.database), *modules, *self._options],
                stderr=log,
                stdout=log,
                cwd=ROOT,
                env={**os.environ, **self._environment},
            )

    def await_ready(self) -> None:
        assert self.process is not None
        self.client.close()
        self.client = httpx.Client(base_url=f"http://{LOOPBACK}:{self.port}", timeout=60.0)
        wait_for(self._answers, lambda: f"the service did not get ready:\n{self.log()}", self.process)

    def _answers(self) -> bool | None:
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/health").status_code == 200 or None
        return None

    def log(self) -> str:
        """What it has logged since it was last started."""
        with self.log_path.open("rb") as log:
            log.seek(self._read_from)
            return log.read().decode()

    def kill(self) -> None:
        """As `kill -9` does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; the answer is its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            if self.process is not None:
                self.kill()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.kill()

    # -- what users ask of it

    def execute(self, document: object, prefer: str | None = None) -> httpx.Response:
        headers = {} if prefer is None else {"Prefer": prefer}
        return self.client.post("/flow/execute", json=document, headers=headers)

    def status(self, execution_id: str) -> dict[str, Any]:
        answer = self.client.get(f"/flow/status/{execution_id}")
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    def await_status(self, execution_id: str, *statuses: str) -> dict[str, Any]:
        """Wait until the execution has one of the statuses (by default: has ended)."""
        wanted = statuses or ("completed", "failed")

        def look() -> dict[str, Any] | None:
            with contextlib.suppress(httpx.TransportError):
                body = self.status(execution_id)
                return body if body["status"] in wanted else None
            return None

        return wait_for(look, lambda: f"still {self.status(execution_id)}", self.process)

    def await_none_open(self, patience: float) -> None:
        """Wait until every execution has ended."""
        deadline = time.monotonic() + patience
        while count := self.client.get("/health").json()["open_executions"]:
            assert time.monotonic() < deadline, f"{count} executions are still open after {patience} s"
            time.sleep(0.1)

    def violations(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get("/v1/doctor").json()["violations"]
        return found


def wait_for(
    look: Callable[[], Found | None],
    complaint: Callable[[], str],
    process: subprocess.Popen[bytes] | None = None,
) -> Found:
    """Look again and again until there is something to see, or the process is gone."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the process ended with {process.returncode}; {complaint()}")
        time.sleep(0.02)
    raise AssertionError(complaint())
