from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from flow_manager.core.states import ExecutionStatus
from flow_manager.engine.search import ExecutionSearch
from flow_manager.errors import CursorInvalid
from flow_manager.ports.search import Filter, Found
from flow_manager.stores.sqlite.reader import SqliteReader

LAST = "0198c0de-0000-7000-8000-000000000001"
KEY = LAST.replace("-", "")
ONE = Filter(labels=(("team", "shop"),))
OTHERS = [
    Filter(),
    Filter(labels=(("team", "shops"),)),
    Filter(labels=(("team", "shop"), ("a", "b"))),
    Filter(labels=(("team", "shop"),), text="x"),
]


class FakeReader(SqliteReader):
    """Finds nothing, and has always more to look at."""

    def __init__(self, key: bytes = b"k" * 32) -> None:
        super().__init__(Path("nowhere"))
        self.asked: list[tuple[Filter, str | None, int]] = []
        self.counted = 0
        self._key = key

    def find(self, wanted: Filter, before: str | None, limit: int) -> Found:
        self.asked.append((wanted, before, limit))
        return Found((), LAST)

    def key(self) -> bytes:
        return self._key

    def counts(self) -> Mapping[ExecutionStatus, int]:
        self.counted += 1
        return {ExecutionStatus.RUNNING: self.counted}


def test_a_cursor_leads_on_in_the_same_list() -> None:
    reader = FakeReader()
    listing = ExecutionSearch(reader)

    cursor = listing.page(ONE).cursor
    ExecutionSearch(reader).page(ONE, cursor, 7)

    assert reader.asked[1] == (ONE, LAST, 7)


@pytest.mark.parametrize("other", OTHERS)
def test_c10_a_cursor_of_another_filter_is_refused(other: Filter) -> None:
    listing = ExecutionSearch(FakeReader())
    cursor = listing.page(ONE).cursor

    with pytest.raises(CursorInvalid):
        listing.page(other, cursor)


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "x",
        KEY,
        f"{KEY}.",
        f"{KEY}.{'0' * 32}",
        f"{KEY}.{'0' * 33}",
        f"{LAST}.{'0' * 32}",
        "\u0663" * 65,
        "." * 10_000,
    ],
)
def test_c10_a_forged_cursor_is_refused(forged: str) -> None:
    reader = FakeReader()

    with pytest.raises(CursorInvalid):
        ExecutionSearch(reader).page(Filter(), forged)
    assert reader.asked == []


def test_c10_a_cursor_with_one_character_changed_or_of_another_store_is_refused() -> None:
    listing = ExecutionSearch(FakeReader())
    cursor = listing.page(ONE).cursor or ""

    for at, character in enumerate(cursor):
        changed = cursor[:at] + ("1" if character == "0" else "0") + cursor[at + 1 :]
        with pytest.raises(CursorInvalid):
            listing.page(ONE, changed)
    with pytest.raises(CursorInvalid):
        ExecutionSearch(FakeReader(b"other" * 6)).page(ONE, cursor)


def test_counts_are_good_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    reader = FakeReader()
    listing = ExecutionSearch(reader)

    counts = [listing.counts() for _ in range(3)]
    now = 1.1
    counts.append(listing.counts())

    assert [each[ExecutionStatus.RUNNING] for each in counts] == [1, 1, 1, 2]
