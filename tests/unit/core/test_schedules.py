"""The nominal times of schedules, held against brute force and against a table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from flow_manager.core.schedules import (
    BadCron,
    Cron,
    Every,
    NeverFires,
    Once,
    TimeRule,
    jitter_of,
    last_until,
    times_after,
    times_between,
    zone_of,
)
from tests.support.zone_oracle import Oracle, changes, utc

ZONES = (
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Pacific/Apia",
    "Pacific/Chatham",
    "America/Havana",
)
RULES = (
    "30 2 * * *",
    "30 1 * * *",
    "0 0 * * *",
    "15 3 * * 0",
    "0 * * * *",
    "10,40 1-3 * * *",
    "*/15 * * * *",
    "7,52 * * * *",
    "0 12 * * *",
)
YEARS = (utc("2016-01-03"), utc("2026-01-03"))
NEAR = timedelta(hours=50)
SOME_CHANGES = [
    (zone, change)
    for zone in ZONES
    for change in changes(zone, utc("2010-06-01"), utc("2012-06-01"))[:4]
    + changes(zone, utc("2018-06-01"), utc("2019-06-01"))
]


def ours(rule: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """What fires from `start` until before `end`."""
    second = timedelta(seconds=1)
    return times_between(Cron(rule, ZoneInfo(zone)), start - second, end - second, 1_000_000)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("zone", ZONES)
def test_around_changes_of_the_clock_the_times_are_those_of_brute_force(zone: str, rule: str) -> None:
    for _, change in (each for each in SOME_CHANGES if each[0] == zone):
        start, end = change - NEAR, change + NEAR

        assert ours(rule, zone, start, end) == list(Oracle(rule, zone).times(start, end)), change


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("zone", ZONES)
def test_in_ten_years_the_times_are_those_of_brute_force(zone: str) -> None:
    for rule in RULES:
        assert ours(rule, zone, *YEARS) == list(Oracle(rule, zone).times(*YEARS)), rule


TABLE = [
    ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
    ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
    ("America/New_York", "30 1 * * *", "2026-10-31T12:00", ["2026-11-01T05:30", "2026-11-02T06:30"]),
    ("America/Sao_Paulo", "0 0 * * *", "2018-11-03T12:00", ["2018-11-04T03:00", "2018-11-05T02:00"]),
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T00:00", ["2026-04-04T14:45", "2026-04-05T15:15"]),
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00", ["2026-10-03T15:30", "2026-10-04T15:15"]),
    ("Africa/Casablanca", "30 2 * * *", "2026-02-14T12:00", ["2026-02-15T01:30", "2026-02-16T02:30"]),
    ("Asia/Kathmandu", "0 6 * * *", "2026-01-01T00:00", ["2026-01-01T00:15", "2026-01-02T00:15"]),
    ("Pacific/Apia", "0 12 * * *", "2011-12-29T23:00", ["2011-12-30T10:00", "2011-12-30T22:00"]),
    ("Pacific/Apia", "0 0 * * *", "2011-12-29T23:00", ["2011-12-30T10:00", "2011-12-31T10:00"]),
    ("UTC", "0 0 29 2 *", "2026-01-01T00:00", ["2028-02-29T00:00", "2032-02-29T00:00"]),
    ("UTC", "0 0 29 2 *", "2096-03-01T00:00", ["2104-02-29T00:00", "2108-02-29T00:00"]),
    ("UTC", "0 0 31 * *", "2026-01-31T00:00", ["2026-03-31T00:00", "2026-05-31T00:00"]),
    ("UTC", "0 9 * * MON#1", "2026-01-01T00:00", ["2026-01-05T09:00", "2026-02-02T09:00"]),
    ("UTC", "0 9 L * *", "2026-01-01T00:00", ["2026-01-31T09:00", "2026-02-28T09:00"]),
]


@pytest.mark.parametrize(("zone", "rule", "start", "times"), TABLE)
def test_the_table_of_the_design_holds(zone: str, rule: str, start: str, times: list[str]) -> None:
    found = times_after(Cron(rule, ZoneInfo(zone)), utc(start), len(times))

    assert found == [utc(each) for each in times]


def test_a_rule_finer_than_an_hour_runs_in_both_hours_and_not_in_the_gap() -> None:
    berlin = Cron("*/15 * * * *", ZoneInfo("Europe/Berlin"))
    for start, hours in (("2026-10-24T22:00", 6), ("2026-03-28T22:00", 6)):
        found = times_between(berlin, utc(start), utc(start) + timedelta(hours=hours), 1_000)

        assert found == [utc(start) + timedelta(minutes=15 * number) for number in range(1, hours * 4 + 1)]


def test_the_library_alone_would_break_these_promises() -> None:
    """Why local times are enumerated without their zone: see docs/decisions/0010-schedules.md."""
    start = datetime(2018, 11, 3, 12, tzinfo=ZoneInfo("America/Sao_Paulo"))
    hourly = datetime(2026, 10, 24, 23, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    both = CronSim("* 2 * * *", hourly)

    daily = next(CronSim("0 0 * * *", start)).astimezone(UTC)
    twice = [next(both).astimezone(UTC) for _ in range(120)]
    assert daily == utc("2018-11-04T03:00")
    assert twice[60] - twice[59] == timedelta(minutes=1)  # 02:00 to 02:59 ran, and now runs again
    assert len(ours("* 2 * * *", "Europe/Berlin", utc("2026-10-24T12:00"), utc("2026-10-25T12:00"))) == 60


EXPRESSIONS = st.tuples(
    st.sampled_from(["0", "30", "*/20", "*", "5,35", "59"]),
    st.sampled_from(["*", "0", "1", "2", "3", "0-4", "*/6", "23"]),
    st.sampled_from(["*", "1", "29", "31", "*/7"]),
    st.sampled_from(["*", "3", "10,11", "2"]),
    st.sampled_from(["*", "0", "1-5", "*/2"]),
).map(" ".join)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SOME_CHANGES), EXPRESSIONS)
def test_any_rule_agrees_with_brute_force_around_any_change(
    place: tuple[str, datetime], expression: str
) -> None:
    zone, change = place
    start, end = change - NEAR, change + NEAR
    try:
        found = ours(expression, zone, start, end)
    except NeverFires:
        found = []

    assert found == list(Oracle(expression, zone).times(start, end))


MOMENTS = st.datetimes(datetime(2011, 1, 1), datetime(2031, 1, 1), timezones=st.just(UTC))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(ZONES), EXPRESSIONS, MOMENTS)
def test_times_are_strictly_increasing_and_within_eight_years(
    zone: str, expression: str, moment: datetime
) -> None:
    try:
        times = times_after(Cron(expression, ZoneInfo(zone)), moment, 30)
    except NeverFires:
        return

    line = [moment, *times]
    assert all(before < after for before, after in zip(line, times, strict=False))
    assert all(after - before <= timedelta(days=8 * 366) for before, after in zip(line, times, strict=False))


BAD = [
    *("61 * * * *", "* * * *", "@everysecond", "@daily", "* * * * * *", "* " * 2500, "1" * 5000, "", " "),
    *("a b c d e", "*/0 * * * *", "5-1 * * * *", "0 24 * * *", "0 0 0 * *", "0 0 * 13 *", "0 0 * * 8"),
    *("0 0 * * MON#6", "-1 * * * *", "0 0 * * *\n", "0\x000 * * *", "0 0 1 1 * 9999", "1,,2 * * * *"),
    *("\u0663 * * * *", "0 0 * * \u0663L", "99999999999 0 * * *"),
]


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:20])
def test_what_is_no_cron_rule_is_refused(text: str) -> None:
    with pytest.raises(BadCron):
        Cron(text, ZoneInfo("UTC"))


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31 4 */1"])
def test_a_day_that_no_month_has_never_fires(text: str) -> None:
    with pytest.raises(NeverFires):
        Cron(text, ZoneInfo("UTC"))


def test_a_rule_that_is_rarer_than_once_in_eight_years_has_no_next_time() -> None:
    rule = Cron("0 0 29 2 */7", ZoneInfo("UTC"))  # 29 February, and a Sunday: 2032, 2060

    assert rule.after(utc("2026-01-01")) == utc("2032-02-29")
    assert rule.after(utc("2032-03-01")) is None


@pytest.mark.parametrize("rule", [Cron("* * * * *", ZoneInfo("UTC")), Every(timedelta(days=366))])
def test_the_calendar_ends(rule: TimeRule) -> None:
    assert rule.after(datetime.max.replace(tzinfo=UTC)) is None


NO_ZONES = ("Mars/Base", "../../etc/passwd", "EST5EDT\n", "", "/etc/localtime", "europe/berlin", "\0")


@pytest.mark.parametrize("name", NO_ZONES)
def test_a_zone_is_a_member_of_the_list_and_never_a_path(name: str) -> None:
    assert zone_of(name) is None


# -- intervals and single times


@pytest.mark.parametrize(
    ("rule", "moment", "times"),
    [
        (Every(timedelta(minutes=90)), "2026-03-29T00:30", ["2026-03-29T01:30", "2026-03-29T03:00"]),
        (Every(timedelta(hours=1), utc("2026-01-01T00:10")), "2026-10-25T00:10", ["2026-10-25T01:10"]),
        (Every(timedelta(hours=1), utc("2030-01-01T00:10")), "2026-10-25T00:11", ["2026-10-25T01:10"]),
        (Once(utc("2026-01-01T09:00")), "2026-01-01T08:59", ["2026-01-01T09:00"]),
        (Once(utc("2026-01-01T09:00")), "2026-01-01T09:00", []),
    ],
)
def test_intervals_and_single_times(rule: TimeRule, moment: str, times: list[str]) -> None:
    assert times_after(rule, utc(moment), 2)[: max(1, len(times))] == [utc(each) for each in times]


def rules() -> Iterator[TimeRule]:
    for text in ("* * * * *", "30 2 * * *", "0 0 1 1 *", "* * 1 1 *", "0 0 29 2 *"):
        yield Cron(text, ZoneInfo("Europe/Berlin"))
    yield Every(timedelta(minutes=7))
    yield Once(utc("2026-01-02T00:00"))


@pytest.mark.parametrize("rule", list(rules()))
@pytest.mark.parametrize("after", ["2025-12-31T22:00", "2026-01-01T22:00", "2026-01-01T23:59:59"])
@pytest.mark.parametrize("until", ["2026-01-01T23:59", "2026-01-05T00:00"])
def test_the_last_time_is_found_without_all_before_it(rule: TimeRule, after: str, until: str) -> None:
    times = times_between(rule, utc(after), utc(until), 1_000_000)

    assert last_until(rule, utc(after), utc(until)) == (times[-1] if times else None)


# -- jitter


def test_jitter_follows_from_the_id_and_is_spread() -> None:
    most = timedelta(minutes=10)
    found = [jitter_of(f"schedule{number}", most) for number in range(200)]

    assert found == [jitter_of(f"schedule{number}", most) for number in range(200)]
    assert all(timedelta(0) <= each < most for each in found)
    assert max(found) - min(found) > most * 0.9
    assert jitter_of("a", most * 2) // 2 == pytest.approx(jitter_of("a", most), abs=timedelta(microseconds=1))
