"""The environment variables that a flow may give to the program of a `command` task."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from flow_manager.core.plain import shown

VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def parse_variables(entries: Iterable[str]) -> frozenset[str]:
    """The names, as an operator lists them.

    There is no list of names that would be refused instead: which variables put other code into a program
    depends on the program, so that no such list is ever complete.

    Raises `ValueError`, saying what an entry must be, for one that is no name of a variable.
    """
    names = frozenset(entries)
    for name in sorted(names):
        if not VARIABLE.fullmatch(name):
            raise ValueError(
                f"names of variables, as in 'TZ' or 'LC_ALL', joined by ','; {shown(name)} is none"
            )
    return names
