"""How the command line ends: exit codes with names, and the code of each error."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from flow_manager.errors import (
    FlowManagerError,
    Overloaded,
    ProblemError,
    ServiceUnreachable,
    ShuttingDown,
    StoreError,
    StoreLocked,
    StoreNewer,
)


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    INVALID = 2
    UNAVAILABLE = 3
    IO_ERROR = 74
    """EX_IOERR of sysexits.h; the service also ends so when a disk fails under it."""
    INTERRUPTED = 130
    """What shells say of a process that SIGINT ended: 128 + 2."""

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS: Final = {
    ExitCode.OK: "completed",
    ExitCode.FAILED: "failed",
    ExitCode.INVALID: "invalid input or usage",
    ExitCode.UNAVAILABLE: "unavailable or in use",
    ExitCode.IO_ERROR: "input/output error",
    ExitCode.INTERRUPTED: "interrupted",
}

_CODES: Final[tuple[tuple[type[FlowManagerError], ExitCode], ...]] = (
    (StoreLocked, ExitCode.UNAVAILABLE),
    (StoreNewer, ExitCode.UNAVAILABLE),
    (Overloaded, ExitCode.UNAVAILABLE),
    (ShuttingDown, ExitCode.UNAVAILABLE),
    (ServiceUnreachable, ExitCode.UNAVAILABLE),
    (ProblemError, ExitCode.UNAVAILABLE),
    (StoreError, ExitCode.IO_ERROR),
    (FlowManagerError, ExitCode.INVALID),
)
"""The first row that fits an error counts: what is not about the store or the service is about the input."""


def exit_code_of(error: FlowManagerError) -> ExitCode:
    return next(code for kind, code in _CODES if isinstance(error, kind))
