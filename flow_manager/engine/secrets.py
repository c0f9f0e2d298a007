"""Secrets: values that tasks are given by reference and that are never recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from flow_manager.errors import SettingsError
from flow_manager.ports.worker import AttemptResult

HIDDEN: Final = "***"
LONGEST: Final = 64 << 10
"""Characters of a secret, at most."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
SHORTEST: Final = 4
"""Characters of a secret below which hiding it would hide half the text around it."""


def read_secrets(folder: Path | None) -> dict[str, str]:
    """The secrets of a folder: one file each, hidden files left out. Raises `SettingsError`."""
    if folder is None:
        return {}
    try:
        files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name[0] != "."]
        return {file.name: _read(file) for file in files}
    except OSError as error:
        raise SettingsError(f"the secrets in {folder} cannot be read: {error.strerror}") from error


def _read(file: Path) -> str:
    if not _NAME.fullmatch(file.name):
        raise SettingsError(f"{file} cannot be the name of a secret: it has letters, digits and '_'")
    try:
        text = file.read_bytes().removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} holds what is not UTF-8") from error
    if len(text) > LONGEST:
        raise SettingsError(f"{file} is longer than {LONGEST} characters")
    return text


class Secrets:
    """The secrets by name."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.values = dict(values or {})
        self._hidden = sorted(
            {value for value in self.values.values() if len(value) >= SHORTEST}, key=len, reverse=True
        )
        self._in_lines = [
            form
            for secret in self._hidden
            for form in dict.fromkeys((secret, orjson.dumps(secret).decode()[1:-1], repr(secret)[1:-1]))
        ]

    def hidden_in(self, result: AttemptResult) -> AttemptResult:
        """The result of a task that was given secrets, without any of them."""
        if not self._hidden:
            return result
        error = result.error
        if error is not None:
            error = msgspec.structs.replace(
                error, message=self._text(error.message), details=self._value(error.details)
            )
        return msgspec.structs.replace(
            result, message=self._text(result.message), data=self._value(result.data), error=error
        )

    @property
    def are_known(self) -> bool:
        return bool(self._hidden)

    def hidden_in_line(self, line: str) -> str:
        """A line of a log, in which a text may stand as JSON writes it, without any of them."""
        for form in self._in_lines:
            if form in line:
                line = line.replace(form, HIDDEN)
        return line

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self._value(each) for each in value]
        if isinstance(value, dict):
            return {self._text(name): self._value(each) for name, each in value.items()}
        return value

    def _text(self, text: str) -> str:
        for secret in self._hidden:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return text
