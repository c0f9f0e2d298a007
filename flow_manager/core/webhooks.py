"""Webhooks: who is told what of a step, as values that become durable together with it.

The words are made here and sent elsewhere: a step and what is told of it are recorded in one
transaction, so that neither can be without the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import msgspec

from flow_manager.core.attempts import format_time
from flow_manager.core.definition import Flow, Webhook, WebhookEvent
from flow_manager.core.events import Event
from flow_manager.core.results import TaskError
from flow_manager.core.states import STATUS_OF, ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import View

MOST_OUTPUT: Final = 64 << 10
"""Bytes of JSON of an output beyond which it is left out: whoever wants it can ask for it."""
MOST_MESSAGE: Final = 1_000
"""Characters of the message of an error that is as long."""
WAITS_FOR_SOMEBODY: Final = frozenset({WakeReason.SIGNAL, WakeReason.CODE, WakeReason.QUARANTINE})
"""What no time and no child brings about, so that somebody may want to know."""

_encode = msgspec.json.Encoder().encode


class Delivery(msgspec.Struct, frozen=True):
    """One message to one destination. `seq` is the number of the last event that it tells of, `secret`
    the name of the secret that signs it."""

    delivery_id: str
    destination: str
    seq: int
    payload: str
    secret: str | None = None


class Webhooks:
    """Who is told of which executions: the webhooks of a flow, and those that hear of every execution
    that is nobody's child."""

    def __init__(self, for_all: Sequence[Webhook] = ()) -> None:
        self._for_all = tuple(for_all)

    def deliveries(
        self, flow: Flow, view: View, events: Sequence[Event], wake: Wake | None
    ) -> Sequence[Delivery]:
        """What is to be told of a step that has added `events` to `view`, and leaves it with this wake."""
        if not (flow.webhooks or self._for_all) or (wake is not None and wake.reason is WakeReason.CLAIM):
            return ()
        event = _event_of(view, events, wake)
        if event is None:
            return ()
        destinations = {each.url: each for each in self._for_all} if view.parent is None else {}
        destinations |= {each.url: each for each in flow.webhooks}
        wanted = [each for each in destinations.values() if event in each.events]
        if not wanted:
            return ()
        told = _told(view, events[-1], event, wake)
        return tuple(_delivery(each, view, told) for each in wanted)


def _event_of(view: View, events: Sequence[Event], wake: Wake | None) -> WebhookEvent | None:
    """A step without events changes nothing that somebody was not told of before."""
    if not events:
        return None
    if wake is not None:
        return "waiting" if wake.reason in WAITS_FOR_SOMEBODY else None
    return _ENDS.get(view.status)


_ENDS: Final[dict[ExecutionStatus, WebhookEvent]] = {
    ExecutionStatus.COMPLETED: "completed",
    ExecutionStatus.FAILED: "failed",
    ExecutionStatus.CANCELLED: "cancelled",
}


def _told(view: View, last: Event, event: WebhookEvent, wake: Wake | None) -> dict[str, Any]:
    """The payload, but for the id of its delivery."""
    status = view.status if wake is None else STATUS_OF[wake.reason]
    told: dict[str, Any] = {
        "event": event,
        "execution_id": view.execution_id,
        "flow_id": view.flow_id,
        "status": status.value,
        "error": None if view.error is None else _error(view.error),
        "at": format_time(last.at),
        "seq": view.last_seq,
    }
    if wake is not None:
        due_at = format_time(wake.due_at)
        told["waiting"] = {"reason": wake.reason.value, "due_at": due_at, "detail": wake.detail}
    elif view.output is not None:
        if len(_encode(view.output)) <= MOST_OUTPUT:
            told["output"] = view.output
        else:
            told["output_left_out"] = True
    return told


def _error(error: TaskError) -> dict[str, Any]:
    """Without its details if they are too long."""
    told = error.to_json()
    if len(_encode(told)) <= MOST_OUTPUT:
        return told
    return {**told, "message": error.message[:MOST_MESSAGE], "details": None}


def _delivery(webhook: Webhook, view: View, told: dict[str, Any]) -> Delivery:
    """The id follows from what is told to whom: however often it is sent, it stays the same."""
    name = f"{view.execution_id} {view.last_seq} {webhook.url}"
    delivery_id = str(uuid5(NAMESPACE_URL, name))
    payload = _encode({"delivery_id": delivery_id, **told}).decode()
    return Delivery(delivery_id, webhook.url, view.last_seq, payload, webhook.secret)
