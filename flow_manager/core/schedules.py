"""When a schedule is due: its nominal times, as instants of UTC, strictly increasing.

A cron rule speaks of local time. Its candidates are enumerated as local times without a zone, and each is put
on the line of UTC here, because what happens to them where the clock is changed is a promise of ours:

* a local time that does not exist runs at the first instant after the gap, once;
* a local time that occurs twice runs at the first of both;
* a rule finer than an hour (every hour, several minutes of it) counts elapsed time: it runs in both hours.

Rules with an interval, and single times, never touch local time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Final, Protocol
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

FARTHEST: Final = timedelta(days=8 * 366)
"""How far ahead a next time is looked for: 29 February may be eight years away."""
MOST_CANDIDATES: Final = 100_000
"""Local times that are looked at for one next time."""
LONGEST_CRON: Final = 256
MOST_PREVIEWED: Final = 1_000

UTC_ZONE: Final = ZoneInfo("UTC")

_CRON: Final = re.compile(r"[0-9A-Za-z*,/#-]+(?:[ \t]+[0-9A-Za-z*,/#-]+){4}")
_SECOND: Final = timedelta(seconds=1)
_TICK: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EVERY_HOUR: Final = frozenset(range(24))
_WINDOWS: Final = (timedelta(hours=1), timedelta(days=1), timedelta(days=31), timedelta(days=366), FARTHEST)
"""How far back a last time is looked for: of a fine rule it is in the first of them, of a rare one later."""


class TimeRule(Protocol):
    """The nominal times of a schedule."""

    def after(self, moment: datetime) -> datetime | None:
        """The first nominal time later than `moment`, in UTC; None if there is none within eight years."""


class BadCron(ValueError):
    """A cron rule that cannot be read. The message says why."""


class NeverFires(ValueError):
    """A rule that can be read and has no time."""


@dataclass(frozen=True, slots=True)
class Once:
    """A single time."""

    at: datetime

    def after(self, moment: datetime) -> datetime | None:
        return self.at if self.at > moment else None


@dataclass(frozen=True, slots=True)
class Every:
    """Elapsed time: `anchor`, and every `period` after it and before it."""

    period: timedelta
    anchor: datetime = _EPOCH

    def after(self, moment: datetime) -> datetime | None:
        try:
            return self.anchor + ((moment - self.anchor) // self.period + 1) * self.period
        except OverflowError:  # the calendar ends
            return None


class Cron:
    """A cron rule of five fields, in a time zone. Raises `BadCron` and `NeverFires`."""

    def __init__(self, text: str, zone: ZoneInfo) -> None:
        fields = _read(text)
        self._text = text
        self._zone = zone
        self._counts_elapsed_time = set(fields.hours) == _EVERY_HOUR and len(fields.minutes) > 1

    def after(self, moment: datetime) -> datetime | None:
        local = moment.astimezone(self._zone)
        found = self._first(local.replace(tzinfo=None, fold=0), moment)
        if self._counts_elapsed_time and not local.fold:
            again = local.replace(fold=1).astimezone(UTC)
            if again > moment:  # the first of two hours of the same name: the second one follows
                turn = self._change_between(moment, again)
                start = turn.astimezone(self._zone).replace(tzinfo=None, fold=0)
                second = self._first(start - _SECOND, turn - _TICK)
                found = min((each for each in (found, second) if each is not None), default=None)
        return None if found is None or found - moment > FARTHEST else found

    def _first(self, local: datetime, moment: datetime) -> datetime | None:
        """The first instant after `moment` of a candidate later than the local time."""
        for number, candidate in enumerate(_candidates(self._text, local)):
            instant = self._instant(candidate, moment)
            if instant > moment:
                return instant
            if number >= MOST_CANDIDATES:
                break
        return None

    def _instant(self, local: datetime, moment: datetime) -> datetime:
        """Where a local time is on the line of UTC; the second of two only for elapsed time, if the first
        has gone by."""
        first, second = (local.replace(tzinfo=self._zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first > second:  # it does not exist: `second` is before the gap, and `first` is behind it
            return self._change_between(second, first)
        return second if self._counts_elapsed_time and first <= moment else first

    def _change_between(self, before: datetime, after: datetime) -> datetime:
        """The first instant with another offset than `before`; there is one change up to `after`."""
        offset = self._offset(before)
        while after - before > _SECOND:
            middle = before + (after - before) // (2 * _SECOND) * _SECOND
            if self._offset(middle) == offset:
                before = middle
            else:
                after = middle
        return after.replace(microsecond=0)

    def _offset(self, moment: datetime) -> timedelta | None:
        return moment.astimezone(self._zone).utcoffset()


def _candidates(text: str, local: datetime) -> Iterator[datetime]:
    """The local times of a cron rule later than this one; cronsim gives up after 50 years."""
    try:
        yield from CronSim(text, local)
    except OverflowError:  # the calendar ends
        return


@lru_cache(maxsize=1024)
def _read(text: str) -> CronSim:
    """The fields of a cron rule. Raises `BadCron`, and `NeverFires` for a day that no month of it has."""
    if len(text) > LONGEST_CRON or not _CRON.fullmatch(text):
        raise BadCron("a cron rule has five fields: minute, hour, day of the month, month, day of the week")
    somewhen = datetime(2024, 1, 1)
    try:
        return CronSim(text, somewhen)
    except CronSimError as error:
        minute, hour, day, _, weekday = text.split()
        try:
            CronSim(f"{minute} {hour} {day} * {weekday}", somewhen)
            CronSim(f"0 0 1 {text.split()[3]} *", somewhen)
        except CronSimError:
            field = str(error).removeprefix("Bad ")
            raise BadCron(f"the field {field} holds a value that is not possible there") from error
        raise NeverFires("no month that this names has such a day") from error


def zone_of(name: str) -> ZoneInfo | None:
    """The zone of this name; None if the list of zones does not have it. Never a path."""
    return ZoneInfo(name) if name in _zones() else None


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_names() -> Sequence[str]:
    return sorted(_zones())


def jitter_of(schedule_id: str, most: timedelta) -> timedelta:
    """How long after each nominal time a schedule fires: less than `most`, and always the same."""
    share = int.from_bytes(sha256(schedule_id.encode()).digest()[:8])
    return timedelta(microseconds=(most // _TICK) * share >> 64)


def times_after(rule: TimeRule, moment: datetime, count: int) -> list[datetime]:
    """The next nominal times."""
    times: list[datetime] = []
    for _ in range(min(count, MOST_PREVIEWED)):
        found = rule.after(moment)
        if found is None:
            break
        times.append(found)
        moment = found
    return times


def times_between(rule: TimeRule, after: datetime, until: datetime, most: int) -> list[datetime]:
    """The first nominal times later than `after`, up to `until`."""
    times: list[datetime] = []
    found = rule.after(after)
    while found is not None and found <= until and len(times) < most:
        times.append(found)
        found = rule.after(found)
    return times


def last_until(rule: TimeRule, after: datetime, until: datetime) -> datetime | None:
    """The last nominal time later than `after`, up to `until`; without looking at all before it."""
    if isinstance(rule, Every):
        found = rule.after(until - rule.period)
        return found if found is not None and after < found <= until else None
    for window in _WINDOWS:
        start = max(after, until - window) if until - after > window else after
        last, found = None, rule.after(start)
        while found is not None and found <= until:
            last, found = found, rule.after(found)
        if last is not None or start == after:
            return last
    return None
