from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.core.durations import LONGEST, DurationOutOfRange, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (30, 30.0),
        (0.25, 0.25),
        ("500ms", 0.5),
        ("30s", 30.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("7d", 604800.0),
        ("366d", 366 * 86400.0),
        ("PT30S", 30.0),
        ("PT0.5S", 0.5),
        ("PT1H30M", 5400.0),
        ("P1DT2H", 93600.0),
        ("P1D", 86400.0),
        ("P2W", 1209600.0),
        ("P1W1DT1H1M1S", 694861.0),
    ],
)
def test_a_duration_is_read(written: object, seconds: float) -> None:
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written",
    [
        "5 parsecs",
        "PT",
        "P",
        "P1DT",
        "",
        " 5s",
        "5s\n",
        "5",
        "s",
        "-5s",
        "+5s",
        "5S",
        "5 s",
        "1e3s",
        "٣s",
        ".5s",
        "5.s",
        "P1Y",
        "P1M",
        "PT1.5H",
        "P-1D",
        "pt5s",
        "PT5S5S",
        "5m30s",
        "9" * 100 + "s",
        "P" + "9" * 5000 + "D",
        True,
        None,
        [],
        {},
        float("nan"),
        b"5s",
        timedelta(1),
    ],
)
def test_what_is_no_duration_is_refused_with_a_sentence(written: object) -> None:
    with pytest.raises(ValueError, match="duration") as caught:
        parse_duration(written)

    assert not isinstance(caught.value, DurationOutOfRange)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "written",
    [
        0,
        0.0,
        -1,
        1e99,
        -1e99,
        float("inf"),
        10**400,
        1e-09,
        "0s",
        "0ms",
        "PT0S",
        "367d",
        "P53W",
        366 * 86400 + 1,
        "0.0001ms",
        "9" * 60 + "d",
    ],
)
def test_a_duration_beyond_its_bounds_is_refused_as_such(written: object) -> None:
    with pytest.raises(DurationOutOfRange, match="duration"):
        parse_duration(written)


@given(st.timedeltas(timedelta(milliseconds=1), LONGEST))
def test_any_number_of_seconds_within_bounds_is_read(duration: timedelta) -> None:
    assert abs(parse_duration(duration.total_seconds()) - duration) <= timedelta(microseconds=1)


@given(st.text() | st.from_regex(r"\AP[0-9WDTHMS.]{1,9}\Z") | st.from_regex(r"\A[0-9.]{1,9}[a-z]{1,2}\Z"))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        duration = parse_duration(text)
    except ValueError:
        return

    assert timedelta() < duration <= LONGEST
