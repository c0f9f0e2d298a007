"""What has happened is counted, in bounded sets of labels, and told in the form of Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from flow_manager.core.events import (
    AttemptEnded,
    AttemptLost,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionQuarantined,
    ExecutionStarted,
    RetryScheduled,
    Routed,
)
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.view import View
from flow_manager.errors import ShuttingDown
from flow_manager.observers.metrics import MOST_VALUES, Metrics
from flow_manager.ports.figures import SECONDS, SIZES, Distribution, EngineFigures, StoreFigures
from tests.support.documents import document, task
from tests.support.engine import engine
from tests.support.executions import NOW
from tests.support.fakes import FAILURE, FakeWorker


def samples(metrics: Metrics) -> dict[str, float]:
    """By name, with labels as they are written; the prefix is left out."""
    text = metrics.page("")[1].decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            name = sample.name.removeprefix("flow_manager_")
            found[f"{name}{{{labels}}}" if labels else name] = sample.value
    return found


def after(*steps: Sequence[Event]) -> dict[str, float]:
    metrics = Metrics()
    for events in steps:
        metrics.recorded(View("an execution"), events)
    return samples(metrics)


def failed(code: str) -> list[Event]:
    return [ExecutionEnded(NOW, ExecutionStatus.FAILED, TaskError(code, "no"))]


def test_starts_and_ends_are_counted_by_status_and_error() -> None:
    start: list[Event] = [ExecutionStarted(NOW, "f"), AttemptStarted(NOW, "a")]
    middle: list[Event] = [AttemptEnded(NOW, "a"), Routed(NOW, "a", "b"), AttemptStarted(NOW, "b", 2)]
    end: list[Event] = [AttemptEnded(NOW, "b", 2), Routed(NOW, "b", "end"), ExecutionEnded(NOW)]

    found = after(start, middle, end, start, failed("http.503"), [*start[:1], *failed("http.503")])

    assert found["executions_started_total"] == 3
    assert found["executions_ended_total{error=,status=completed}"] == 1
    assert found["executions_ended_total{error=http.503,status=failed}"] == 2


def test_what_is_rare_is_counted_wherever_it_stands_in_a_step() -> None:
    lost: list[Event] = [AttemptLost(NOW, "a"), AttemptStarted(NOW, "a", 1, 2)]
    retried: list[Event] = [AttemptEnded(NOW, "a", outcome="failure"), RetryScheduled(NOW, "a", NOW)]

    found = after(lost, lost, retried, [AttemptLost(NOW, "a"), ExecutionQuarantined(NOW, "a")])

    assert found["attempts_lost_total"] == 3
    assert found["retries_total"] == 1
    assert found["executions_quarantined_total"] == 1


def test_error_codes_beyond_a_hundred_count_as_the_others() -> None:
    found = after(*(failed(f"shop.{number}") for number in (*range(MOST_VALUES + 7), 0)))

    ends = {name: value for name, value in found.items() if name.startswith("executions_ended")}
    assert len(ends) == MOST_VALUES + 1
    assert ends["executions_ended_total{error=other,status=failed}"] == 7
    assert ends["executions_ended_total{error=shop.0,status=failed}"] == 2


def test_durations_are_told_by_task_type_and_attempts_by_outcome_too() -> None:
    metrics = Metrics()
    for outcome, seconds in (("success", 0.004), ("success", 3600.0), ("failure", 0.3)):
        metrics.attempted("http", outcome, seconds)

    found = samples(metrics)

    assert found["attempts_total{outcome=success,task_type=http}"] == 2
    assert found["attempts_total{outcome=failure,task_type=http}"] == 1
    buckets = [
        found[f"attempt_duration_seconds_bucket{{le={le},task_type=http}}"]
        for le in ("0.001", "0.005", "0.5", "1800.0", "+Inf")
    ]
    assert buckets == [0, 1, 2, 2, 3]
    assert found["attempt_duration_seconds_count{task_type=http}"] == 3
    assert found["attempt_duration_seconds_sum{task_type=http}"] == pytest.approx(3600.304)


def test_task_types_beyond_a_hundred_count_as_the_others() -> None:
    metrics = Metrics()
    for number in range(MOST_VALUES + 5):
        metrics.attempted(f"type{number}", "success", 1.0)

    found = samples(metrics)

    assert found["attempts_total{outcome=success,task_type=other}"] == 5
    assert sum(name.startswith("attempts_total") for name in found) == MOST_VALUES + 1


def test_each_body_that_has_run_is_counted(tmp_path: Path) -> None:
    metrics = Metrics()

    async def scenario() -> None:
        async with engine(tmp_path / "a.db", FakeWorker({"task2": [FAILURE]})) as it:
            it.orchestrator.attempted = metrics.attempted
            it.worker.on_run = lambda _: it.clock.advance(2)
            await it.execute(document(task("a"), task("b")))

    asyncio.run(scenario())

    found = samples(metrics)
    assert found["attempts_total{outcome=success,task_type=a}"] == 1
    assert found["attempts_total{outcome=failure,task_type=b}"] == 1
    assert found["attempt_duration_seconds_sum{task_type=a}"] == 2


def test_how_the_engine_stands_is_asked_for_when_somebody_looks() -> None:
    metrics = Metrics()
    standing = EngineFigures(
        open=5,
        running=3,
        waiting=2,
        store_bytes=4096,
        store=StoreFigures(7, distribution(SIZES, 1, 64, 1_000), distribution(SECONDS, 0.002)),
        lateness=distribution(SECONDS, 0.0),
        loop_lag=0.25,
        deliveries={"delivered": 4, "failed": 1},
        pending_deliveries=6,
        parked_deliveries=8,
    )
    metrics.watch(lambda: standing)

    found = samples(metrics)

    told = {
        "executions_open": 5,
        "executions_running": 3,
        "executions_waiting": 2,
        "store_bytes": 4096,
        "journal_queue": 7,
        "commit_size_bucket{le=64}": 2,
        "commit_size_count": 3,
        "commit_size_sum": 1065,
        "commit_seconds_bucket{le=0.0025}": 1,
        "wake_lateness_seconds_bucket{le=0.001}": 1,
        "loop_lag_seconds": 0.25,
        "webhook_tries_total{outcome=delivered}": 4,
        "webhooks_pending": 6,
        "webhooks_parked": 8,
    }
    assert {name: found[name] for name in told} == told


def distribution(bounds: tuple[float, ...], *values: float) -> Distribution:
    made = Distribution(bounds)
    for value in values:
        made.add(value)
    return made


def test_a_store_that_was_closed_does_not_hide_what_has_happened() -> None:
    def refuse() -> EngineFigures:
        raise ShuttingDown("closed")

    metrics = Metrics()
    metrics.watch(refuse)
    metrics.recorded(View("an execution"), [ExecutionStarted(NOW, "f")])

    assert samples(metrics)["executions_started_total"] == 1


def test_violations_are_those_of_the_last_look() -> None:
    metrics = Metrics()
    assert samples(metrics)["violations_looked_at_timestamp_seconds"] == 0

    metrics.set_violations({"wake.missing": 2, "outbox.parked": 1})
    metrics.set_violations({"outbox.parked": 3})

    found = samples(metrics)
    assert {name: value for name, value in found.items() if name.startswith("violations{")} == {
        "violations{code=outbox.parked}": 3
    }
    assert found["violations_looked_at_timestamp_seconds"] > 1e9


def test_two_of_them_do_not_mix() -> None:
    one, other = Metrics(), Metrics()
    one.recorded(View("an execution"), [ExecutionStarted(NOW, "f")])

    assert samples(one)["executions_started_total"] == 1
    assert samples(other)["executions_started_total"] == 0


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/plain;version=nonsense", "text/plain"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text"),
        ("application/openmetrics-text; version=\x7f..", "application/openmetrics-text"),
    ],
)
def test_the_page_has_the_form_that_was_asked_for(accept: str, expected: str) -> None:
    media_type, page = Metrics().page(accept)

    assert media_type.startswith(expected)
    parse = parse_openmetrics if "openmetrics" in expected else text_string_to_metric_families
    assert len(list(parse(page.decode()))) > 10


def test_labels_are_written_so_that_they_cannot_forge_a_line() -> None:
    found = after(failed('a"} 1\nflow_manager_forged 1'))

    assert "forged" not in found
    assert sum(name.startswith("executions_ended") for name in found) == 1


def test_a_step_without_events_counts_as_nothing() -> None:
    metrics = Metrics()
    before = samples(metrics)

    metrics.recorded(View("one"), [])

    assert samples(metrics) == before
