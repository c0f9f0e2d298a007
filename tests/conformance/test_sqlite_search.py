"""Searching in SQLite behaves as it must on every store; and it never reads through a whole table."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest

from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.ports.search import Filter
from flow_manager.ports.store import Store
from flow_manager.stores.sqlite import search
from flow_manager.stores.sqlite.reader import STATEMENTS
from flow_manager.stores.sqlite.search import Known, candidates, key_range, sparsest
from flow_manager.stores.sqlite.store import SqliteStore
from tests.conformance.search_behaviour import FIRST, SearchBehaviour, all_pages
from tests.support.executions import for_signal, new_execution

HERE = Path(search.__file__).with_name("search.sql").read_text(encoding="utf-8")
NAMES = re.findall(r"^-- name: (\w+)$", HERE, re.MULTILINE)
SMALL = {"tallies"}
"""Tables with a row for each status."""


class TestSqliteSearch(SearchBehaviour):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "search.db"

    def make(self) -> SqliteStore:
        return SqliteStore(self.path, "relaxed")

    def test_a_look_that_finds_little_ends_at_its_bound_and_can_be_gone_on_with(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search, "MOST_EXAMINED", 10)

        async def scenario(store: Store) -> None:
            everything = await self.fill(store, 35)
            nothing = Filter(text="nowhere")

            looks, before = 0, None
            while looks == 0 or before is not None:
                found = store.find(nothing, before, 3)
                assert list(found.executions) == []
                looks, before = looks + 1, found.last

            assert looks == 4
            assert store.find(nothing, None, 3).last == everything[9].execution_id
            assert list(store.executions(limit=35)) == everything
            assert all_pages(store, Filter(), 8) == everything

        self.run(scenario)

    def test_the_few_that_run_are_found_in_one_look_behind_however_many_that_wait(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search, "MOST_EXAMINED", 10)

        async def scenario(store: Store) -> None:
            running = [new_execution(), new_execution()]
            for each in (*running, *(new_execution(for_signal()) for _ in range(30))):
                await store.start(each)

            for wanted in (Filter(status=ExecutionStatus.RUNNING), Filter(reason=WakeReason.CLAIM)):
                found = store.find(wanted, None, 3)
                assert [each.execution_id for each in found.executions] == [
                    each.execution_id for each in reversed(running)
                ]
                assert found.last is None

        self.run(scenario)

    def test_more_versions_and_codes_than_are_gone_through_side_by_side_are_found_as_well(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def scenario(store: Store) -> None:
            await self.fill(store, 60)
            wanted = (Filter(flow_id="order"), Filter(error="task."))
            before = [all_pages(store, each, 7) for each in wanted]

            monkeypatch.setattr(search, "MOST_STREAMS", 1)

            assert [all_pages(store, each, 7) for each in wanted] == before
            assert all(before)

        self.run(scenario)

    def test_executions_of_a_published_version_are_found(self) -> None:
        async def scenario(store: Store) -> None:
            new, other = new_execution(), new_execution(definition='{"id":"stored","n":2}')
            await store.start(new)
            await store.start(other)
            connection = apsw.Connection(str(self.path))
            for version, each in enumerate((new, other), start=1):
                row = ("stored", version, bytes.fromhex(each.digest), 0, "")
                connection.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?)", row)
            connection.close()

            found = store.find(Filter(flow_id="stored", version=2), None, 10).executions

            assert [each.execution_id for each in found] == [other.execution_id]

        self.run(scenario)


@pytest.mark.parametrize("name", NAMES)
def test_every_statement_goes_through_an_index(name: str, tmp_path: Path) -> None:
    SqliteStore(tmp_path / "plans.db")._writer.close()
    connection = apsw.Connection(str(tmp_path / "plans.db"))
    sql = STATEMENTS[name]
    given = dict.fromkeys(re.findall(r":(\w+)", sql)) if ":keys" in sql else (None,) * _places(sql)

    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", given)]

    assert plan
    steps = [step for step in plan if "VIRTUAL TABLE" not in step]
    assert [step for step in steps if "TEMP B-TREE" in step] == []
    scans = [step for step in steps if step.startswith("SCAN")]
    assert [step for step in scans if step.split()[1] not in SMALL | {"CONSTANT"}] == []
    connection.close()


def _places(sql: str) -> int:
    numbers = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    return max(numbers, default=sql.count("?"))


# -- planning


@pytest.mark.parametrize(
    ("wanted", "known", "statements"),
    [
        (Filter(), Known(), [["keys_by_id"]]),
        (Filter(text="x"), Known(), [["keys_by_id"]]),
        (Filter(flow_id="f"), Known([b"1", b"2"]), [["keys_of_digest"] * 2]),
        (Filter(flow_id="f"), Known([]), [[]]),
        (Filter(flow_id="f"), Known(None), [["keys_by_id"]]),
        (Filter(error="a."), Known(None, ["a.b", "a.c"]), [["keys_with_error"] * 2]),
        (Filter(labels=(("a", "1"), ("b", "2"))), Known(), [["keys_with_label"], ["keys_with_label"]]),
        (Filter(status=ExecutionStatus.COMPLETED), Known(), [["keys_by_id"]]),
        (Filter(status=ExecutionStatus.FAILED), Known(), [["keys_not_completed"]]),
        (Filter(status=ExecutionStatus.RUNNING), Known(), [["keys_claimed"]]),
        (Filter(status=ExecutionStatus.QUARANTINED), Known(), [["keys_parked"]]),
        (Filter(reason=WakeReason.CLAIM), Known(), [["keys_claimed"]]),
        (Filter(reason=WakeReason.CODE), Known(), [["keys_parked"]]),
        (
            Filter(flow_id="f", labels=(("a", "1"),), status=ExecutionStatus.CANCELLED),
            Known([b"1"]),
            [["keys_with_label"], ["keys_of_digest"], ["keys_not_completed"]],
        ),
    ],
)
def test_the_filter_names_what_can_drive_the_search(
    wanted: Filter, known: Known, statements: list[list[str]]
) -> None:
    assert [[source.statement for source in each] for each in candidates(wanted, known)] == statements


@pytest.mark.parametrize(
    ("heads", "chosen"),
    [
        ([[b"9", b"8"], [b"9", b"1"], [b"9", b"5"]], 1),
        ([[b"9", b"1"], [b"9"]], 1),
        ([[b"9"], [], [b"9", b"8"]], 1),
        ([[b"9", b"8"]], 0),
    ],
)
def test_the_sparsest_source_is_the_one_that_leads_furthest_back(
    heads: list[list[bytes]], chosen: int
) -> None:
    assert sparsest(heads, 2) == chosen


def test_a_time_and_the_beginning_of_an_id_are_a_range_of_keys() -> None:
    low, high = key_range(Filter(since=FIRST, until=FIRST), b"\xff" * 16)

    assert low == high == int(FIRST.timestamp() * 1000).to_bytes(6) + bytes(10)
    assert key_range(Filter(text="0198C0DE-00"), None) == (
        bytes.fromhex("0198c0de00") + bytes(11),
        bytes.fromhex("0198c0de00") + b"\xff" * 11 + b"\0",
    )
    assert key_range(Filter(text="0198c0d"), None) == key_range(Filter(), None)
