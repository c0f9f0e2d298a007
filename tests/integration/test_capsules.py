"""Capsules of stored executions: by the command line and over HTTP, and their replay."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from flow_manager.api.app import create_app
from flow_manager.cli.main import cli
from flow_manager.core.capsule import read_capsule
from flow_manager.engine import capsules
from flow_manager.engine.capsules import StoredCapsules
from flow_manager.engine.reading import ReadingBackend
from flow_manager.settings import Settings
from flow_manager.stores.sqlite.reader import SqliteReader
from flow_manager.tasks.registry import TaskRegistry
from tests.support.documents import document, task
from tests.support.engine import engine

NOW = datetime(2026, 1, 14, tzinfo=UTC)
FLOW = document(task("a", {"n": "${input.n}"}), task("b"))
CHILD = document(task("c"), flow_id="below")["flow"]
FAMILY = document(task("for_each", {"items": "${[1, 2, 3]}", "flow": CHILD}), task("b"), flow_id="above")


@pytest.fixture
def stored(tmp_path: Path) -> dict[str, str]:
    """Ids of executions in `a.db`, by what they are."""

    async def scenario() -> dict[str, str]:
        async with engine(tmp_path / "a.db") as running:
            plain = await running.started(FLOW, {"n": 7})
            family = await running.started(FAMILY)
            await running.go_on()
            return {"plain": plain, "family": family}

    return asyncio.run(scenario())


@pytest.fixture
def reader(tmp_path: Path) -> Any:
    reader = SqliteReader(tmp_path / "a.db")
    yield reader
    reader.close()


def flow_manager(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, arguments, input=stdin, prog_name="flow-manager")


def exported(folder: Path, execution_id: str) -> Path:
    target = folder / f"{execution_id}.json"
    result = flow_manager("export", execution_id, "-o", str(target), "--database", str(folder / "a.db"))
    assert result.exit_code == 0, result.output
    return target


def test_a_capsule_holds_the_flow_and_the_history(stored: dict[str, str], reader: SqliteReader) -> None:
    capsule = StoredCapsules(reader).export(stored["plain"], NOW)

    assert capsule["exported_at"] == "2026-01-14T00:00:00.000000Z"
    assert capsule["execution"]["status"] == "completed"
    assert "left_out" not in capsule
    read = read_capsule(json.loads(json.dumps(capsule)))
    assert list(read.history) == list(reader.history(stored["plain"]))
    assert (read.execution_id, read.flow.id) == (stored["plain"], FLOW["flow"]["id"])


def test_children_go_with_it_as_capsules_of_their_own(stored: dict[str, str], reader: SqliteReader) -> None:
    capsule = StoredCapsules(reader).export(stored["family"], NOW)

    assert [(each["run"], each["attempt"], each["index"]) for each in capsule["children"]] == [
        (1, 1, 0), (1, 1, 1), (1, 1, 2)
    ]  # fmt: skip
    assert [read_capsule(each["capsule"]).flow.id for each in capsule["children"]] == ["below"] * 3


def test_what_does_not_fit_is_left_out_and_counted(
    stored: dict[str, str], reader: SqliteReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = StoredCapsules(reader).export(stored["family"], NOW)
    monkeypatch.setattr(capsules, "MOST_CHILDREN", 1)
    few = StoredCapsules(reader).export(stored["family"], NOW)
    monkeypatch.setattr(capsules, "MOST_BYTES", 1_500)
    cut = StoredCapsules(reader).export(stored["family"], NOW)

    assert (len(few["children"]), few["left_out"]) == (1, {"events": 0, "children": 2})
    assert 0 < len(cut["history"]) < len(whole["history"])
    assert cut["left_out"] == {"events": len(whole["history"]) - len(cut["history"]), "children": 3}
    assert read_capsule(cut).left_out == cut["left_out"]["events"]


def test_over_http_a_capsule_is_the_same(stored: dict[str, str], reader: SqliteReader) -> None:
    client = create_app(ReadingBackend(reader, TaskRegistry()), Settings()).test_client()
    headers = {"Host": "127.0.0.1"}

    body = client.get(f"/v1/executions/{stored['plain']}/capsule", headers=headers).get_json()
    unknown = client.get(f"/v1/executions/{stored['plain'][:-4]}0000/capsule", headers=headers)
    no_id = client.get("/v1/executions/nonsense/capsule", headers=headers)

    expected = dict(StoredCapsules(reader).export(stored["plain"], NOW))
    assert {**body, "exported_at": ""} == {**expected, "exported_at": ""}
    assert (unknown.status_code, no_id.status_code) == (404, 404)


def test_a_file_is_replayed_without_a_database(tmp_path: Path, stored: dict[str, str]) -> None:
    target = exported(tmp_path, stored["plain"])
    (tmp_path / "a.db").unlink()

    shown = flow_manager("replay", str(target)).stdout
    piped = flow_manager("replay", "-", "--json", stdin=target.read_text(encoding="utf-8"))

    assert ["outcome", "same"] in [line.split() for line in shown.splitlines()]
    assert json.loads(piped.stdout)["now"]["tasks"] == ["task1", "task2"]
    assert target.stat().st_mode & 0o777 == 0o600


def test_edits_show_where_the_ways_part(tmp_path: Path, stored: dict[str, str]) -> None:
    target = exported(tmp_path, stored["plain"])

    mocked = flow_manager("replay", str(target), "--mock", 'task1={"error": {"code": "no"}}')
    edited = json.loads(
        flow_manager(
            "replay", str(target), "--set", "input.n=8", "--set", "input.deep.name=x y", "--json"
        ).stdout
    )

    assert "after task1 (task run 1): task2 was recorded, now end: failed" in mocked.stdout
    assert edited["outcome"] == "same"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--set", "n=1"], "--set input.NAME=VALUE"),
        (["--set", "input.n"], "--set input.NAME=VALUE"),
        (["--set", "input.n.x=1"], "nothing at 'x'"),
        (["--mock", "task1"], "--mock TASK=JSON"),
        (["--mock", "task1={"], "JSON"),
        (["--mock", "task3={}"], "no task 'task3'"),
        (["--mock", 'task1={"dada": 1}'], "dada"),
    ],
)
def test_an_edit_that_cannot_be_made_says_why(
    tmp_path: Path, stored: dict[str, str], arguments: list[str], word: str
) -> None:
    result = flow_manager("replay", str(exported(tmp_path, stored["plain"])), *arguments)

    assert result.exit_code == 2
    assert word in result.stderr


def test_what_is_no_capsule_is_refused_with_the_place(tmp_path: Path, stored: dict[str, str]) -> None:
    target = exported(tmp_path, stored["plain"])
    capsule = json.loads(target.read_text(encoding="utf-8"))
    del capsule["history"][1]["task"]

    damaged = flow_manager("replay", "-", stdin=json.dumps(capsule))
    cut = flow_manager("replay", "-", stdin=target.read_text(encoding="utf-8")[:-20])
    other = flow_manager("replay", "-", stdin="[1]")

    assert [each.exit_code for each in (damaged, cut, other)] == [2, 2, 2]
    assert "#/history/1" in damaged.stderr
    assert "#/format" in other.stderr


def test_an_export_replaces_no_file_and_an_unknown_id_makes_none(
    tmp_path: Path, stored: dict[str, str]
) -> None:
    target = exported(tmp_path, stored["plain"])
    options = ("--database", str(tmp_path / "a.db"))

    again = flow_manager("export", stored["plain"], "-o", str(target), *options)
    forced = flow_manager("export", stored["plain"], "-o", str(target), "--force", *options)
    unknown = flow_manager("export", stored["plain"][:-4] + "0000", "-o", str(tmp_path / "none"), *options)

    assert [each.exit_code for each in (again, forced, unknown)] == [2, 0, 2]
    assert not (tmp_path / "none").exists()
    assert msgspec.json.decode(target.read_bytes())["format"] == "flow-manager-capsule/1"
