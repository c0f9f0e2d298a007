"""`/v1/executions:bulk`: the same thing for many executions, after a look at how many they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from flask import Flask, Response
from pydantic import BaseModel, Field

from flow_manager.api.answers import answer
from flow_manager.api.bodies import BODY, Reason, Who, read_model
from flow_manager.api.requests import read_body, read_parameters
from flow_manager.api.room import Room
from flow_manager.api.settings import ApiSettings
from flow_manager.errors import (
    ConcurrencyFull,
    ExecutionOver,
    ExecutionUnknown,
    InvalidRequest,
    Problem,
    StateForbids,
)
from flow_manager.ports.backend import Backend
from flow_manager.ports.filters import FILTERS, read_filter
from flow_manager.ports.search import MOST_LISTED, Filter

MOST_AT_ONCE: Final = 1_000
"""Executions that one request acts on; whoever has more sends it again."""
MOST_REFUSED: Final = 100
"""Refusals that are told one by one."""

_REFUSALS: Final = (StateForbids, ExecutionOver, ExecutionUnknown, ConcurrencyFull)
"""What concerns one execution, and none beside it."""

Action = Literal["cancel", "pause", "resume", "retry"]


class BulkBody(BaseModel):
    """The body of a bulk action. A filter must say something: nobody means all of them."""

    model_config = BODY

    action: Action
    filter: dict[str, str | list[str]] = Field(min_length=1, max_length=16)
    dry_run: bool = True
    cursor: str | None = Field(None, max_length=1024)
    reason: Reason = ""
    by: Who = ""


class BulkRoutes:
    """Acts on one after another, as if each had been asked by itself; what one refuses stops no other."""

    def __init__(self, backend: Backend, settings: ApiSettings) -> None:
        self._backend = backend
        self._max_body = settings.max_body
        self._room = Room(1)
        self._act: Mapping[str, Callable[[str, str, str], object]] = {
            "cancel": lambda one, reason, by: backend.cancel(one, reason, by=by),
            "pause": lambda one, reason, by: backend.control.pause(one, reason=reason, by=by),
            "resume": lambda one, reason, by: backend.control.resume(one, reason=reason, by=by),
            "retry": lambda one, reason, by: backend.control.retry(one, reason=reason, by=by),
        }

    def add_to(self, app: Flask) -> None:
        app.add_url_rule("/v1/executions:bulk", view_func=self.bulk, methods=["POST"])

    def bulk(self) -> Response:
        """A dry run counts; otherwise each gets what is asked, and the answer tells how many did."""
        read_parameters()
        with self._room:
            asked = read_model(BulkBody, read_body(self._max_body))
            wanted = _filter_of(asked.filter)
            found, cursor = self._found(wanted, asked.cursor)
            body: dict[str, Any] = {"action": asked.action, "dry_run": asked.dry_run, "matched": len(found)}
            if not asked.dry_run:
                body |= self._done(asked, found)
            return answer(body | {"cursor": cursor})

    def _found(self, wanted: Filter, cursor: str | None) -> tuple[Sequence[str], str | None]:
        page = self._backend.search.page(wanted, cursor, min(MOST_AT_ONCE, MOST_LISTED))
        return [each.execution_id for each in page.executions], page.cursor

    def _done(self, asked: BulkBody, found: Sequence[str]) -> dict[str, Any]:
        outcomes: Counter[str] = Counter()
        refused: list[dict[str, str]] = []
        for execution_id in found:
            try:
                self._act[asked.action](execution_id, asked.reason, asked.by)
            except _REFUSALS as refusal:
                outcomes["refused"] += 1
                refused.append({"execution_id": execution_id, "detail": str(refusal)})
            else:
                outcomes["accepted"] += 1
        return {
            "accepted": outcomes["accepted"],
            "refused": outcomes["refused"],
            "refusals": refused[:MOST_REFUSED],
        }


def _filter_of(parts: Mapping[str, str | list[str]]) -> Filter:
    """Raises `InvalidRequest` with everything in the filter that cannot be read."""
    problems = [
        Problem(f"#/filter/{name[:64]}", "unknown-field", f"a filter has {', '.join(FILTERS)}")
        for name in parts
        if name not in FILTERS
    ]
    texts = {name: text for name, text in parts.items() if isinstance(text, str) and name != "label"}
    labels = parts.get("label", [])
    wanted, faults = read_filter(texts, [labels] if isinstance(labels, str) else labels)
    problems += [Problem(f"#/filter/{fault.name}", fault.code, fault.right) for fault in faults]
    problems += [
        Problem(f"#/filter/{name}", "wrong-type", "this part of a filter is a text")
        for name, text in parts.items()
        if name in FILTERS and name != "label" and not isinstance(text, str)
    ]
    if problems:
        raise InvalidRequest("the filter cannot be read", problems)
    return wanted
