"""F34: clients that ask for five times what the service can do, and do not slow down."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.support.documents import document, task
from tests.support.open_loop import flood
from tests.support.service import Service
from tests.support.soundness import assert_sound
from tests.support.watching import Watch, p99

QUICK = document(task("nothing"), task("plain"), flow_id="quick")
SLOW = document(task("nap", {"seconds": 0.02}), task("nothing"), flow_id="slow")

TIMES: Final = 5
"""How much more is asked for than can be done."""
HEALTHY: Final = 0.1
"""Seconds in which health answers."""
MOST_MORE: Final = 2
"""If it does so much more than it could, a neighbour had the machine before: nobody asked for too much."""
LEAST_SHARE: Final = 0.1
"""Of what it can do, the service still does so much; the clients take their share of the machine too."""


class Load(NamedTuple):
    """What is asked for, with the value of `Prefer`, and the options under which it is the bottleneck."""

    flow: dict[str, Any]
    prefer: str
    options: tuple[str, ...]


LOADS = [
    pytest.param(Load(QUICK, "-", ()), id="requests"),
    pytest.param(Load(QUICK, "respond-async", ()), id="requests that do not wait", marks=pytest.mark.torture),
    pytest.param(
        Load(SLOW, "respond-async", ("--task-threads", "4", "--max-running", "50", "--max-waiting", "200")),
        id="tasks",
    ),
]


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(
    ("seconds", "health"),
    [
        pytest.param(2.0, statistics.median, id="2 s"),
        pytest.param(120.0, p99, id="120 s", marks=pytest.mark.torture),
    ],
)
def test_overload_is_shed_early_and_what_was_accepted_goes_on(
    tmp_path: Path, load: Load, seconds: float, health: Any
) -> None:
    with Service(tmp_path, "--log-level", "error", *load.options) as service:
        able, accepted = flood(service.port, load.flow, 0, 1.0), list[str]()
        while True:
            accepted += able.accepted
            with Watch(service) as watch:
                report = flood(service.port, load.flow, TIMES * able.per_second, seconds, load.prefer)
            if report.per_second <= MOST_MORE * able.per_second:
                break
            able = report
        service.await_none_open(60.0)
        assert service.stop() == 0

    assert set(report.statuses) <= {"200", "202", "503"}
    assert report.statuses["503"] > report.statuses["200"] + report.statuses["202"]
    assert report.without_retry_after == 0
    assert report.unanswered == 0
    assert report.per_second >= LEAST_SHARE * able.per_second
    assert health(watch.seconds) <= HEALTHY
    assert_sound(service.database, [*accepted, *report.accepted])
