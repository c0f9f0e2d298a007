"""Catching up: which nominal times of a schedule are started now, and which have been missed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from flow_manager.core.schedule_document import Missed
from flow_manager.core.schedules import TimeRule, last_until, times_between

WINDOWS: Final[dict[Missed, timedelta]] = {
    "skip": timedelta(minutes=1),
    "latest": timedelta(days=366),
    "all": timedelta(days=1),
}
"""How late a nominal time is started, if the schedule does not say."""
MOST_RECORDED: Final = 100
"""Missed times that are recorded together; more are counted in the log alone."""
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """What a look at a schedule comes to: `nominal` is to be started, if there is one, and the times of
    `missed` will not be; `cursor` is the last time that is dealt with then. `are_more`: missed times that are
    not listed."""

    nominal: datetime | None
    missed: tuple[datetime, ...]
    cursor: datetime
    are_more: bool = False


def next_occurrence(
    rule: TimeRule, policy: Missed, window: timedelta | None, cursor: datetime, now: datetime
) -> Occurrence | None:
    """What is to be done with the nominal times later than `cursor`, up to `now`; None if there is none.

    One at a time: whoever has dealt with it looks again from its `cursor`."""
    first = rule.after(cursor)
    if first is None or first > now:
        return None
    oldest = now - (WINDOWS[policy] if window is None else window)
    if policy == "latest":
        chosen = last_until(rule, cursor, now)
        if chosen is not None and chosen < oldest:
            chosen = None
    elif first >= oldest:
        chosen = first
    else:
        chosen = rule.after(oldest - _TICK)
        chosen = None if chosen is None or chosen > now else chosen
    until = now if chosen is None else chosen - _TICK
    missed = times_between(rule, cursor, until, MOST_RECORDED + 1)
    return Occurrence(
        chosen,
        tuple(missed[:MOST_RECORDED]),
        now if chosen is None else chosen,
        len(missed) > MOST_RECORDED,
    )
