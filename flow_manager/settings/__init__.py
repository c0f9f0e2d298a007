"""The settings: read once, checked at start, passed on as values.

`Settings` is the one place where a setting is declared: its fields are the values, and
`SETTINGS`, made from them, is the table that the command line, the documentation and the
checks read. Every setting has an option and an environment twin; an option wins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal, Self

from flow_manager.core.addresses import is_loopback
from flow_manager.core.problems import nearest
from flow_manager.errors import SettingsError
from flow_manager.settings.setting import GIB, KIB, MIB, Kind, Setting
from flow_manager.tasks.builtin.allow_list import AllowList
from flow_manager.tasks.builtin.programs import parse_programs
from flow_manager.tasks.builtin.url import parse_urls
from flow_manager.tasks.builtin.variables import parse_variables

__all__ = ["NAMED_ELSEWHERE", "PREFIX", "SETTINGS", "Kind", "Setting", "Settings"]

PREFIX: Final = "FLOW_MANAGER_"

NAMED_ELSEWHERE: Final = frozenset({"FLOW_MANAGER_SAMPLE_FAILURE_RATE", "FLOW_MANAGER_URL"})
"""Variables with our prefix that are no settings: the sample tasks read them, and the command line."""


def _about(
    kind: Kind,
    sentence: str,
    *,
    within: tuple[float, float] = (-math.inf, math.inf),
    choices: tuple[str, ...] = (),
    option: str = "",
    variable: str = "",
) -> dict[str, Any]:
    """What the table tells of a field beyond its name and default."""
    names = {"option": option, "variable": variable}
    return {"kind": kind, "sentence": sentence, "within": within, "choices": choices, **names}


def _about_list(sentence: str, check: Callable[[Sequence[str]], object]) -> dict[str, Any]:
    """The same of a list of texts, which `check` refuses with `ValueError`."""
    return {**_about(Kind.TEXT, sentence), "check": check}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values of all settings. `Settings()` holds the defaults."""

    host: str = field(
        default="127.0.0.1",
        metadata=_about(
            Kind.TEXT, "Address to listen on; one beyond this machine needs --allow-unauthenticated."
        ),
    )
    port: int = field(
        default=5000,
        metadata=_about(Kind.INTEGER, "Port to listen on; 0 takes a free one.", within=(0, 65_535)),
    )
    allow_unauthenticated: bool = field(
        default=False,
        metadata=_about(Kind.SWITCH, "Listen beyond this machine although nobody has to log in."),
    )
    database: Path = field(
        default=Path("flow-manager.db"),
        metadata=_about(Kind.PATH, "File that keeps the executions; made if missing."),
    )
    durability: Literal["full", "relaxed"] = field(
        default="full",
        metadata=_about(
            Kind.CHOICE,
            "What a commit survives: full also a power cut; relaxed only the death of the process.",
            choices=("full", "relaxed"),
        ),
    )
    retention: int = field(
        default=30,
        metadata=_about(
            Kind.INTEGER,
            "Days for which executions are kept after their end; 0 is for ever.",
            within=(0, 36_500),
        ),
    )
    max_store: int = field(
        default=10 * GIB,
        metadata=_about(
            Kind.BYTES,
            "Size of the database beyond which the oldest ended executions go; 0 is no bound.",
            within=(0, 1024 * GIB),
        ),
    )
    task_modules: tuple[str, ...] = field(
        default=(),
        metadata=_about(Kind.MODULES, "Python modules whose import registers tasks.", option="--task-module"),
    )
    task_threads: int = field(
        default=32,
        metadata=_about(Kind.INTEGER, "Threads for tasks written as plain functions.", within=(1, 1024)),
    )
    task_processes: int = field(
        default=2,
        metadata=_about(Kind.INTEGER, "Processes for tasks that ask for one of their own.", within=(1, 256)),
    )
    http_allow: tuple[str, ...] = field(
        default=(),
        metadata=_about_list(
            "Internal hosts, addresses and networks that http tasks may call, joined by ','.", AllowList.parse
        ),
    )
    webhooks: tuple[str, ...] = field(
        default=(),
        metadata=_about_list("URLs that are told how each execution ended, joined by ','.", parse_urls),
    )
    commands: tuple[str, ...] = field(
        default=(),
        metadata=_about_list(
            "Programs that command tasks may run, as PATH or NAME=PATH, joined by ','.", parse_programs
        ),
    )
    command_variables: tuple[str, ...] = field(
        default=(),
        metadata=_about_list(
            "Environment variables that flows may set for command tasks, joined by ','.", parse_variables
        ),
    )
    secrets: Path | None = field(
        default=None,
        metadata=_about(Kind.PATH, "Folder with a file for each secret, named as flows name it."),
    )
    max_running: int = field(
        default=12_000,
        metadata=_about(Kind.INTEGER, "Executions that are worked on at once.", within=(1, 1_000_000)),
    )
    max_waiting: int = field(
        default=10_000,
        metadata=_about(
            Kind.INTEGER,
            "Executions that may wait to begin; beyond it new ones are refused with 503.",
            within=(1, 10_000_000),
        ),
    )
    handler_threads: int = field(
        default=80, metadata=_about(Kind.INTEGER, "Threads that answer HTTP requests.", within=(3, 1024))
    )
    max_waiters: int = field(
        default=64,
        metadata=_about(
            Kind.INTEGER,
            "Requests that may wait for a result at once; fewer than the handler threads.",
            within=(1, 1023),
        ),
    )
    max_followers: int = field(
        default=50,
        metadata=_about(
            Kind.INTEGER,
            "Clients that may follow executions at once; each has a thread besides the handler threads.",
            within=(1, 1024),
        ),
    )
    wait_limit: timedelta = field(
        default=timedelta(seconds=60),
        metadata=_about(
            Kind.SECONDS,
            "Longest wait for the result of a synchronous execute that names none itself.",
            within=(0, 3600),
        ),
    )
    grace: timedelta = field(
        default=timedelta(seconds=30),
        metadata=_about(
            Kind.SECONDS, "Time that running tasks get to end when the service stops.", within=(0, 3600)
        ),
    )
    max_body: int = field(
        default=1 * MIB,
        metadata=_about(Kind.BYTES, "Largest request body and flow document.", within=(1 * KIB, 8 * MIB)),
    )
    max_result: int = field(
        default=256 * KIB,
        metadata=_about(
            Kind.BYTES, "Largest input of an execution and result of a task.", within=(1 * KIB, 2 * MIB)
        ),
    )
    log_format: Literal["auto", "text", "json"] = field(
        default="auto",
        metadata=_about(
            Kind.CHOICE,
            "Log lines for people (text) or machines (json); auto looks whether it is a terminal.",
            choices=("auto", "text", "json"),
        ),
    )
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="info",
        metadata=_about(
            Kind.CHOICE, "Least severity that is logged.", choices=("debug", "info", "warning", "error")
        ),
    )
    seed: int | None = field(
        default=None,
        metadata=_about(
            Kind.INTEGER,
            "Makes the chance in the sample tasks repeatable.",
            within=(0, 2**32 - 1),
            variable="FLOW_MANAGER_SAMPLE_SEED",
        ),
    )

    @classmethod
    def load(cls, overrides: Mapping[str, object], environ: Mapping[str, str]) -> Self:
        """The settings from options and environment; what neither names has its default.

        `overrides` is by setting name, as text or as values; None means not given. Raises
        `SettingsError`, naming the option or variable, for a value that cannot be read or is out of
        bounds, and for names with our prefix that no setting has.
        """
        _refuse_unknown(overrides, environ)
        values: dict[str, Any] = {}
        for setting in SETTINGS:
            given = overrides.get(setting.name)
            if given is not None:
                values[setting.name] = setting.read(given, setting.option)
            elif setting.variable in environ:
                values[setting.name] = setting.read(environ[setting.variable], setting.variable)
        settings = cls(**values)
        _check_together(settings)
        return settings


def _table() -> tuple[Setting, ...]:
    return tuple(_row(each.name, each.default, each.metadata) for each in fields(Settings))


def _row(name: str, default: object, metadata: Mapping[str, Any]) -> Setting:
    return Setting(
        name=name,
        kind=metadata["kind"],
        default=default,
        sentence=metadata["sentence"],
        variable=metadata["variable"] or PREFIX + name.upper(),
        option=metadata["option"] or "--" + name.replace("_", "-"),
        choices=metadata["choices"],
        within=metadata["within"],
        check=metadata.get("check"),
    )


SETTINGS: Final = _table()
"""Every setting, in the order of the documentation."""


def _refuse_unknown(overrides: Mapping[str, object], environ: Mapping[str, str]) -> None:
    variables = {setting.variable for setting in SETTINGS} | NAMED_ELSEWHERE
    endings = sorted(variable.removeprefix(PREFIX) for variable in variables)
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in variables:
            # The prefix is alike in all of them and would make every name look near.
            likely = nearest(name.removeprefix(PREFIX), endings)
            raise SettingsError(_unknown("environment variable", name, likely and PREFIX + likely))
    names = [setting.name for setting in SETTINGS]
    for name in overrides:
        if name not in names:
            raise SettingsError(_unknown("setting", name, nearest(name, names)))


def _unknown(what: str, name: str, likely: str | None) -> str:
    hint = f"did you mean {likely}?" if likely else "`flow-manager serve --help` lists all of them"
    return f"there is no {what} {name[:128]}; {hint}"


def _check_together(settings: Settings) -> None:
    if not settings.allow_unauthenticated and not is_loopback(settings.host):
        raise SettingsError(
            f"{settings.host} can be reached from other machines, and nobody has to log in here; listen on "
            "127.0.0.1, or, if something in front of it decides who may come in, add --allow-unauthenticated "
            "(FLOW_MANAGER_ALLOW_UNAUTHENTICATED=true)"
        )
    if settings.max_waiters >= settings.handler_threads:
        raise SettingsError(
            f"FLOW_MANAGER_MAX_WAITERS is {settings.max_waiters} and FLOW_MANAGER_HANDLER_THREADS is "
            f"{settings.handler_threads}; keep some threads for requests that do not wait: lower the first "
            "or raise the second"
        )
