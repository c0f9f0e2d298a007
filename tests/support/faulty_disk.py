"""A disk that fails when told to: a VFS of SQLite's, written in Python, under the real one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import apsw

File = Literal["log", "database"]
Call = Literal["write", "sync"]


def io_error() -> None:
    raise apsw.IOError("the device failed")


def full() -> None:
    raise apsw.FullError("no space left on the device")


def slow() -> None:
    time.sleep(0.3)


EFFECTS = {"io_error": io_error, "full": full, "slow": slow}


@dataclass
class Fault:
    """What happens at the n-th call on a file, and at `times` calls from there on."""

    file: File
    call: Call
    number: int
    effect: Callable[[], None] = io_error
    times: int = 1

    @classmethod
    def named(cls, name: str) -> Fault:
        """From `file:call:number:effect`."""
        file, call, number, effect = name.split(":")
        kinds: dict[str, File] = {"log": "log", "database": "database"}
        calls: dict[str, Call] = {"write": "write", "sync": "sync"}
        return cls(kinds[file], calls[call], int(number), EFFECTS[effect])


class FaultyDisk(apsw.VFS):
    """Becomes the default for every connection that is opened until it is unregistered."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.seen = 0
        self._counting = threading.Lock()
        self.real = apsw.vfs_names()[0]
        super().__init__("faulty", self.real, makedefault=True)

    def break_at(self, fault: Fault) -> None:
        self.fault, self.seen = fault, 0

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _FaultyFile(self, name, flags)

    def passed(self, file: File, call: Call) -> None:
        """Called before each call."""
        fault = self.fault
        if fault is None or (fault.file, fault.call) != (file, call):
            return
        with self._counting:
            self.seen += 1
            is_hit = fault.number <= self.seen < fault.number + fault.times
        if is_hit:
            fault.effect()


class _FaultyFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._file: File = "log" if flags[0] & apsw.SQLITE_OPEN_WAL else "database"
        super().__init__(disk.real, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.passed(self._file, "write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._disk.passed(self._file, "sync")
        super().xSync(flags)
