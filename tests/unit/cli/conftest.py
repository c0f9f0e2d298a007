"""A command line whose engine is a fake: it records what it is asked and answers what it was given."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flow_manager import bootstrap
from flow_manager.cli.main import cli
from flow_manager.core.definition import Flow
from flow_manager.core.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    Routed,
)
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.view import View
from flow_manager.errors import ExecutionUnknown, FlowManagerError
from flow_manager.ports.backend import Summary, Violation
from flow_manager.ports.live import News
from flow_manager.ports.search import Filter, Found
from flow_manager.settings import Settings
from flow_manager.tasks.registry import TaskRegistry

EXECUTION = "0198c0de-0000-7000-8000-000000000001"
START = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)

FLOW: dict[str, Any] = {
    "flow": {
        "id": "flow123",
        "name": "Data",
        "start_task": "fetch",
        "tasks": [{"name": "fetch", "description": ""}, {"name": "store", "description": ""}],
        "conditions": [
            {
                "name": "fetched",
                "description": "",
                "source_task": "fetch",
                "outcome": "success",
                "target_task_success": "store",
                "target_task_failure": "end",
            }
        ],
    }
}


def second(number: int) -> datetime:
    return START + timedelta(seconds=number)


COMPLETED: tuple[Event, ...] = (
    ExecutionStarted(at=second(0), flow_id="flow123", input={"n": 1}),
    AttemptStarted(at=second(0), task="fetch"),
    AttemptEnded(at=second(1), task="fetch", message="Data fetched successfully", data={"rows": 3}),
    Routed(at=second(1), task="fetch", to="store", condition="fetched"),
    AttemptStarted(at=second(1), task="store", run=2),
    AttemptEnded(at=second(2), task="store", run=2, message="Data stored successfully"),
    Routed(at=second(2), task="store", to="end"),
    ExecutionEnded(at=second(2)),
)

FAILED: tuple[Event, ...] = (
    ExecutionStarted(at=second(0), flow_id="flow123"),
    AttemptStarted(at=second(0), task="fetch"),
    AttemptEnded(
        at=second(1),
        task="fetch",
        outcome="failure",
        message="no\x1b[31m answer",
        error=TaskError("task.failed", "no answer"),
    ),
    Routed(at=second(1), task="fetch", to="end", condition="fetched", matched=False, outcome="failure"),
    ExecutionEnded(at=second(1), status=ExecutionStatus.FAILED, error=TaskError("task.failed", "no answer")),
)


@dataclass
class FakeBackend:
    """Answers with the execution that `events` tell of."""

    events: Sequence[Event] = COMPLETED
    inputs: list[Mapping[str, Any]] = field(default_factory=list)
    labels: list[Mapping[str, str] | None] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    closed_with: list[timedelta | None] = field(default_factory=list)
    interrupt: bool = False

    def execute(
        self,
        flow: Flow,
        input: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        wait: timedelta | None = None,
    ) -> View:
        self.flows.append(flow)
        self.inputs.append(input)
        self.labels.append(labels)
        return View.fold(EXECUTION, self.events[:1])

    def follow(self, execution_id: str) -> Iterator[Event]:
        for event in self.events:
            yield event
            if self.interrupt:
                raise KeyboardInterrupt

    def describe(self, execution_id: str) -> View:
        return View.fold(execution_id, self.events)

    def close(self, grace: timedelta | None = None) -> None:
        self.closed_with.append(grace)


SUMMARY = Summary(EXECUTION, "flow123", ExecutionStatus.COMPLETED, second(0), second(2))


@dataclass
class FakeReader:
    """A store with one execution."""

    events: Sequence[Event] = COMPLETED
    broken: Sequence[Violation] = ()
    asked: list[tuple[Filter, str | None, int]] = field(default_factory=list)
    looks: list[Found] = field(default_factory=lambda: [Found([SUMMARY], None)])
    is_closed: bool = False

    def describe(self, execution_id: str) -> View:
        if execution_id != EXECUTION:
            raise ExecutionUnknown(f"no execution has the id {execution_id}")
        return View.fold(EXECUTION, self.events)

    def history(self, execution_id: str) -> Sequence[Event]:
        return self.events

    def find(self, wanted: Filter, before: str | None, limit: int) -> Found:
        self.asked.append((wanted, before, limit))
        found = self.looks.pop(0)
        return found if wanted.flow_id in (None, "flow123") else Found([], None)

    def news(self, execution_id: str, after: int) -> News:
        self.describe(execution_id)
        return News(self.events[after:], True)

    def key(self) -> bytes:
        return b"key"

    def violations(self) -> Sequence[Violation]:
        return self.broken

    def close(self) -> None:
        self.is_closed = True


class CommandLine:
    """`flow-manager`, run in a folder of its own with a fake engine behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backend = FakeBackend()
        self.reader = FakeReader()
        self.registry = TaskRegistry()
        self.registry.register("fetch", _fetch)
        self.registry.register("store", _store)
        self.settings: list[Settings] = []
        self.refusal: FlowManagerError | None = None
        self.serve_code = 0

    def __call__(
        self, *arguments: str, stdin: str | None = None, env: Mapping[str, str] | None = None
    ) -> Result:
        return CliRunner().invoke(cli, arguments, input=stdin, env=env, prog_name="flow-manager")

    def write(self, name: str, content: object) -> str:
        text = content if isinstance(content, str) else json.dumps(content, indent=2)
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    def open_backend(self, settings: Settings) -> FakeBackend:
        self._note(settings)
        return self.backend

    def open_reader(self, settings: Settings) -> FakeReader:
        self._note(settings)
        return self.reader

    def build_registry(self, settings: Settings) -> TaskRegistry:
        self.settings.append(settings)
        return self.registry

    def serve(self, settings: Settings) -> int:
        self._note(settings)
        return self.serve_code

    def configure_logging(self, settings: Settings) -> None:
        self.settings.append(settings)

    def _note(self, settings: Settings) -> None:
        self.settings.append(settings)
        if self.refusal is not None:
            raise self.refusal


def _fetch(context: object) -> None:
    """Fetches data."""


async def _store(context: object) -> None:
    """Stores data."""


@pytest.fixture
def flow_manager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    command_line = CommandLine(tmp_path)
    for name in ("open_backend", "open_reader", "build_registry", "serve", "configure_logging"):
        monkeypatch.setattr(bootstrap, name, getattr(command_line, name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return command_line
