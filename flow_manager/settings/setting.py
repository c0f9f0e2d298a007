"""A setting: one row of the table, and how its text is read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Final

from flow_manager.core.problems import nearest
from flow_manager.errors import SettingsError

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

_SWITCH_WORDS: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


class Kind(Enum):
    """How the text of a setting is read, and what the documentation calls its type."""

    TEXT = "text"
    INTEGER = "integer"
    CHOICE = "choice"
    SWITCH = "switch"
    PATH = "path"
    SECONDS = "seconds"
    BYTES = "bytes"
    MODULES = "modules"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `within` is in the unit of the edges: seconds, bytes, a count."""

    name: str
    kind: Kind
    default: object
    sentence: str
    variable: str
    """The environment twin."""
    option: str
    """The option of `flow-manager serve`."""
    choices: tuple[str, ...] = ()
    within: tuple[float, float] = (-math.inf, math.inf)
    check: Callable[[Sequence[str]], object] | None = None
    """For a list of texts: raises `ValueError` if they are not right."""

    @property
    def unit(self) -> str:
        """What the number counts; empty where it counts things."""
        return {Kind.SECONDS: "s", Kind.BYTES: "bytes"}.get(self.kind, "")

    @property
    def default_text(self) -> str:
        """The default as one would write it in the environment; empty if there is none."""
        return _written(self.default)

    def read(self, given: object, named: str) -> object:
        """The value that was given, as text or already as a value.

        Raises `SettingsError`, calling the setting as it was `named`, for what cannot be read or is out
        of bounds.
        """
        try:
            return _READERS[self.kind](self, given) if self.check is None else _list(self.check, given)
        except ValueError as error:
            raise SettingsError(f"{named} is {str(given)[:64]!r}; it must be {error}") from None


def _text(_: Setting, given: object) -> str:
    text = str(given).strip()
    if not text or not text.isprintable():
        raise ValueError("text without control characters")
    return text


def _integer(setting: Setting, given: object) -> int:
    text = str(given).strip()
    if not re.fullmatch(r"-?[0-9]{1,20}", text):
        raise ValueError(_range("a whole number", setting))
    return int(_within(setting, int(text), "a whole number"))


def _seconds(setting: Setting, given: object) -> timedelta:
    text = str(given.total_seconds() if isinstance(given, timedelta) else given).strip()
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text):
        raise ValueError(_range("a number of seconds", setting))
    return timedelta(seconds=_within(setting, float(text), "a number of seconds"))


def _bytes(setting: Setting, given: object) -> int:
    found = re.fullmatch(r"([0-9]{1,12}) ?(|KiB|MiB|GiB)", str(given).strip())
    if not found:
        raise ValueError(_range("a number of bytes, or of KiB, MiB or GiB as in 1MiB,", setting))
    size = int(found[1]) * {"": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}[found[2]]
    return int(_within(setting, size, "a number of bytes"))


def _switch(_: Setting, given: object) -> bool:
    text = str(given).strip().lower()
    if text not in _SWITCH_WORDS:
        raise ValueError("true or false")
    return _SWITCH_WORDS[text]


def _choice(setting: Setting, given: object) -> str:
    text = str(given).strip()
    if text not in setting.choices:
        likely = nearest(text, setting.choices)
        hint = f"; did you mean {likely}?" if likely else ""
        raise ValueError(f"one of {', '.join(setting.choices)}{hint}")
    return text


def _path(_: Setting, given: object) -> Path:
    text = str(given)
    if not text.strip() or "\0" in text:
        raise ValueError("the path of a file")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("the path of a file; no user of this machine has the name after '~'") from None


def _modules(_: Setting, given: object) -> tuple[str, ...]:
    text = ",".join(given) if isinstance(given, tuple) else str(given)
    names = tuple(name.strip() for name in re.split(f"[,{os.pathsep}]", text) if name.strip())
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise ValueError(f"names of Python modules, as in shop.tasks, joined by ',' or '{os.pathsep}'")
    return names


def _list(check: Callable[[Sequence[str]], object], given: object) -> tuple[str, ...]:
    text = ",".join(given) if isinstance(given, tuple) else str(given)
    entries = tuple(entry.strip() for entry in text.split(",") if entry.strip())
    check(entries)
    return entries


def _within(setting: Setting, value: float, what: str) -> float:
    least, most = setting.within
    if not least <= value <= most:
        raise ValueError(_range(what, setting))
    return value


def _range(what: str, setting: Setting) -> str:
    least, most = setting.within
    return f"{what} from {least:.0f} to {most:.0f}"


_READERS: Final[Mapping[Kind, Callable[[Setting, object], object]]] = {
    Kind.TEXT: _text,
    Kind.INTEGER: _integer,
    Kind.CHOICE: _choice,
    Kind.SWITCH: _switch,
    Kind.PATH: _path,
    Kind.SECONDS: _seconds,
    Kind.BYTES: _bytes,
    Kind.MODULES: _modules,
}


def _written(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)
