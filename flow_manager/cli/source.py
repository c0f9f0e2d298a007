"""Where commands read from: the database file, or a service."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import click
from click.core import ParameterSource

from flow_manager import bootstrap
from flow_manager.cli.options import settings_from
from flow_manager.cli.service import VARIABLE
from flow_manager.client import Client, ExecutionLine
from flow_manager.core.events import Event
from flow_manager.core.states import ExecutionStatus, Wake
from flow_manager.core.view import View
from flow_manager.engine.search import ExecutionSearch
from flow_manager.ports.backend import TaskType, Violation, with_step_types
from flow_manager.ports.search import DEFAULT_LISTED, Filter, Page, Search, Summary

_Command = TypeVar("_Command", bound=Any)


class Source(Protocol):
    """What commands read. The reader of a file is one already."""

    def describe(self, execution_id: str) -> View: ...

    def history(self, execution_id: str) -> Sequence[Event]: ...

    def violations(self) -> Sequence[Violation]: ...

    def close(self) -> None: ...


class RemoteSource:
    """A service, read as if it were a file. Raises what the client raises."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def describe(self, execution_id: str) -> View:
        """A view is made of events; what an open execution waits for, the service alone knows."""
        execution = self._client.status(execution_id)
        view = View.fold(execution_id, self._client.history(execution_id))
        if not view.is_ended and execution.waiting is not None:
            waiting = execution.waiting
            view.waiting_for(Wake(waiting.reason, waiting.due_at, waiting.detail))
        return view

    def history(self, execution_id: str) -> Sequence[Event]:
        return self._client.history(execution_id)

    def violations(self) -> Sequence[Violation]:
        return [
            Violation(each.execution_id, each.code, each.detail) for each in self._client.doctor().violations
        ]

    def close(self) -> None:
        self._client.close()


def _summary(line: ExecutionLine) -> Summary:
    members = (line.execution_id, line.flow_id, line.status, line.start_time, line.end_time)
    return Summary(*members, line.labels, line.error, line.reason)


def url_option(command: _Command) -> _Command:
    """Give a command the option to read from a service."""
    return click.option(
        "--url",
        metavar="URL",
        envvar=VARIABLE,
        show_envvar=True,
        help="Ask the service at this address instead.",
    )(command)


def open_source(url: str | None, options: Mapping[str, object]) -> Source:
    """The service at this address if there is one, or else the file of the settings."""
    address = address_of(url, options)
    if address is not None:
        return RemoteSource(Client(address))
    return bootstrap.open_reader(settings_from(options))


class RemoteSearch:
    """The search of a service. It reads the parts of a filter as they were written."""

    def __init__(self, client: Client, parts: Mapping[str, str], labels: Sequence[str]) -> None:
        self._client = client
        self._parts = parts
        self._labels = labels

    def page(self, _wanted: Filter, cursor: str | None = None, limit: int = DEFAULT_LISTED) -> Page:
        found = self._client.find(limit=limit, cursor=cursor, labels=self._labels, **self._parts)
        return Page([_summary(each) for each in found.executions], found.cursor)

    def counts(self) -> Mapping[ExecutionStatus, int]:
        return self._client.counts()


@contextlib.contextmanager
def open_search(
    url: str | None, options: Mapping[str, object], parts: Mapping[str, str], labels: Sequence[str]
) -> Iterator[Search]:
    """The search of the service at this address if there is one, or else of the file of the settings."""
    address = address_of(url, options)
    if address is not None:
        with Client(address) as client:
            yield RemoteSearch(client, parts, labels)
    else:
        with contextlib.closing(bootstrap.open_reader(settings_from(options))) as reader:
            yield ExecutionSearch(reader)


def mend(url: str | None, options: Mapping[str, object]) -> Sequence[Violation]:
    """What could be mended, by the service at this address if there is one, or else in the file."""
    address = address_of(url, options)
    if address is None:
        return bootstrap.repair(settings_from(options))
    with Client(address) as client:
        return [Violation(each.execution_id, each.code, each.detail) for each in client.repair().mended]


def task_types_of(url: str | None, options: Mapping[str, object]) -> Sequence[TaskType]:
    """The task types of the service at this address if there is one, or else of the modules."""
    address = _address(url, "--task-module", options["task_modules"])
    if address is None:
        return with_step_types(bootstrap.build_registry(settings_from(options)).task_types())
    with Client(address) as client:
        return [
            TaskType(each.name, each.runs, each.description, each.input_schema, each.origin)
            for each in client.tasks()
        ]


def address_of(url: str | None, options: Mapping[str, object]) -> str | None:
    """The address of the service that is asked, or None if the file of the settings is read. Raises
    `UsageError` if both were asked for."""
    return _address(url, "--database", options["database"])


def _address(url: str | None, option: str, given: object) -> str | None:
    """The address, unless the option that names another source was given instead. Options win over
    variables; two that contradict each other are refused."""
    if url is None or given in (None, ()):
        return url
    if click.get_current_context().get_parameter_source("url") is ParameterSource.COMMANDLINE:
        raise click.UsageError(f"give either --url or {option}: a service knows its own")
    return None
