"""Options made from the table of settings, and the settings made from the options."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from flow_manager.settings import SETTINGS, Kind, Setting, Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])

_METAVARS: Final = {
    Kind.TEXT: "TEXT",
    Kind.INTEGER: "NUMBER",
    Kind.PATH: "FILE",
    Kind.SECONDS: "SECONDS",
    Kind.BYTES: "BYTES",
    Kind.MODULES: "MODULE",
}


class SettingOption(click.Option):
    """An option whose environment twin is shown in its help, but read by `Settings.load`: so an
    error calls a setting by the name under which it was given."""

    def get_help_extra(self, ctx: click.Context) -> Any:
        """The default without the brackets that click puts around a text."""
        extra = super().get_help_extra(ctx)
        if isinstance(self.show_default, str):
            extra["default"] = self.show_default
        return extra

    def resolve_envvar_value(self, _ctx: click.Context) -> str | None:
        return None


def setting_options(*names: str) -> Callable[[_Command], _Command]:
    """Give a command the options of these settings, of all settings if none is named."""
    chosen = [setting for setting in SETTINGS if not names or setting.name in names]

    def add(command: _Command) -> _Command:
        for setting in reversed(chosen):
            command = _option(setting)(command)
        return command

    return add


def _option(setting: Setting) -> Callable[[_Command], _Command]:
    shared: dict[str, Any] = {
        "cls": SettingOption,
        "default": None,
        "envvar": setting.variable,
        "show_envvar": True,
        "help": setting.sentence,
    }
    if setting.kind is Kind.SWITCH:
        return click.option(setting.option, setting.name, is_flag=True, **shared)
    return click.option(
        setting.option,
        setting.name,
        metavar="|".join(setting.choices) or _METAVARS[setting.kind],
        multiple=setting.kind is Kind.MODULES,
        show_default=setting.default_text or False,
        **shared,
    )


def count_option(name: str, default: int, most: int, help: str) -> Callable[[_Command], _Command]:
    """Give a command an option that is a number from 1 to `most`."""
    return click.option(name, type=click.IntRange(1, most), default=default, show_default=True, help=help)


def settings_from(options: Mapping[str, object]) -> Settings:
    """The settings of a command from its options and the environment.

    The seed goes where the sample tasks look for it. Raises `SettingsError`.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    settings = Settings.load(given, os.environ)
    if settings.seed is not None:
        os.environ["FLOW_MANAGER_SAMPLE_SEED"] = str(settings.seed)
    return settings
