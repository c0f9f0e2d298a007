"""The metrics: what has happened and how the engine stands, told to Prometheus.

What happens often is counted in plain numbers; families are made of them when somebody asks. Counters of
the library would cost a lock and two look-ups for every event. Each page has a registry of its own, so
that several engines in one process do not mix.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from flow_manager.core.events import (
    AttemptEnded,
    AttemptLost,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionQuarantined,
    ExecutionStarted,
    RetryScheduled,
)
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.view import View
from flow_manager.errors import FlowManagerError
from flow_manager.ports.figures import LONG_SECONDS, Distribution, EngineFigures

Labels = TypeVar("Labels", bound=tuple[str, ...])

PREFIX: Final = "flow_manager_"
MOST_VALUES: Final = 100
"""Values of a label that flows may make up; what comes later counts as the other ones."""
OTHER: Final = "other"
OPENMETRICS: Final = "application/openmetrics-text"


class Metrics(Collector):
    """Implements `ports.observer.Observer` and `ports.figures.MetricsPage`.

    `recorded` is called by one thread; a page may be asked for by any."""

    def __init__(self) -> None:
        self._started = 0
        self._ended: dict[tuple[ExecutionStatus, str], int] = {}
        self._codes: set[str] = set()
        self._rare: dict[type, int] = dict.fromkeys(_RARE, 0)
        self._types: set[str] = set()
        self._attempts: dict[tuple[str, str], Distribution] = {}
        """How long attempts took, by task type and outcome."""
        self._violations: Mapping[str, int] | None = None
        self._looked_at = 0.0
        self._figures: Callable[[], EngineFigures] = EngineFigures
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    # -- counting

    def recorded(self, view: View, events: Sequence[Event]) -> None:
        if not events:
            return
        if type(events[-1]) is AttemptStarted and type(events[0]) is AttemptEnded:
            return  # most steps: an attempt has ended, the next begins, and what is in between does not count
        for event in events:
            if type(event) is ExecutionEnded:
                self._has_ended(event)
            elif type(event) is ExecutionStarted:
                self._started += 1
            elif type(event) in _RARE:
                self._rare[type(event)] += 1

    def _has_ended(self, event: ExecutionEnded) -> None:
        code = "" if event.error is None else _bounded(event.error.code, self._codes)
        ending = (event.status, code)
        self._ended[ending] = self._ended.get(ending, 0) + 1

    def attempted(self, task_type: str, outcome: str, seconds: float) -> None:
        """A body has run for so long."""
        durations = self._attempts.get((task_type, outcome))
        if durations is None:
            attempt = (_bounded(task_type, self._types), outcome)
            durations = self._attempts.setdefault(attempt, Distribution(LONG_SECONDS))
        durations.add(seconds)

    def set_violations(self, counts: Mapping[str, int]) -> None:
        self._violations, self._looked_at = dict(counts), time.time()

    def watch(self, figures: Callable[[], EngineFigures]) -> None:
        """Ask here how the engine stands, from any thread."""
        self._figures = figures

    # -- telling

    def page(self, accept: str) -> tuple[str, bytes]:
        # The library also reads versions out of the header, and fails over those that are none.
        encode, media_type = choose_encoder(OPENMETRICS if OPENMETRICS in accept else "")
        return media_type, encode(self._registry)

    def collect(self) -> Iterator[Metric]:
        yield from self._happened()
        try:
            figures = self._figures()
        except FlowManagerError:  # the store has been closed; what has happened can still be told
            figures = EngineFigures()
        yield from _standing(figures)
        yield from self._found()

    def _happened(self) -> Iterator[Metric]:
        yield _counter(
            "executions_started", "Executions that were started, children left out.", self._started
        )
        ended = _labelled(
            "executions_ended", "Executions that have ended, children included.", ["status", "error"]
        )
        _add_all(ended, self._ended.copy())
        yield ended
        for kind, (name, sentence) in _RARE.items():
            yield _counter(name, sentence, self._rare[kind])
        attempts = _labelled("attempts", "Attempts whose body has run.", ["task_type", "outcome"])
        by_type: dict[str, Distribution] = {}
        for (task_type, outcome), distribution in sorted(self._attempts.copy().items()):
            together = by_type.setdefault(task_type, Distribution(LONG_SECONDS))
            attempts.add_metric([task_type, outcome], together.add_all(distribution))
        yield attempts
        durations = HistogramMetricFamily(
            PREFIX + "attempt_duration_seconds",
            "Time from the start of an attempt to its result, the wait for a thread or process included.",
            labels=["task_type"],
        )
        for task_type, together in by_type.items():
            _add(durations, [task_type], together)
        yield durations

    def _found(self) -> Iterator[Metric]:
        violations = GaugeMetricFamily(
            PREFIX + "violations", "Promises that do not hold, at the last look.", labels=["code"]
        )
        for code, count in sorted((self._violations or {}).items()):
            violations.add_metric([code], count)
        yield violations
        sentence = "When the last look for violations was; 0 if there was none."
        yield _gauge("violations_looked_at_timestamp_seconds", sentence, self._looked_at)


class _Counted(NamedTuple):
    name: str
    sentence: str


_RARE: Final[Mapping[type, _Counted]] = {
    RetryScheduled: _Counted("retries", "Attempts that were scheduled because one failed."),
    AttemptLost: _Counted("attempts_lost", "Attempts whose worker was gone before their result was stored."),
    ExecutionQuarantined: _Counted(
        "executions_quarantined", "Executions whose task killed its worker too often."
    ),
}


def _standing(figures: EngineFigures) -> Iterator[Metric]:
    store = figures.store
    yield _gauge("executions_open", "Executions that have not ended.", figures.open)
    yield _gauge("executions_running", "Executions that are worked on.", figures.running)
    yield _gauge("executions_waiting", "Executions that are due and have no place.", figures.waiting)
    yield _gauge("loop_lag_seconds", "How late the loop of the engine is.", figures.loop_lag)
    yield _histogram("wake_lateness_seconds", "Time from due to claimed, of an execution.", figures.lateness)
    yield _gauge("journal_queue", "Commands that wait to be written.", store.queued)
    yield _histogram("commit_size", "Commands that shared a transaction.", store.sizes)
    yield _histogram("commit_seconds", "Time of a transaction, its sync included.", store.seconds)
    yield _gauge("store_bytes", "Size of the database file.", figures.store_bytes)
    tries = _labelled("webhook_tries", "Tries to tell a webhook something.", ["outcome"])
    _add_all(tries, {(outcome,): count for outcome, count in figures.deliveries.items()})
    yield tries
    yield _gauge("webhooks_pending", "Deliveries that wait to be sent.", figures.pending_deliveries)
    yield _gauge("webhooks_parked", "Deliveries that were given up.", figures.parked_deliveries)


def _bounded(value: str, known: set[str]) -> str:
    if value in known:
        return value
    if len(known) >= MOST_VALUES:
        return OTHER
    known.add(value)
    return value


def _counter(name: str, sentence: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, sentence, value)


def _labelled(name: str, sentence: str, labels: Sequence[str]) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, sentence, labels=labels)


def _gauge(name: str, sentence: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, sentence, value)


def _histogram(name: str, sentence: str, distribution: Distribution) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, sentence, labels=[])
    _add(family, [], distribution)
    return family


def _add(family: HistogramMetricFamily, labels: Sequence[str], distribution: Distribution) -> None:
    """The buckets of Prometheus count everything up to their bound. They are added up from one copy: they
    agree with each other also while somebody counts."""
    counts, total = list(distribution.counts), 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip([*map(str, distribution.bounds), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, total))
    family.add_metric(labels, buckets, distribution.sum)


def _add_all(family: CounterMetricFamily, counts: Mapping[Labels, int]) -> None:
    for labels, count in sorted(counts.items()):
        family.add_metric(labels, count)
