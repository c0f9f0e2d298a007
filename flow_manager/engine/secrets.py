"""Secrets: values that tasks are given by reference and that are never recorded."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

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
PART: Final = 16
"""Characters of a secret at the edge of a text that are a part of it, however long it is; of one that is
shorter than twice this, half of it. What is shorter may be there by chance, and helps nobody much."""


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


class _Form:
    """One way in which a secret may be written. The result of a task may hold a part of it: `http` and
    `command` keep a piece of what they were sent, and an error keeps the start of its message."""

    def __init__(self, whole: str) -> None:
        self.whole = whole
        least = max(SHORTEST, min(len(whole) // 2, PART))
        self.start, self.end = whole[:least], whole[-least:]

    def may_be_in(self, text: str) -> bool:
        """Whether the form, or a part of it that is looked for, can be there: the quick answer."""
        return self.start in text or self.end in text

    def hidden_at_edges(self, text: str) -> str:
        """The text without what is left of this form where the text was cut."""
        at = text.find(self.start, max(0, len(text) - len(self.whole)))
        while at >= 0 and not self.whole.startswith(text[at:]):
            at = text.find(self.start, at + 1)
        if at >= 0:
            text = text[:at] + HIDDEN
        at = text.rfind(self.end, 0, len(self.whole))
        while at >= 0 and not self.whole.endswith(text[: at + len(self.end)]):
            at = text.rfind(self.end, 0, at + len(self.end) - 1)
        return text if at < 0 else HIDDEN + text[at + len(self.end) :]


class Secrets:
    """The secrets by name."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.values = dict(values or {})
        hidden = {value for value in self.values.values() if len(value) >= SHORTEST}
        forms = {form for secret in hidden for form in _forms_of(secret)}
        # The longest first: what is within another one would leave the rest of that behind.
        self._forms = [_Form(whole) for whole in sorted(forms, key=lambda each: (-len(each), each))]
        self._numbers = {number for secret in hidden if (number := _number_of(secret)) is not None}

    def hidden_in(self, result: AttemptResult) -> AttemptResult:
        """The result of a task that was given secrets, without any of them."""
        if not self._forms:
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
        return bool(self._forms)

    def hidden_in_line(self, line: str) -> str:
        """A line of a log without any of them."""
        for form in self._forms:
            if form.whole in line:
                line = line.replace(form.whole, HIDDEN)
        return line

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self._value(each) for each in value]
        if isinstance(value, dict):
            # Names are not cut, and must be found again: a part of one may well begin like a secret.
            return {self.hidden_in_line(name): self._value(each) for name, each in value.items()}
        if isinstance(value, int | float) and value in self._numbers:
            return HIDDEN
        return value

    def _text(self, text: str) -> str:
        near = [form for form in self._forms if form.may_be_in(text)]
        for form in near:
            text = text.replace(form.whole, HIDDEN)
        for form in near:
            text = form.hidden_at_edges(text)
        return text


def _forms_of(secret: str) -> Iterator[str]:
    """The secret, and what it looks like in JSON, in Python, in a URL or a form, and in base64."""
    yield secret
    yield orjson.dumps(secret).decode()[1:-1]
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    yield quote(secret)
    yield quote(secret, safe="")
    yield quote_plus(secret)
    for encode in (b64encode, urlsafe_b64encode):
        yield encode(secret.encode()).decode()
        yield from _within_base64(secret.encode(), encode)


def _within_base64(secret: bytes, encode: Callable[[bytes], bytes]) -> Iterator[str]:
    """What is the same in any longer text that holds the secret, as `user:password` does: one form for
    each place in a group of three bytes at which it may begin, without the characters that its
    neighbours have a share in."""
    for before in range(3):
        bits = 8 * (before + len(secret))
        first = -(-8 * before // 6)
        yield encode(bytes(before) + secret).decode()[first : bits // 6]


def _number_of(secret: str) -> int | float | None:
    """The number that JSON writes like this secret."""
    try:
        number = orjson.loads(secret)
    except orjson.JSONDecodeError:
        return None
    is_written_so = type(number) in (int, float) and orjson.dumps(number).decode() == secret
    return number if is_written_so else None
