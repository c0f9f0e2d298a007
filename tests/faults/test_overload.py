"""F34: clients that ask for five times what the service can do, and do not slow down."""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import httpx
import pytest

from tests.support.documents import document, task
from tests.support.open_loop import flood
from tests.support.service import Service
from tests.support.soundness import assert_sound

QUICK = document(task("nothing"), task("plain"), flow_id="quick")
SLOW = document(task("nap", {"seconds": 0.02}), task("nothing"), flow_id="slow")

TIMES: Final = 5
"""How much more is asked for than can be done."""
HEALTHY: Final = 0.1
"""Seconds in which health answers."""
LEAST_SHARE: Final = 0.1
"""Of what it can do, the service still does so much; the clients take their share of the machine too."""


class Load(NamedTuple):
    """What is asked for, with the value of `Prefer`, and the options under which it is the bottleneck."""

    flow: dict[str, Any]
    prefer: str
    options: tuple[str, ...]


LOADS = {
    "requests": Load(QUICK, "-", ()),
    "requests that do not wait": Load(QUICK, "respond-async", ()),
    "tasks": Load(
        SLOW, "respond-async", ("--task-threads", "4", "--max-running", "50", "--max-waiting", "200")
    ),
}


class HealthWatch:
    """Asks for health again and again as long as it is the context; how long each took, in seconds."""

    def __init__(self, service: Service) -> None:
        self.seconds: list[float] = []
        self._client = httpx.Client(base_url=service.client.base_url, timeout=60.0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._client.close()

    def _ask(self) -> None:
        while not self.seconds or not self._stopping.wait(0.02):
            began = time.monotonic()
            assert self._client.get("/health").status_code == 200
            self.seconds.append(time.monotonic() - began)


def await_no_open_execution(service: Service, patience: float) -> None:
    deadline = time.monotonic() + patience
    while service.client.get("/health").json()["open_executions"]:
        assert time.monotonic() < deadline, f"executions are still open after {patience} s"
        time.sleep(0.1)


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
@pytest.mark.parametrize(
    ("seconds", "health"),
    [
        pytest.param(2.0, statistics.median, id="2 s"),
        pytest.param(
            120.0,
            lambda seconds: statistics.quantiles(seconds, n=100)[-1],
            id="120 s",
            marks=pytest.mark.torture,
        ),
    ],
)
def test_overload_is_shed_early_and_what_was_accepted_goes_on(
    tmp_path: Path, load: Load, seconds: float, health: Any
) -> None:
    with Service(tmp_path, "--log-level", "error", *load.options) as service:
        able = flood(service.port, load.flow, 0, 1.0)

        with HealthWatch(service) as watch:
            report = flood(service.port, load.flow, TIMES * able.per_second, seconds, load.prefer)
        await_no_open_execution(service, 60.0)
        assert service.stop() == 0

    assert set(report.statuses) <= {"200", "202", "503"}
    assert report.statuses["503"] > report.statuses["200"] + report.statuses["202"]
    assert report.without_retry_after == 0
    assert report.unanswered == 0
    assert report.per_second >= LEAST_SHARE * able.per_second
    assert health(watch.seconds) <= HEALTHY
    assert_sound(service.database, [*able.accepted, *report.accepted])
