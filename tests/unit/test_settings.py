from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.errors import SettingsError
from flow_manager.settings import SETTINGS, Kind, Settings

BY_NAME = {setting.name: setting for setting in SETTINGS}


def test_without_options_and_variables_every_setting_has_its_default() -> None:
    assert Settings.load({}, {"PATH": "/bin", "PORT": "80"}) == Settings()


def test_every_field_is_in_the_table_and_has_a_sentence() -> None:
    assert [setting.name for setting in SETTINGS] == [each.name for each in fields(Settings)]
    assert all(setting.sentence.endswith(".") and setting.sentence[0].isupper() for setting in SETTINGS)
    assert all(setting.variable.startswith("FLOW_MANAGER_") for setting in SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_default_written_into_the_environment_reads_back_the_same(setting: object) -> None:
    assert setting in SETTINGS
    row = next(each for each in SETTINGS if each is setting)
    if row.default_text:
        loaded = Settings.load({}, {row.variable: row.default_text})
        assert getattr(loaded, row.name) == row.default


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("FLOW_MANAGER_HOST", "::1", "host", "::1"),
        ("FLOW_MANAGER_PORT", " 0 ", "port", 0),
        ("FLOW_MANAGER_DATABASE", "/tmp/a.db", "database", Path("/tmp/a.db")),
        ("FLOW_MANAGER_DATABASE", "~/a.db", "database", Path("~/a.db").expanduser()),
        ("FLOW_MANAGER_TASK_MODULES", "shop.tasks, more", "task_modules", ("shop.tasks", "more")),
        ("FLOW_MANAGER_TASK_MODULES", f"a{os.pathsep}b,", "task_modules", ("a", "b")),
        ("FLOW_MANAGER_TASK_MODULES", "", "task_modules", ()),
        ("FLOW_MANAGER_HTTP_ALLOW", "", "http_allow", ()),
        ("FLOW_MANAGER_HTTP_ALLOW", "10.0.0.0/8, [::1]:80,", "http_allow", ("10.0.0.0/8", "[::1]:80")),
        ("FLOW_MANAGER_COMMANDS", "/bin/sh,shell=/bin/sh", "commands", ("/bin/sh", "shell=/bin/sh")),
        ("FLOW_MANAGER_COMMAND_VARIABLES", "TZ, LC_ALL", "command_variables", ("TZ", "LC_ALL")),
        ("FLOW_MANAGER_COMMAND_VARIABLES", "", "command_variables", ()),
        ("FLOW_MANAGER_DURABILITY", "relaxed", "durability", "relaxed"),
        ("FLOW_MANAGER_WAIT_LIMIT", "0", "wait_limit", timedelta(0)),
        ("FLOW_MANAGER_GRACE", "1.5", "grace", timedelta(seconds=1.5)),
        ("FLOW_MANAGER_MAX_BODY", "8MiB", "max_body", 8 * 1024 * 1024),
        ("FLOW_MANAGER_MAX_RESULT", "512 KiB", "max_result", 512 * 1024),
        ("FLOW_MANAGER_MAX_RESULT", "1024", "max_result", 1024),
        ("FLOW_MANAGER_ALLOW_UNAUTHENTICATED", "Yes", "allow_unauthenticated", True),
        ("FLOW_MANAGER_ALLOW_UNAUTHENTICATED", "off", "allow_unauthenticated", False),
        ("FLOW_MANAGER_SAMPLE_SEED", "7", "seed", 7),
    ],
)
def test_the_environment_is_read_at_the_edge(variable: str, text: str, name: str, value: object) -> None:
    assert getattr(Settings.load({}, {variable: text}), name) == value


def test_an_option_wins_over_its_environment_twin() -> None:
    environ = {"FLOW_MANAGER_PORT": "1", "FLOW_MANAGER_TASK_MODULES": "a"}

    settings = Settings.load({"port": "2", "task_modules": ("b", "c"), "host": None}, environ)

    assert (settings.port, settings.task_modules, settings.host) == (2, ("b", "c"), "127.0.0.1")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FLOW_MANAGER_PORT", "65536"),
        ("FLOW_MANAGER_PORT", "-1"),
        ("FLOW_MANAGER_PORT", "80 80"),
        ("FLOW_MANAGER_PORT", "1e3"),
        ("FLOW_MANAGER_PORT", "٣"),
        ("FLOW_MANAGER_PORT", ""),
        ("FLOW_MANAGER_HOST", ""),
        ("FLOW_MANAGER_HOST", "a\nb"),
        ("FLOW_MANAGER_DATABASE", " "),
        ("FLOW_MANAGER_DATABASE", "a\0b"),
        ("FLOW_MANAGER_DATABASE", "~nobody-of-this-name/x.db"),
        ("FLOW_MANAGER_HANDLER_THREADS", "2"),
        ("FLOW_MANAGER_DURABILITY", "fast"),
        ("FLOW_MANAGER_TASK_MODULES", "shop/tasks.py"),
        ("FLOW_MANAGER_TASK_MODULES", "..shop"),
        ("FLOW_MANAGER_HTTP_ALLOW", "10.0.0.1/8"),
        ("FLOW_MANAGER_HTTP_ALLOW", "127.0.0.1,http://a"),
        ("FLOW_MANAGER_COMMANDS", "sh"),
        ("FLOW_MANAGER_COMMANDS", "/bin/no-such-program"),
        ("FLOW_MANAGER_COMMANDS", "a=/bin/sh,a=/bin/ls"),
        ("FLOW_MANAGER_COMMAND_VARIABLES", "TZ=UTC"),
        ("FLOW_MANAGER_COMMAND_VARIABLES", "LC_*"),
        ("FLOW_MANAGER_TASK_THREADS", "0"),
        ("FLOW_MANAGER_WAIT_LIMIT", "-1"),
        ("FLOW_MANAGER_WAIT_LIMIT", "inf"),
        ("FLOW_MANAGER_WAIT_LIMIT", "nan"),
        ("FLOW_MANAGER_GRACE", "30s"),
        ("FLOW_MANAGER_GRACE", "3601"),
        ("FLOW_MANAGER_MAX_BODY", "9MiB"),
        ("FLOW_MANAGER_MAX_BODY", "1MB"),
        ("FLOW_MANAGER_MAX_RESULT", "3MiB"),
        ("FLOW_MANAGER_LOG_LEVEL", "warn"),
        ("FLOW_MANAGER_ALLOW_UNAUTHENTICATED", "perhaps"),
        ("FLOW_MANAGER_SAMPLE_SEED", "x"),
    ],
)
def test_a_bad_value_is_refused_and_its_variable_named(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{variable} is .* it must be "):
        Settings.load({}, {variable: text})


def test_a_bad_option_is_called_by_the_name_it_was_given_under() -> None:
    with pytest.raises(SettingsError, match=r"^--task-module is "):
        Settings.load({"task_modules": ("no module",)}, {})


def test_one_option_may_name_several_modules() -> None:
    assert Settings.load({"task_modules": ("a,b", "c")}, {}).task_modules == ("a", "b", "c")


def test_a_bad_entry_of_a_list_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^--commands is '/bin/sh,rm'; .* 'rm' is none$"):
        Settings.load({"commands": "/bin/sh,rm"}, {})


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("FLOW_MANAGER_PROT", "FLOW_MANAGER_PORT"),
        ("FLOW_MANAGER_TASK_MODULE", "FLOW_MANAGER_TASK_MODULES"),
        ("FLOW_MANAGER_DATABSE", "FLOW_MANAGER_DATABASE"),
        ("FLOW_MANAGER_SAMPLE_FAILURES_RATE", "FLOW_MANAGER_SAMPLE_FAILURE_RATE"),
    ],
)
def test_an_unknown_variable_gets_the_nearest_right_one(wrong: str, right: str) -> None:
    with pytest.raises(SettingsError, match=f"{wrong}; did you mean {right}\\?"):
        Settings.load({}, {wrong: "1"})


def test_an_unknown_variable_like_no_other_gets_the_place_to_look() -> None:
    with pytest.raises(SettingsError, match=r"FLOW_MANAGER_XYZZY; .*--help"):
        Settings.load({}, {"FLOW_MANAGER_XYZZY": "1"})


def test_an_unknown_setting_gets_the_nearest_right_one() -> None:
    with pytest.raises(SettingsError, match="no setting databse; did you mean database"):
        Settings.load({"databse": "x"}, {})


def test_the_variable_of_the_sample_tasks_is_known() -> None:
    assert Settings.load({}, {"FLOW_MANAGER_SAMPLE_FAILURE_RATE": "0"}) == Settings()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", "localhost.example.org"])
def test_an_address_beyond_this_machine_is_refused_until_it_is_allowed(host: str) -> None:
    with pytest.raises(SettingsError, match="--allow-unauthenticated"):
        Settings.load({"host": host}, {})

    allowed = Settings.load({"host": host}, {"FLOW_MANAGER_ALLOW_UNAUTHENTICATED": "true"})
    assert allowed.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_a_loopback_address_is_always_allowed(host: str) -> None:
    assert Settings.load({"host": host}, {}).host == host


def test_waiting_requests_must_leave_threads_for_the_others() -> None:
    with pytest.raises(SettingsError, match="FLOW_MANAGER_MAX_WAITERS is 80"):
        Settings.load({"max_waiters": 80}, {})


@given(setting=st.sampled_from(SETTINGS), text=st.text())
def test_any_text_is_either_read_or_refused_with_a_settings_error(setting: object, text: str) -> None:
    row = next(each for each in SETTINGS if each is setting)
    with suppress(SettingsError):
        value = row.read(text, row.variable)
        assert value is not None
        assert row.kind is not Kind.CHOICE or value in row.choices
