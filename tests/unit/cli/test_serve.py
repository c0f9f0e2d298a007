from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from flow_manager.cli.exits import ExitCode
from flow_manager.settings import SETTINGS, Settings
from tests.unit.cli.conftest import CommandLine


def test_without_options_the_service_starts_with_the_defaults(flow_manager: CommandLine) -> None:
    result = flow_manager("serve")

    assert result.exit_code == 0
    assert flow_manager.settings == [Settings()]


def test_every_setting_is_an_option_of_serve(flow_manager: CommandLine) -> None:
    shown = flow_manager("serve", "--help").stdout

    for setting in SETTINGS:
        assert f"  {setting.option} " in shown


def test_options_become_settings(flow_manager: CommandLine) -> None:
    flow_manager(
        "serve", "--port", "0", "--database", "x.db", "--task-module", "shop", "--task-module", "more.tasks",
        "--grace", "2.5", "--max-body", "2MiB", "--host", "0.0.0.0", "--allow-unauthenticated",
    )  # fmt: skip

    (settings,) = flow_manager.settings
    assert (settings.port, settings.database) == (0, Path("x.db"))
    assert settings.task_modules == ("shop", "more.tasks")
    assert (settings.grace, settings.max_body) == (timedelta(seconds=2.5), 2 * 1024 * 1024)
    assert (settings.host, settings.allow_unauthenticated) == ("0.0.0.0", True)


def test_an_option_wins_over_the_environment(flow_manager: CommandLine) -> None:
    flow_manager("serve", "--port", "1", env={"FLOW_MANAGER_PORT": "2", "FLOW_MANAGER_HOST": "::1"})

    (settings,) = flow_manager.settings
    assert (settings.port, settings.host) == (1, "::1")


@pytest.mark.parametrize(
    ("arguments", "env", "told"),
    [
        (["--port", "x"], {}, "--port is 'x'"),
        ([], {"FLOW_MANAGER_PORT": "x"}, "FLOW_MANAGER_PORT is 'x'"),
        ([], {"FLOW_MANAGER_PROT": "1"}, "did you mean FLOW_MANAGER_PORT?"),
        (["--host", "0.0.0.0"], {}, "--allow-unauthenticated"),
        (["--prot", "1"], {}, "--port"),
    ],
)
def test_a_wrong_setting_starts_nothing_and_is_named(
    arguments: list[str], env: dict[str, str], told: str, flow_manager: CommandLine
) -> None:
    result = flow_manager("serve", *arguments, env=env)

    assert result.exit_code == ExitCode.INVALID
    assert told in result.stderr
    assert not flow_manager.settings


def test_the_exit_code_is_that_of_the_service(flow_manager: CommandLine) -> None:
    flow_manager.serve_code = 74

    assert flow_manager("serve").exit_code == 74


def test_a_command_leaves_it_to_the_search_for_tasks_where_modules_are_found(
    flow_manager: CommandLine,
) -> None:
    sys.path[:] = before = [entry for entry in sys.path if entry not in ("", str(flow_manager.folder))]

    flow_manager("serve", "--task-module", "shop")

    assert sys.path == before


def test_the_seed_reaches_the_sample_tasks(
    flow_manager: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOW_MANAGER_SAMPLE_SEED", "1")

    flow_manager("serve", "--seed", "7")

    assert os.environ["FLOW_MANAGER_SAMPLE_SEED"] == "7"
