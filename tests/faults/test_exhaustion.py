"""F47: the system gives the service no more descriptors, or no more threads."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.support.documents import document, task
from tests.support.service import Service
from tests.support.soundness import assert_sound

QUICK = document(task("nothing"), task("plain"), flow_id="quick")
NAP = document(task("nap", {"seconds": 0.2}), task("sleep", {"seconds": 0.2}), flow_id="nap")
ISOLATED = document(task("isolated"), flow_id="isolated")

RECOVERY: Final = 5.0
"""Seconds after which it answers everybody again."""
FILES: Final = 64
THREADS: Final = 60
SOMEBODY: Final = (1 << 20) + os.getpid()
"""A user who runs nothing else, not even the same test elsewhere: threads are counted by user, and root has
no limit."""


def with_few_files() -> Sequence[str]:
    return ("sh", "-c", f'ulimit -n {FILES} && exec "$@"', "sh")


@pytest.fixture
def somebodys_folder() -> Iterator[Path]:
    """Not below that of the test, which nobody else may look into. Skips the test where nobody else can be
    run as."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None or shutil.which("prlimit") is None:
        pytest.skip("running as another user needs root, setpriv and prlimit")
    with tempfile.TemporaryDirectory(prefix="flow-manager-") as folder:
        os.chown(folder, SOMEBODY, -1)
        yield Path(folder)


def with_few_threads(threads: int = THREADS) -> Sequence[str]:
    # So that it still finds the interpreter, wherever that is.
    capabilities = "-all,+dac_override"
    who = ("--reuid", str(SOMEBODY), "--inh-caps", capabilities, "--ambient-caps", capabilities)
    return ("setpriv", *who, "prlimit", f"--nproc={threads}")


class Crowd:
    """Many clients, each on a connection of its own, that start executions as long as it is the context."""

    def __init__(self, service: Service, count: int = 100) -> None:
        self.accepted: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.without_retry_after = 0
        self._service = service
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> Crowd:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for each in self._threads:
            each.join()

    def _run(self) -> None:
        process = self._service.process
        assert process is not None
        with httpx.Client(base_url=self._service.client.base_url, timeout=3.0) as client:
            while not self._stopping.is_set() and process.poll() is None:
                try:
                    answer = client.post("/flow/execute", json=NAP)
                except httpx.TransportError:  # nobody has accepted the connection yet
                    continue
                self.statuses[answer.status_code] += 1
                if answer.is_success:
                    self.accepted.append(answer.json()["execution_id"])
                else:
                    self.without_retry_after += "Retry-After" not in answer.headers


def answers_soon(service: Service, began: float) -> None:
    """A new client is answered within `RECOVERY` of `began`."""
    with httpx.Client(base_url=service.client.base_url, timeout=RECOVERY) as client:
        assert client.post("/flow/execute", json=QUICK).json()["status"] == "completed"
    assert time.monotonic() - began <= RECOVERY


def survive(service: Service, crowds: int, seconds: float) -> None:
    accepted = []
    with service:
        assert service.process is not None
        for _ in range(crowds):
            with Crowd(service) as crowd:
                time.sleep(seconds)
            answers_soon(service, time.monotonic())
            assert set(crowd.statuses) <= {200, 202, 503}
            assert crowd.without_retry_after == 0
            accepted += crowd.accepted
        isolated = service.execute(ISOLATED).json()
        assert isolated["status"] == "completed", isolated
        assert service.process.poll() is None
        for execution_id in accepted:
            assert service.await_status(execution_id)["status"] == "completed"
        assert service.stop() == 0
    assert accepted
    assert_sound(service.database, accepted)


crowds = pytest.mark.parametrize(
    ("crowds", "seconds"),
    [
        pytest.param(1, 3.0, id="once"),
        pytest.param(20, 10.0, id="20 times", marks=pytest.mark.torture),
    ],
)


@crowds
def test_without_descriptors_it_accepts_later_and_loses_nothing(
    tmp_path: Path, crowds: int, seconds: float
) -> None:
    survive(Service(tmp_path, "--log-level", "error", wrapper=with_few_files()), crowds, seconds)


@crowds
def test_without_threads_it_goes_on_with_fewer_and_loses_nothing(
    somebodys_folder: Path, crowds: int, seconds: float
) -> None:
    service = Service(somebodys_folder, "--log-level", "warning", wrapper=with_few_threads())
    survive(service, crowds, seconds)

    assert "--handler-threads" in service.log()


def test_who_keeps_all_connections_that_there_are_keeps_others_out_until_he_goes(tmp_path: Path) -> None:
    with Service(tmp_path, "--log-level", "error", wrapper=with_few_files()) as service:
        accepted = service.execute(NAP, "respond-async").json()["execution_id"]
        service.client.close()
        idle = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(2 * FILES)]

        with (
            httpx.Client(base_url=service.client.base_url, timeout=1.0) as late,
            pytest.raises(httpx.ReadTimeout),
        ):
            late.get("/health")
        for each in idle:
            each.close()

        answers_soon(service, time.monotonic())
        service.client = httpx.Client(base_url=service.client.base_url, timeout=60.0)
        assert service.await_status(accepted)["status"] == "completed"
        assert service.stop() == 0
    assert_sound(service.database, [accepted])


def refused_at_start(service: Service) -> str:
    """What it says when it leaves at once."""
    service.launch()
    assert service.process is not None
    assert service.process.wait(20) == 2
    assert "Traceback" not in service.log()
    return service.log()


def test_a_system_that_lets_it_open_too_few_files_is_told_so_at_once(tmp_path: Path) -> None:
    service = Service(tmp_path, wrapper=("sh", "-c", 'ulimit -n 40 && exec "$@"', "sh"))

    assert "ulimit -n" in refused_at_start(service)


def test_a_system_that_lets_it_have_too_few_threads_is_told_so_at_once(somebodys_folder: Path) -> None:
    service = Service(somebodys_folder, wrapper=with_few_threads(20))

    assert "ulimit -u" in refused_at_start(service)
