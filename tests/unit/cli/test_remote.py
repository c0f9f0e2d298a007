"""Commands that ask a service in place of the file, and those that send something to it."""

from __future__ import annotations

import json

import httpx
import pytest

from flow_manager.api.app import create_app
from flow_manager.cli import sending, source
from flow_manager.cli.exits import ExitCode
from flow_manager.client import Client
from flow_manager.core.events import AttemptStarted, ExecutionStarted, Wait
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.ports.backend import Violation
from flow_manager.settings import Settings
from tests.support.fake_backend import EXECUTION, FakeBackend, second
from tests.support.ports import free_port
from tests.unit.cli.conftest import CommandLine

URL = "http://127.0.0.1:5000"
WAITING = (
    ExecutionStarted(at=second(0), flow_id="flow123"),
    AttemptStarted(at=second(0), task="hear", wait=Wait(kind="signal", signal="paid")),
)


class WaitingBackend(FakeBackend):
    """Its execution waits for a signal, as only the store knows."""

    def describe(self, execution_id: str) -> View:
        return super().describe(execution_id).waiting_for(Wake(WakeReason.SIGNAL, second(9), "paid"))


def connect(monkeypatch: pytest.MonkeyPatch, backend: FakeBackend) -> list[str]:
    """Lead clients to a service on this backend; the addresses that they were given are noted."""
    app = create_app(backend, Settings())
    asked: list[str] = []

    def connected(url: str) -> Client:
        asked.append(url)
        return Client(url, tries=1, transport=httpx.WSGITransport(app=app))

    for module in (source, sending):
        monkeypatch.setattr(module, "Client", connected)
    return asked


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    backend = FakeBackend()
    connect(monkeypatch, backend)
    return backend


def test_the_list_of_a_service_is_that_of_its_file(flow_manager: CommandLine, backend: FakeBackend) -> None:
    remote = flow_manager("list", "--limit", "3", "--status", "failed", "--json", "--url", URL)

    assert remote.exit_code == ExitCode.OK
    assert remote.stdout == flow_manager("list", "--json").stdout
    assert backend.listed == [(3, ExecutionStatus.FAILED)]


def test_an_execution_of_a_service_is_shown_as_one_of_a_file(
    flow_manager: CommandLine, backend: FakeBackend
) -> None:
    flow_manager.reader.events = backend.events

    for options in ([], ["--history"], ["--json"], ["--json", "--history"]):
        local = flow_manager("show", EXECUTION, *options)
        remote = flow_manager("show", EXECUTION, *options, "--url", URL)
        assert remote.stdout == local.stdout
        assert len(remote.stdout) > len(EXECUTION)


def test_what_an_open_execution_waits_for_is_shown(
    flow_manager: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = WaitingBackend(WAITING)
    connect(monkeypatch, backend)

    shown = flow_manager("show", EXECUTION, "--url", URL).stdout
    as_json = json.loads(flow_manager("show", EXECUTION, "--json", "--url", URL).stdout)

    assert ["waits", "for", "signal", "paid"] in [line.split() for line in shown.splitlines()]
    assert as_json == backend.describe(EXECUTION).to_json()


def test_an_execution_that_the_service_does_not_know_is_an_error(
    flow_manager: CommandLine, backend: FakeBackend
) -> None:
    result = flow_manager("show", EXECUTION[:-1] + "2", "--url", URL)

    assert (result.exit_code, result.stderr) == (ExitCode.INVALID, "error: no execution has this id\n")


def test_the_doctor_of_a_service_finds_what_it_says(flow_manager: CommandLine, backend: FakeBackend) -> None:
    assert flow_manager("doctor", "--url", URL).exit_code == ExitCode.OK
    backend.broken = [Violation(EXECUTION, "wake.missing", "nothing will move it on")]

    result = flow_manager("doctor", "--url", URL)

    assert (result.exit_code, "wake.missing" in result.stdout) == (ExitCode.FAILED, True)


def test_the_tasks_are_those_of_the_service(flow_manager: CommandLine, backend: FakeBackend) -> None:
    result = flow_manager("tasks", "--json", "--url", URL)

    assert [each["origin"] for each in json.loads(result.stdout)] == ["shop.tasks:fetch"]


@pytest.mark.parametrize(
    ("arguments", "variable", "asked"),
    [
        (["list"], "", []),
        (["list"], "http://flows.example", ["http://flows.example"]),
        (["list", "--url", URL], "http://flows.example", [URL]),
        (["list", "--database", "other.db"], "http://flows.example", []),
        (["tasks"], "http://flows.example", ["http://flows.example"]),
        (["tasks", "--task-module", "shop"], "http://flows.example", []),
        (["cancel", EXECUTION], "", [URL]),
        (["cancel", EXECUTION], "http://127.0.0.1:81", ["http://127.0.0.1:81"]),
    ],
)
def test_an_option_wins_over_the_variable(
    arguments: list[str],
    variable: str,
    asked: list[str],
    flow_manager: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connected = connect(monkeypatch, FakeBackend())

    flow_manager(*arguments, env={"FLOW_MANAGER_URL": variable} if variable else {})

    assert connected == asked


@pytest.mark.parametrize(
    "arguments",
    [["list", "--database", "x.db"], ["tasks", "--task-module", "shop"]],
    ids=lambda each: each[0],
)
def test_two_sources_at_once_are_a_usage_error(
    arguments: list[str], flow_manager: CommandLine, backend: FakeBackend
) -> None:
    result = flow_manager(*arguments, "--url", URL)

    assert result.exit_code == ExitCode.INVALID
    assert f"give either --url or {arguments[1]}" in result.stderr


def test_an_execution_is_cancelled(flow_manager: CommandLine, backend: FakeBackend) -> None:
    result = flow_manager("cancel", EXECUTION.upper(), "--reason", "it rains", "--by", "Ada")

    assert (result.exit_code, result.stdout) == (ExitCode.OK, f"{EXECUTION} will end as cancelled\n")
    assert backend.sent == [("cancel", "it rains", None, "Ada")]


@pytest.mark.parametrize(
    ("options", "payload"),
    [([], None), (["--payload", '{"amount": 1}'], {"amount": 1}), (["--payload", "@payload.json"], [1, 2])],
)
def test_a_signal_is_sent(
    options: list[str], payload: object, flow_manager: CommandLine, backend: FakeBackend
) -> None:
    flow_manager.write("payload.json", [1, 2])

    result = flow_manager("signal", EXECUTION, "paid", *options, "--json")

    assert result.exit_code == ExitCode.OK
    assert json.loads(result.stdout) == {"execution_id": EXECUTION, "accepted": True}
    assert backend.sent == [("signal", "paid", payload, "")]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cancel", "x"], "an execution is named by a UUID"),
        (["signal", EXECUTION, "paid", "--payload", "{"], "not JSON"),
        (["signal", EXECUTION, "paid", "--payload", "@none.json"], "none.json"),
        (["signal", EXECUTION, "no name"], "#/name"),
        (["cancel", EXECUTION, "--url", "localhost"], "is no address of a service"),
    ],
)
def test_what_cannot_be_sent_is_told(
    arguments: list[str], told: str, flow_manager: CommandLine, backend: FakeBackend
) -> None:
    result = flow_manager(*arguments)

    assert result.exit_code == ExitCode.INVALID
    assert told in result.stderr
    assert backend.sent == []


def test_a_service_that_is_not_there_is_unavailable(
    flow_manager: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flow_manager.client.connection.FIRST_PAUSE", 0.0)

    result = flow_manager("list", "--url", f"http://127.0.0.1:{free_port()}")

    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "is the service running there?" in result.stderr
