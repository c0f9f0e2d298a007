"""The programs that the `command` task may run, by the name under which a flow asks for them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from flow_manager.core.plain import shown

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}")


def parse_programs(entries: Iterable[str]) -> Mapping[str, str]:
    """The paths by name, from entries that are a path or `name=path`. A path alone is called by its last
    part.

    Raises `ValueError`, saying what an entry must be, for one that names no program of this machine, and for
    a name that stands for two.
    """
    programs: dict[str, str] = {}
    for entry in entries:
        name, equals, path = entry.partition("=")
        if not equals:
            name, path = os.path.basename(entry), entry
        if not _NAME.fullmatch(name) or not os.path.isabs(path):
            raise _unlike(f"{shown(entry)} is none")
        if not os.path.isfile(path) or not os.access(path, os.X_OK):
            raise _unlike(f"{shown(path)} is not a program that can be run here")
        if programs.setdefault(name, path) != path:
            raise _unlike(f"the name {shown(name)} stands for two of them")
    return MappingProxyType(programs)


def _unlike(reason: str) -> ValueError:
    return ValueError(
        "absolute paths of programs, as in '/usr/bin/git' or 'resize=/opt/shop/resize', joined by ','; "
        f"{reason}"
    )
