"""Schedules as they are written: what is accepted, and what is wrong with what is not."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from flow_manager.core.schedule_document import read_schedule, stored_schedule
from flow_manager.core.schedules import Cron, Every, Once
from flow_manager.errors import InvalidSchedule
from tests.support.zone_oracle import utc

NOW = utc("2026-01-14T12:00:00")
BERLIN = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}


def written(**fields: Any) -> dict[str, Any]:
    return {"id": "one", "flow_id": "nightly", **fields}


def problems(value: object, schedule_id: str | None = None) -> dict[str, str]:
    with pytest.raises(InvalidSchedule) as refused:
        read_schedule(value, NOW, schedule_id)
    assert all(len(each.detail) < 300 for each in refused.value.problems)
    return {each.pointer: each.code for each in refused.value.problems}


BAD: list[tuple[dict[str, Any], dict[str, str]]] = [
    # B15
    ({"cron": "61 * * * *"}, {"#/cron": "bad-cron"}),
    ({"cron": "* * * *"}, {"#/cron": "bad-cron"}),
    ({"cron": "@everysecond"}, {"#/cron": "bad-cron"}),
    ({"cron": "*" * 5_000}, {"#/cron": "bad-cron"}),
    ({"cron": "0 0 30 2 *"}, {"#/cron": "never-fires"}),
    ({"cron": "0 0 1 1 * 9999"}, {"#/cron": "bad-cron"}),
    ({"at": "9999-12-31T23:59:59Z"}, {"#/at": "never-fires"}),
    ({"at": "2026-01-14T11:59:59Z"}, {"#/at": "never-fires"}),
    # B16
    ({**BERLIN, "timezone": "Mars/Base"}, {"#/timezone": "unknown-zone"}),
    ({**BERLIN, "timezone": "../../etc/passwd"}, {"#/timezone": "unknown-zone"}),
    ({**BERLIN, "timezone": "EST5EDT\n"}, {"#/timezone": "unknown-zone"}),
    ({**BERLIN, "timezone": ""}, {"#/timezone": "unknown-zone"}),
    ({**BERLIN, "timezone": 7}, {"#/timezone": "wrong-type"}),
    # one rule, and what belongs to it
    ({}, {"#": "required"}),
    ({"cron": None}, {"#": "required"}),
    ({**BERLIN, "every": 60}, {"#/every": "conflict"}),
    ({"every": 60, "timezone": "UTC"}, {"#/timezone": "conflict"}),
    ({**BERLIN, "anchor": "2026-01-01T00:00:00Z"}, {"#/anchor": "conflict"}),
    # fields
    ({"every": 0.5}, {"#/every": "out-of-range"}),
    ({"every": "soon"}, {"#/every": "bad-duration"}),
    ({"every": 60, "jitter": "2d"}, {"#/jitter": "out-of-range"}),
    ({"every": 60, "anchor": "2026-01-01"}, {"#/anchor": "bad-time"}),
    ({"at": "2026-02-01T00:00:00"}, {"#/at": "bad-time"}),
    ({"at": "0001-01-01T00:00:00+23:59"}, {"#/at": "bad-time"}),
    ({"at": 1_800_000_000}, {"#/at": "bad-time"}),
    ({"every": 60, "overlap": "both"}, {"#/overlap": "unknown-value"}),
    ({"every": 60, "missed": 1}, {"#/missed": "wrong-type"}),
    ({"every": 60, "version": 0}, {"#/version": "out-of-range"}),
    ({"every": 60, "input": []}, {"#/input": "wrong-type"}),
    ({"every": 60, "input": {"x": "x" * 300_000}}, {"#/input": "too-large"}),
    ({"every": 60, "labels": {"a b": "c"}}, {"#/labels/a%20b": "bad-name"}),
    ({"every": 60, "overlapp": "skip"}, {"#/overlapp": "unknown-field"}),
    ({"every": 60, "flow_id": "no way"}, {"#/flow_id": "bad-name"}),
    ({"cron": "x", "timezone": "x", "jitter": "x"}, {"#/cron": "bad-cron", "#/timezone": "unknown-zone"}),
]


@pytest.mark.parametrize(("fields", "expected"), BAD, ids=lambda each: str(each)[:40])
def test_what_is_wrong_is_told_with_its_place_and_at_once(
    fields: dict[str, Any], expected: dict[str, str]
) -> None:
    start = time.perf_counter()
    found = problems(written(**fields))

    assert expected.items() <= found.items()
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize("value", [None, 7, "x", [], [{}]])
def test_a_schedule_is_an_object(value: object) -> None:
    assert problems(value) == {"#": "wrong-type"}


def test_the_address_names_the_schedule() -> None:
    assert read_schedule({"flow_id": "nightly", "every": 60}, NOW, "two").id == "two"
    assert problems(written(every=60), "two") == {"#/id": "conflict"}
    assert problems({"every": 60}) == {"#/id": "required", "#/flow_id": "required"}


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        (BERLIN, Cron),
        ({"cron": "*/5 9-17 * * MON-FRI"}, Cron),
        ({"every": "90s", "anchor": "2026-01-01T00:00:10+01:00"}, Every),
        ({"at": "2026-02-01T00:00:00+02:00", "x-note": "mine"}, Once),
    ],
)
def test_what_is_stored_is_read_again_as_it_was(fields: dict[str, Any], rule: type) -> None:
    document = read_schedule(
        written(input={"n": [1]}, jitter="1m", catchup_window=5, labels={"a": "b"}, **fields), NOW
    )
    again = stored_schedule(document.text)

    assert again == document
    assert isinstance(again.rule, rule)
    assert (again.jitter, again.catchup_window) == (timedelta(minutes=1), timedelta(seconds=5))


def test_one_that_was_stored_before_need_not_fire_any_more() -> None:
    past = written(at="2026-01-14T11:00:00Z")

    assert read_schedule(past, NOW, is_known=True).rule.after(NOW) is None
