"""Which time zones there are here: their release, as far as it can be told."""

from __future__ import annotations

import contextlib
import zoneinfo
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Final

UNKNOWN: Final = "unknown"
_HEADING: Final = "# version "


@lru_cache(maxsize=1)
def zone_data() -> str:
    """The release of the zones, such as `2026b`. The folders of the system come before the package, as
    `zoneinfo` looks."""
    for folder in map(Path, zoneinfo.TZPATH):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            with (folder / "tzdata").with_suffix(".zi").open(encoding="ascii") as file:
                first = file.readline().strip()
            return first.removeprefix(_HEADING) if first.startswith(_HEADING) else UNKNOWN
    with contextlib.suppress(ImportError, AttributeError):
        return str(import_module("tzdata").IANA_VERSION)
    return UNKNOWN
