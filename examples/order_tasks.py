"""The tasks of `order.json`: a shop that keeps its books in memory, so that everything can be tried."""

from __future__ import annotations

from typing import Any

from flow_manager.core.results import PermanentTaskError
from flow_manager.tasks.context import TaskContext
from flow_manager.tasks.registry import register_task

LEFT_IN_STOCK: dict[str, int] = {"chair": 12, "table": 3}
TAKEN: set[str] = set()
"""Idempotency keys of what was done: an attempt that is repeated changes nothing twice."""


@register_task("reserve_stock")
def reserve_stock(context: TaskContext) -> dict[str, Any]:
    """Take the ordered pieces out of the stock."""
    item, pieces = context.task_input["item"], context.task_input["pieces"]
    if LEFT_IN_STOCK.get(item, 0) < pieces:
        raise PermanentTaskError(f"fewer than {pieces} of {item} are left", code="stock.sold_out")
    if context.idempotency_key not in TAKEN:
        TAKEN.add(context.idempotency_key)
        LEFT_IN_STOCK[item] -= pieces
    return {"item": item, "pieces": pieces}


@register_task("release_stock")
def release_stock(context: TaskContext) -> dict[str, Any]:
    """Put the pieces back."""
    reserved = context.task_input
    if context.idempotency_key not in TAKEN:
        TAKEN.add(context.idempotency_key)
        LEFT_IN_STOCK[reserved["item"]] += reserved["pieces"]
    return {"left": LEFT_IN_STOCK[reserved["item"]]}


@register_task("charge_card")
async def charge_card(context: TaskContext) -> dict[str, Any]:
    """Charge the total. A real one would pass the idempotency key on."""
    return {"charge": context.idempotency_key[:12], "total": context.task_input["total"]}


@register_task("refund_card")
async def refund_card(context: TaskContext) -> dict[str, Any]:
    """Give the money back."""
    return {"refunded": context.task_input["charge"]}


@register_task("ship")
def ship(context: TaskContext) -> dict[str, Any]:
    """Hand the parcel over."""
    return {"parcel": context.execution_id[-8:]}
