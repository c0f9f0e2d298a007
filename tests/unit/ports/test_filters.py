from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.ports.filters import FILTERS, read_filter
from flow_manager.ports.search import Filter


def test_nothing_is_a_filter_that_wants_everything() -> None:
    assert read_filter({}, []) == (Filter(), [])


def test_every_part_is_read() -> None:
    parts = {
        "flow_id": "order",
        "version": "3",
        "status": "failed",
        "since": "2026-01-01T01:00:00+01:00",
        "until": "2026-01-02T00:00:00Z",
        "error": "task.",
        "reason": "signal",
        "q": "100 %'",
    }

    wanted, faults = read_filter(parts, ["team:shop", "note:a:b=c", "empty:"])

    assert faults == []
    assert wanted == Filter(
        flow_id="order",
        version=3,
        status=ExecutionStatus.FAILED,
        labels=(("team", "shop"), ("note", "a:b=c"), ("empty", "")),
        since=datetime(2026, 1, 1, tzinfo=UTC),
        until=datetime(2026, 1, 2, tzinfo=UTC),
        error="task.",
        reason=WakeReason.SIGNAL,
        text="100 %'",
    )
    assert {*parts, "label"} == set(FILTERS)


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("flow_id", "", "bad-name"),
        ("flow_id", "a'b", "bad-name"),
        ("flow_id", "%", "bad-name"),
        ("flow_id", "a\n", "bad-name"),
        ("flow_id", "x" * 129, "bad-name"),
        ("version", "0", "out-of-range"),
        ("version", "-1", "out-of-range"),
        ("version", "\u0663", "out-of-range"),
        ("version", "1e3", "out-of-range"),
        ("version", "9" * 10, "out-of-range"),
        ("status", "Failed", "unknown-status"),
        ("status", "", "unknown-status"),
        ("reason", "hope", "unknown-reason"),
        ("error", "Task.Failed", "bad-name"),
        ("error", "a%", "bad-name"),
        ("since", "yesterday", "bad-time"),
        ("since", "2026-01-01T00:00:00", "bad-time"),
        ("since", "2026-01-01", "bad-time"),
        ("until", "0001-01-01T00:00:00+23:00", "bad-time"),
        ("until", "9" * 10_000, "bad-time"),
        ("q", "", "bad-text"),
        ("q", "a\x00b", "bad-text"),
        ("q", "a\nb", "bad-text"),
        ("q", "ab\n", "bad-text"),
        ("q", "x" * 257, "bad-text"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, text: str, code: str) -> None:
    given = {"flow_id": "order", name: text}

    _, faults = read_filter(given, [])

    assert [(fault.name, fault.code) for fault in faults] == [(name, code)]


@pytest.mark.parametrize(
    "text", ["", "team", ":shop", "te am:shop", "team:a\x00", "team:" + "x" * 257, "team=shop"]
)
def test_a_label_is_a_name_and_a_value(text: str) -> None:
    assert [(fault.name, fault.code) for fault in read_filter({}, [text])[1]] == [("label", "bad-label")]


def test_all_faults_are_told_at_once() -> None:
    _, faults = read_filter({"version": "1", "status": "faild", "q": ""}, ["a:b"] * 6)

    assert [(fault.name, fault.code) for fault in faults] == [
        ("status", "unknown-status"), ("q", "bad-text"), ("version", "required"), ("label", "too-many")
    ]  # fmt: skip
    assert "did you mean failed?" in faults[0].right
