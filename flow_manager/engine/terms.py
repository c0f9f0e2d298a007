"""The terms of a start: what its flow and its caller ask of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from flow_manager.core.cel.answers import text_of
from flow_manager.core.decision import Park
from flow_manager.core.definition import Concurrency, Flow
from flow_manager.core.events import ExecutionStarted
from flow_manager.core.expressions import ExpressionError
from flow_manager.core.states import Wake, WakeReason
from flow_manager.errors import InvalidRequest, Problem
from flow_manager.ports.starting import LONGEST_DELAY, StartOptions
from flow_manager.ports.store import Rate, Slot, Terms

LONGEST_SLOT_KEY: Final = 255


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a start besides its flow and input."""

    terms: Terms | None = None
    version: int = 0
    start_at: datetime | None = None

    def beginning(
        self, now: datetime, flow: Flow, input: Mapping[str, Any], labels: Mapping[str, str]
    ) -> ExecutionStarted:
        return ExecutionStarted(now, flow.id, input, labels, None, "", self.version, self.start_at)

    def later(self, now: datetime) -> Park | None:
        """What it does first if it cannot begin at once: the store may have no slot for it."""
        if self.start_at is not None and self.start_at > now:
            return Park(Wake(WakeReason.DUE, self.start_at))
        if self.terms is not None and self.terms.slot is not None:
            return Park(Wake(WakeReason.DUE, now))
        return None


PLAIN: Final = Asked()


def asked_of(flow: Flow, input: Mapping[str, Any], options: StartOptions | None, now: datetime) -> Asked:
    """Raises `InvalidRequest` if the input gives no concurrency key, or for a start that is too far away."""
    if options is None and flow.concurrency is None:
        return PLAIN
    options = options or StartOptions()
    _check_delay(options.start_at, now)
    terms = terms_of(flow, input, options, is_published=bool(options.version))
    return Asked(terms, options.version, options.start_at)


def _check_delay(start_at: datetime | None, now: datetime) -> None:
    if start_at is not None and start_at - now > LONGEST_DELAY:
        detail = f"an execution begins at most {LONGEST_DELAY.days} days after its start"
        raise InvalidRequest(detail, [Problem("#/start_at", "out-of-range", detail)])


def terms_of(
    flow: Flow, input: Mapping[str, Any], options: StartOptions, *, is_published: bool
) -> Terms | None:
    """None if there are none, as for most. Raises `InvalidRequest` if the input gives no concurrency key."""
    slot = slot_of(flow, input)
    if slot is not None and options.start_at is not None:
        detail = "a flow with 'concurrency' cannot be started for a later time"
        raise InvalidRequest(detail, [Problem("#/start_at", "conflict", detail)])
    rate = None
    if flow.rate is not None and is_published:
        rate = Rate(flow.id, flow.rate.per / flow.rate.limit, flow.rate.limit)
    terms = Terms(options.key, options.fingerprint, options.priority, slot, rate)
    return None if terms == Terms() else terms


def slot_of(flow: Flow, input: Mapping[str, Any]) -> Slot | None:
    """What an execution with this input needs to go on, if it was not started by another one. Raises
    `InvalidRequest` if the input gives no concurrency key."""
    return None if flow.concurrency is None else _slot(flow, flow.concurrency, input)


def _slot(flow: Flow, concurrency: Concurrency, input: Mapping[str, Any]) -> Slot:
    """Keys of different flows are different."""
    refuses = concurrency.when_full == "reject"
    if concurrency.key is None:
        return Slot(flow.id, concurrency.limit, refuses)
    try:
        key = text_of(concurrency.key.evaluate({"input": input}))
    except ExpressionError as error:
        detail = f"the input gives no key for the 'concurrency' of the flow: {error.detail}"
        raise InvalidRequest(detail, [Problem("#/input", "bad-concurrency-key", detail)]) from error
    if not 0 < len(key) <= LONGEST_SLOT_KEY:
        detail = f"the concurrency key that the input gives has {len(key)} characters, not 1 to 255"
        raise InvalidRequest(detail, [Problem("#/input", "bad-concurrency-key", detail)])
    return Slot(f"{flow.id}/{key}", concurrency.limit, refuses)
