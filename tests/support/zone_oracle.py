"""When a cron rule fires, by brute force: every minute of UTC is looked at, and its local time is matched
with sets that were read from the rule by this module alone. No library, no search, no bisection.

`*`, numbers, lists, ranges and steps; Sunday is 0 or 7. As in Debian's cron, the day of the month and the
day of the week must both match if one of them begins with a star, else either."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def field_of(text: str, least: int, most: int) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = least, most
        elif "-" in span:
            first, last = (int(each) for each in span.split("-"))
        else:
            first = int(span)
            last = most if step else first
        values |= set(range(first, last + 1, int(step or 1)))
    return frozenset(values)


class Oracle:
    def __init__(self, rule: str, zone: str) -> None:
        texts = rule.split()
        fields = [field_of(text, *limits) for text, limits in zip(texts, RANGES, strict=True)]
        self.minutes, self.hours, self.days, self.months, weekdays = fields
        self.weekdays = frozenset(day % 7 for day in weekdays)
        self.both = texts[2].startswith("*") or texts[4].startswith("*")
        self.is_fine = len(self.hours) == 24 and len(self.minutes) > 1
        self.zone = ZoneInfo(zone)

    def times(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """What fires from `start` until before `end`. `start` is more than a day behind any change."""
        before = (start - MINUTE).astimezone(self.zone).replace(tzinfo=None)
        farthest, moment = before, start
        while moment < end:
            local = moment.astimezone(self.zone).replace(tzinfo=None, fold=0)
            is_new = local > farthest
            passed = local - before > MINUTE and any(self.matches(each) for each in between(before, local))
            if (passed and is_new) or (self.matches(local) and (is_new or self.is_fine)):
                yield moment
            farthest, before, moment = max(farthest, local), local, moment + MINUTE

    def matches(self, local: datetime) -> bool:
        if local.minute not in self.minutes or local.hour not in self.hours or local.month not in self.months:
            return False
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return day and weekday if self.both else day or weekday


def between(before: datetime, local: datetime) -> Iterator[datetime]:
    """The local times that the clock has left out."""
    skipped = before + MINUTE
    while skipped < local:
        yield skipped
        skipped += MINUTE


def changes(zone: str, start: datetime, end: datetime) -> list[datetime]:
    """The hours in which the offset of a zone changes."""
    found, info, moment = [], ZoneInfo(zone), start
    while moment < end:
        following = moment + timedelta(hours=1)
        if moment.astimezone(info).utcoffset() != following.astimezone(info).utcoffset():
            found.append(moment)
        moment = following
    return found


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
