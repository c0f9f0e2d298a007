from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flow_manager.core.events import AttemptStarted, Event, ExecutionEnded, ExecutionStarted
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.engine import following
from flow_manager.engine.following import MOST_CHANGES, Followers
from flow_manager.ports.live import Changes, News
from flow_manager.stores.sqlite.reader import SqliteReader

AT = datetime(2026, 1, 1, tzinfo=UTC)
STARTED = ExecutionStarted(AT, "shop")
EVENTS: list[Event] = [STARTED, AttemptStarted(AT, "pay"), ExecutionEnded(AT)]


class FakeReader(SqliteReader):
    """Of one execution the events so far; it has ended when there are three."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self.events: list[Event] = []
        self.looked = 0

    def news(self, execution_id: str, after: int) -> News:
        self.looked += 1
        return News(self.events[after:], len(self.events) == 3)


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
def live(reader: FakeReader, monkeypatch: pytest.MonkeyPatch) -> Followers:
    monkeypatch.setattr(following, "BETWEEN_CHANGES", 0.0)
    return Followers(reader)


def view(name: str, *events: Event) -> View:
    return View.fold(name, [STARTED, *events])


def told(news: Iterator[Changes]) -> list[tuple[str, str]]:
    return [(change.execution_id, change.status.value) for change in next(news).changes]


# -- an execution


def test_events_are_told_from_a_number_on_until_the_end(live: Followers, reader: FakeReader) -> None:
    reader.events = list(EVENTS)

    assert [news.events for news in live.events("one")] == [EVENTS]
    assert [news.events for news in live.events("one", 2)] == [EVENTS[2:]]
    assert [news.events for news in live.events("one", 3)] == [[]]


def test_what_is_recorded_wakes_those_who_follow(live: Followers, reader: FakeReader) -> None:
    reader.events = EVENTS[:1]
    news = live.events("one")
    assert next(news).events == EVENTS[:1]
    assert next(news).events == []

    def record() -> None:
        reader.events = EVENTS[:2]
        live.recorded(view("one"), EVENTS[1:2])

    threading.Timer(0.05, record).start()
    looked = reader.looked

    assert next(news).events == EVENTS[1:2]
    assert reader.looked == looked + 1


def test_what_nobody_announced_is_found_as_well(
    live: Followers, reader: FakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LONGEST_SILENCE", 0.01)
    news = live.events("one")
    assert [next(news).events for _ in range(3)] == [[], [], []]

    reader.events = list(EVENTS)

    assert [each.events for each in news] == [EVENTS]


def test_nothing_is_kept_of_those_who_have_left(live: Followers) -> None:
    events, changes = live.events("one"), live.changes()
    next(events), next(changes)

    events.close()
    changes.close()

    assert (live._followers, live._watchers) == ({}, [])


def test_a_stop_lets_all_go(live: Followers) -> None:
    events, changes = live.events("one"), live.changes()
    next(events), next(changes)

    live.close()

    assert (list(events), list(changes)) == ([], [])


# -- changes of status


def test_a_change_of_status_is_told_once(live: Followers) -> None:
    news = live.changes()
    next(news)
    one = view("one")
    live.recorded(one, [])
    live.recorded(one, [])
    assert told(news) == [("one", "running")]

    live.moved(one.waiting_for(Wake(WakeReason.SIGNAL, AT)))
    assert told(news) == [("one", "waiting")]

    live.moved(view("one"))
    live.recorded(view("one", EVENTS[2]), [])
    assert told(news) == [("one", "completed")]
    assert live._statuses == {}


def test_who_comes_back_is_told_what_came_meanwhile(live: Followers) -> None:
    first = next(live.changes())
    live.recorded(view("one"), [])

    news = live.changes(first.position)
    began = next(news)

    assert (began.changes, began.position, began.is_reset) == ((), first.position, False)
    live.recorded(view("two"), [])
    assert told(news) == [("one", "running"), ("two", "running")]


@pytest.mark.parametrize("position", ["", "x", "1", "00000000-0", "{boot}-99", "{boot}--1", "{boot}-x"])
def test_a_position_that_is_not_known_begins_anew(live: Followers, position: str) -> None:
    live.recorded(view("one"), [])
    boot = next(live.changes()).position.partition("-")[0]

    began = next(live.changes(position.format(boot=boot)))

    assert (began.changes, began.position, began.is_reset) == ((), f"{boot}-1", True)


def test_who_falls_too_far_behind_is_told_so(live: Followers) -> None:
    news = live.changes()
    next(news)
    for number in range(MOST_CHANGES + 1):
        live.recorded(view(f"{number}"), [])

    late = next(news)

    assert late.is_reset
    assert len(late.changes) == MOST_CHANGES
    live.recorded(view("new"), [])
    assert told(news) == [("new", "running")]


def test_only_so_many_statuses_are_remembered(live: Followers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MOST_MOVING", 10)

    for number in range(30):
        live.recorded(view(f"{number}"), [])

    assert list(live._statuses) == [f"{number}" for number in range(20, 30)]


def test_a_status_is_told_of_what_cannot_be_read(live: Followers) -> None:
    news = live.changes()
    next(news)

    live.moved(View("one").waiting_for(Wake(WakeReason.REPAIR, AT)))

    (change,) = next(news).changes
    assert (change.status, change.flow_id, change.started_at) == (ExecutionStatus.NEEDS_REPAIR, "", None)
