from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import click
import pytest

from flow_manager.cli.exits import ExitCode, exit_code_of
from flow_manager.cli.main import COMMANDS
from flow_manager.errors import (
    ExecutionUnknown,
    FlowManagerError,
    InvalidFlow,
    OutcomeUnknown,
    Overloaded,
    SettingsError,
    ShuttingDown,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreNewer,
    StoreReadOnly,
    TaskRegistrationError,
)
from tests.unit.cli.conftest import CommandLine


def test_help_lists_every_command_with_its_line(flow_manager: CommandLine) -> None:
    result = flow_manager("--help")

    assert result.exit_code == 0
    for name, place in COMMANDS.items():
        assert any(line.split() == [name, *place.line.split()] for line in result.stdout.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_name_and_the_line_that_the_list_gives_it(name: str) -> None:
    module, _, attribute = COMMANDS[name].path.partition(":")
    command = getattr(import_module(module), attribute)

    assert isinstance(command, click.Command)
    assert (command.name, command.short_help) == (name, COMMANDS[name].line)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_with_an_environment_twin_shows_it(name: str, flow_manager: CommandLine) -> None:
    module, _, attribute = COMMANDS[name].path.partition(":")
    command: click.Command = getattr(import_module(module), attribute)

    shown = flow_manager(name, "--help").stdout

    for option in command.params:
        if isinstance(option, click.Option) and option.envvar:
            assert f"env var: {option.envvar}" in " ".join(shown.split())


def test_help_needs_neither_the_engine_nor_the_web() -> None:
    heavy = "{'flask', 'granian', 'apsw', 'asyncio', 'flow_manager.bootstrap', 'pydantic'}"
    program = (
        "import sys\n"
        "from flow_manager.cli.main import cli\n"
        "try: cli.main(['--help'])\n"
        f"finally: print('loaded:', sorted({heavy} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.endswith("loaded: []\n")


def test_an_unknown_command_gets_the_nearest_right_one(flow_manager: CommandLine) -> None:
    result = flow_manager("validat")

    assert result.exit_code == ExitCode.INVALID
    assert "validate" in result.stderr


def test_the_version_is_that_of_the_package(flow_manager: CommandLine) -> None:
    assert flow_manager("--version").stdout == "flow-manager, version 0.1.0\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidFlow("x"), ExitCode.INVALID),
        (SettingsError("x"), ExitCode.INVALID),
        (TaskRegistrationError("x"), ExitCode.INVALID),
        (ExecutionUnknown("x"), ExitCode.INVALID),
        (Overloaded("x"), ExitCode.UNAVAILABLE),
        (ShuttingDown("x"), ExitCode.UNAVAILABLE),
        (StoreLocked("x"), ExitCode.UNAVAILABLE),
        (StoreNewer("x"), ExitCode.UNAVAILABLE),
        (StoreError("x"), ExitCode.IO_ERROR),
        (StoreFull("x"), ExitCode.IO_ERROR),
        (StoreReadOnly("x"), ExitCode.IO_ERROR),
        (StoreDamaged("x"), ExitCode.IO_ERROR),
        (OutcomeUnknown("x"), ExitCode.IO_ERROR),
    ],
)
def test_every_error_has_its_exit_code(
    error: FlowManagerError, code: ExitCode, flow_manager: CommandLine
) -> None:
    flow_manager.refusal = error

    result = flow_manager("list")

    assert exit_code_of(error) is code
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "error: x\n")


def test_help_names_the_exit_codes(flow_manager: CommandLine) -> None:
    shown = " ".join(flow_manager("--help").stdout.split())

    assert "0 completed, 1 failed, 2 invalid input or usage, 3 unavailable or in use, 74" in shown
