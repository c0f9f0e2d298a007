"""Bodies in processes of their own: for code that uses the CPU for long, or may crash.

A child runs one attempt at a time and is used again. Orders and results travel as length-prefixed
messages over its stdin and stdout, which the body never sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import Any, Final

import msgspec

from flow_manager.core.results import TaskError
from flow_manager.ports.worker import AttemptOrder, AttemptResult
from flow_manager.tasks.outcome import from_timeout
from flow_manager.tasks.registry import TaskRegistry

PREFIX: Final = 4
"""Bytes of a message's length, big-endian."""
KILL_PATIENCE: Final = 5.0
"""Seconds between asking a child to end and ending it."""


class ChildOrder(msgspec.Struct, frozen=True):
    """An order for a child: the module that registers the task type, and the attempt."""

    module: str
    most_result: int
    order: AttemptOrder


_encode_order = msgspec.msgpack.Encoder().encode
_decode_result = msgspec.msgpack.Decoder(AttemptResult).decode


class ProcessPool:
    """At most `size` children, started when needed."""

    def __init__(self, registry: TaskRegistry, *, size: int, most_result: int) -> None:
        self._registry = registry
        self._places = asyncio.Semaphore(size)
        self._most_result = most_result
        self._idle: list[asyncio.subprocess.Process] = []
        self._children: set[asyncio.subprocess.Process] = set()

    async def run(self, order: AttemptOrder) -> AttemptResult:
        """Run one attempt. The attempt's time starts when it has got a child."""
        async with self._places:
            child = self._idle.pop() if self._idle else await self._spawn()
            try:
                result = await asyncio.wait_for(self._ask(child, order), order.timeout)
            except TimeoutError:
                await self._end(child)
                return from_timeout(order.timeout or 0.0)
            except asyncio.CancelledError:
                child.kill()
                raise
            except (asyncio.IncompleteReadError, ConnectionError):
                return await self._lost(child)
            self._idle.append(child)
            return result

    async def _spawn(self) -> asyncio.subprocess.Process:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "flow_manager.tasks.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        self._children.add(child)
        return child

    async def _ask(self, child: asyncio.subprocess.Process, order: AttemptOrder) -> AttemptResult:
        assert child.stdin is not None
        assert child.stdout is not None
        module = self._registry[order.task.type].origin.partition(":")[0]
        message = _encode_order(ChildOrder(module, self._most_result, order))
        child.stdin.write(len(message).to_bytes(PREFIX, "big") + message)
        await child.stdin.drain()
        length = int.from_bytes(await child.stdout.readexactly(PREFIX), "big")
        return _decode_result(await child.stdout.readexactly(length))

    async def _lost(self, child: asyncio.subprocess.Process) -> AttemptResult:
        code = await child.wait()
        self._children.discard(child)
        message = f"the process of the task body ended {_manner(code)}"
        return AttemptResult("unknown", message, None, TaskError("task.lost", message), is_lost=True)

    async def _end(self, child: asyncio.subprocess.Process) -> None:
        """Ask, then make sure."""
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), KILL_PATIENCE)
        except TimeoutError:
            child.kill()
            await child.wait()
        self._children.discard(child)

    async def stop(self) -> None:
        """End all children."""
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
        for child in self._children:
            await child.wait()
        self._children.clear()
        self._idle.clear()


def _manner(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"by signal {signal.Signals(-code).name}"
    return f"by signal {-code}"


def read_message(read: Any) -> bytes | None:
    """One message from a blocking `read(n)`; None at the end of the stream."""
    prefix = read(PREFIX)
    if len(prefix) < PREFIX:
        return None
    return bytes(read(int.from_bytes(prefix, "big")))
