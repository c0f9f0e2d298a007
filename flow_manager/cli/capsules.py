"""`flow-manager export` and `replay`: an execution as one file, and what would become of it now."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import click
import orjson

from flow_manager import bootstrap
from flow_manager.cli import flow_file, output
from flow_manager.cli.executions import as_json_option
from flow_manager.cli.flow_file import STDIN
from flow_manager.cli.options import setting_options, settings_from
from flow_manager.core.capsule import Capsule, read_capsule
from flow_manager.core.definition import Flow
from flow_manager.core.execution_id import read_execution_id
from flow_manager.core.simulation.edited import Replayed, Route, replay
from flow_manager.core.simulation.mocks import Mock, parse_simulation
from flow_manager.core.values import read_json
from flow_manager.errors import InvalidInput, InvalidRequest, Problem, TargetExists, TooLarge

MOST_CAPSULE: Final = 64 << 20
"""Bytes of a file that is read as a capsule: four times what is exported, for those that are indented."""


@click.command("export", short_help="Write an execution to a file, to be replayed elsewhere.")
@click.argument("text", metavar="ID")
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    help="File to write. Default: standard output.",
)
@click.option("--force", is_flag=True, help="Also if the file exists already.")
@setting_options("database")
def export(text: str, target: Path | None, force: bool, **options: object) -> None:
    """Write the execution ID as a capsule: one JSON document with its flow, its history and its children."""
    execution_id = read_execution_id(text)
    with closing(bootstrap.open_reader(settings_from(options))) as reader:
        capsule = bootstrap.capsules_of(reader).export(execution_id, datetime.now(UTC))
    left_out = capsule.get("left_out", {})
    if target is None:
        output.show_json(capsule)
    else:
        content = orjson.dumps(capsule) + b"\n"
        _write(target, content, force)
        output.show_text(f"{target}: {len(content)} bytes, {len(capsule['history'])} events")
    for what, number in left_out.items():
        if number:
            output.show_error(f"left out, since a capsule is bounded: {number} {what}")


@click.command("replay", short_help="Replay an exported execution, with edits.")
@flow_file.argument
@click.option(
    "--set", "edits", metavar="input.NAME=VALUE", multiple=True, help="Another input; may be given again."
)
@click.option(
    "--mock",
    "mocked",
    metavar="TASK=JSON",
    multiple=True,
    help="Another result of a task, or a list of them, as mocks are written; may be given again.",
)
@as_json_option
def replay_capsule(file: Path, edits: Sequence[str], mocked: Sequence[str], as_json: bool) -> None:
    """Replay the capsule in FILE (- is standard input): its results take the place of the tasks.

    Shows the recorded route beside the one that is taken with the edits, where they part, and which results
    would be needed that were never recorded. Nothing is executed, and no database is needed.
    """
    capsule = _read(file)
    mocks = _mocks(mocked, capsule.flow)
    input = _edited_input(capsule, edits) if edits else None
    replayed = replay(capsule.flow, capsule.history, capsule.execution_id, input=input, mocks=mocks)
    if as_json:
        body = {"execution_id": capsule.execution_id, "flow_id": capsule.flow.id, **replayed.to_json()}
        output.show_json(body | {"left_out": capsule.left_out} if capsule.left_out else body)
    else:
        _show(capsule, replayed)


def _write(target: Path, content: bytes, force: bool) -> None:
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL), 0o600)
    except FileExistsError:
        raise TargetExists(f"{target} exists; name another file, or replace it with --force") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _read(path: Path) -> Capsule:
    is_stdin = str(path) == "-"
    name = STDIN if is_stdin else str(path)
    with sys.stdin.buffer if is_stdin else path.open("rb") as file:
        content = file.read(MOST_CAPSULE + 1)
    if len(content) > MOST_CAPSULE:
        raise TooLarge(f"{name} has more than {MOST_CAPSULE >> 20} MiB, which no capsule has")
    try:
        return read_capsule(read_json(content))
    except InvalidInput as error:
        raise type(error)(f"{name}: {error}", error.problems) from error


def _edited_input(capsule: Capsule, edits: Sequence[str]) -> dict[str, Any]:
    input: dict[str, Any] = orjson.loads(orjson.dumps(capsule.input))
    for edit in edits:
        path, is_edit, text = edit.partition("=")
        root, *steps = path.split(".")
        if not is_edit or root != "input" or not steps or not all(steps):
            raise InvalidRequest(f"--set {edit[:64]!r} is no edit; write it as --set input.NAME=VALUE")
        _put(input, steps, _value(text), path)
    return input


def _put(within: Any, steps: Sequence[str], value: Any, path: str) -> None:
    *above, last = steps
    for step in above:
        within = within.setdefault(step, {}) if isinstance(within, dict) else _item(within, step, path)
    if isinstance(within, dict):
        within[last] = value
        return
    _item(within, last, path)
    within[int(last)] = value


def _item(within: Any, step: str, path: str) -> Any:
    if not isinstance(within, list) or not step.isdecimal() or int(step) >= len(within):
        raise InvalidRequest(f"--set {path[:64]!r}: there is nothing at {step[:64]!r}")
    return within[int(step)]


def _value(text: str) -> Any:
    """JSON, or else the text itself."""
    try:
        return read_json(os.fsencode(text))
    except InvalidInput:
        return text


def _mocks(mocked: Sequence[str], flow: Flow) -> Mapping[str, Sequence[Mock]]:
    written: dict[str, Any] = {}
    for each in mocked:
        name, is_mock, text = each.partition("=")
        if not is_mock or not name:
            raise InvalidRequest(f"--mock {each[:64]!r} is no mock; write it as --mock TASK=JSON")
        value = read_json(os.fsencode(text))
        written[name] = value if isinstance(value, list) else [value]
    simulation = parse_simulation({"mocks": written}, flow)
    below = [name for name in written if "/" in name]
    if below:
        detail = "the children of an execution are replayed by themselves: take out their capsules"
        raise InvalidRequest(detail, [Problem(f"#/mocks/{below[0]}", "unknown-task", detail)])
    return simulation.mocks


def _show(capsule: Capsule, replayed: Replayed) -> None:
    facts: list[tuple[str, output.Cell]] = [
        ("execution", capsule.execution_id),
        ("flow", capsule.flow.id),
        ("outcome", replayed.comparison.outcome),
    ]
    difference, need = replayed.comparison.difference, replayed.comparison.need
    if difference is not None:
        after = f"after {difference.task} (task run {difference.run})" if difference.run else "at the start"
        facts.append(("parts", f"{after}: {difference.recorded} was recorded, now {difference.new}"))
    if need is not None:
        facts.append(("needs", f"a result of {need.task}, visit {need.visit}: --mock {need.task}=JSON"))
    facts += [("not used", f"the mock of {name}: the task does not run") for name in replayed.unused]
    if capsule.left_out:
        facts.append(("left out", f"{capsule.left_out} events: the capsule was too small for them"))
    facts += [(f"output {name}", text) for name, text in _ends(replayed)]
    output.show_facts(facts)
    pairs = zip_longest(_steps(replayed.recorded), _steps(replayed.now), fillvalue="")
    rows = [
        (str(number), then, now, "" if then == now else "<-") for number, (then, now) in enumerate(pairs, 1)
    ]
    output.show_table(("run", "recorded", "now", ""), rows)


def _steps(route: Route) -> list[str]:
    return [*route.tasks, route.end]


def _ends(replayed: Replayed) -> list[tuple[str, str]]:
    both = (("recorded", replayed.recorded), ("now", replayed.now))
    return [(name, orjson.dumps(route.output).decode()) for name, route in both if route.output is not None]
