"""`concurrency` and `rate` of the flow document."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flow_manager.core.parser import FlowParser
from tests.support.documents import document, task


def problems(**fields: Any) -> list[tuple[str, str]]:
    report = FlowParser().check(document(task("a"), **fields)["flow"])
    return [(each.pointer, each.code) for each in report.errors]


def test_what_is_not_said_has_its_default() -> None:
    flow = FlowParser().parse(document(task("a"), concurrency={"limit": 3}, rate={"limit": 5, "per": "1m"}))

    assert flow.concurrency is not None
    assert (flow.concurrency.limit, flow.concurrency.key, flow.concurrency.when_full) == (3, None, "queue")
    assert flow.rate is not None
    assert (flow.rate.limit, flow.rate.per) == (5, timedelta(minutes=1))


def test_a_key_is_filled_from_the_input() -> None:
    flow = FlowParser().parse(document(task("a"), concurrency={"limit": 1, "key": "shop ${input.shop}"}))

    assert flow.concurrency is not None
    assert flow.concurrency.key is not None
    assert flow.concurrency.key.evaluate({"input": {"shop": 7}}) == "shop 7"


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"concurrency": {}}, "#/concurrency/limit", "required"),
        ({"concurrency": {"limit": 0}}, "#/concurrency/limit", "out-of-range"),
        ({"concurrency": {"limit": 1001}}, "#/concurrency/limit", "out-of-range"),
        ({"concurrency": {"limit": True}}, "#/concurrency/limit", "wrong-type"),
        ({"concurrency": {"limit": 1, "when_full": "drop"}}, "#/concurrency/when_full", "unknown-value"),
        ({"concurrency": {"limit": 1, "kee": "a"}}, "#/concurrency/kee", "unknown-field"),
        ({"concurrency": {"limit": 1, "key": "${results.a}"}}, "#/concurrency/key", "unknown-name"),
        (
            {"concurrency": {"limit": 1, "key": "${secrets.a}"}},
            "#/concurrency/key",
            "secret-not-allowed-here",
        ),
        ({"concurrency": {"limit": 1, "key": "${input."}}, "#/concurrency/key", "syntax"),
        ({"rate": {"limit": 1}}, "#/rate/per", "required"),
        ({"rate": {"limit": 1, "per": 0}}, "#/rate/per", "out-of-range"),
        ({"rate": {"limit": 1_000_001, "per": 1}}, "#/rate/limit", "out-of-range"),
        ({"rate": 5}, "#/rate", "wrong-type"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(fields: dict[str, Any], pointer: str, code: str) -> None:
    assert problems(**fields) == [(pointer, code)]
