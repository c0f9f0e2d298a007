"""A run of a program: its output is bounded, and everything that it has started ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

LEFTOVER_SECONDS: Final = 1.0
"""How long the rest of the output is waited for once the program has ended and its group was killed."""

STDOUT: Final = 1
STDERR: Final = 2


class OutputTooLarge(Exception):
    """The program wrote more than it may."""


class ProgramRun(asyncio.SubprocessProtocol):
    """Collects what a program writes, and knows when it has ended.

    A process of asyncio's own is said to have ended only when nobody holds its output any more, which
    a program that was left in the background may do forever. So this looks at the process itself.
    """

    def __init__(self, most_output: int) -> None:
        self.output: dict[int, bytearray] = {STDOUT: bytearray(), STDERR: bytearray()}
        self._is_too_large = False
        self._has_exited = False
        self._most = most_output
        self._open = set(self.output)
        self._over = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self, command: Sequence[str], stdin: bytes, environment: Mapping[str, str]) -> int:
        """Run it to its end and return its exit code, negative for the number of a signal.

        Raises `OSError` if it cannot be started, and `OutputTooLarge`. Then, and if this is cancelled, it
        is killed. What it has started is killed in any case.
        """
        transport, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: self,
            *command,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
        )
        try:
            _feed(transport, stdin)
            await self._over.wait()
        finally:
            _kill_group(transport.get_pid())  # at once: later, the number may belong to somebody else
            try:
                await self._end()
            finally:
                transport.close()
        if self._is_too_large:
            raise OutputTooLarge
        code = transport.get_returncode()
        assert code is not None, "it has ended"
        return code

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        output = self.output[fd]
        output += data[: self._most + 1 - len(output)]
        if len(output) > self._most:
            self._is_too_large = True
            self._over.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        self._look()

    def process_exited(self) -> None:
        self._has_exited = True
        self._over.set()
        self._look()

    def _look(self) -> None:
        if self._has_exited and not self._open:
            self._ended.set()

    async def _end(self) -> None:
        """Wait for the rest of the output, unless somebody who got away holds on to it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEFTOVER_SECONDS):
                await self._ended.wait()


def _feed(transport: asyncio.SubprocessTransport, stdin: bytes) -> None:
    pipe = transport.get_pipe_transport(0)
    if isinstance(pipe, asyncio.WriteTransport):
        pipe.write(stdin)
        pipe.close()


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
