"""What the pool and a child process say to each other: JSON, with its length before it.

The pool says Prepare and Run; the child answers with Ready and Ended, and says Logged and Beat at any time.
"""

from __future__ import annotations

import os
import select
import time
from typing import Any, Final

import msgspec

from flow_manager.ports.worker import AttemptOrder, AttemptResult
from flow_manager.tasks.source import Source

PREFIX: Final = 4
"""Bytes of a message's length, big-endian."""


class Prepare(msgspec.Struct, frozen=True, tag=True):
    """Find this task, importing its module."""

    task_type: str
    source: Source


class Run(msgspec.Struct, frozen=True, tag=True):
    """Run one attempt; its data may have `most_result` bytes of JSON."""

    source: Source
    order: AttemptOrder
    most_result: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The task is found, unless there is a `problem`."""

    problem: str = ""


class Ended(msgspec.Struct, frozen=True, tag=True):
    """An attempt has ended. A child that says `is_last` wants to be replaced by a fresh one."""

    result: AttemptResult
    is_last: bool = False


class Logged(msgspec.Struct, frozen=True, tag=True):
    """A line for the log of the service."""

    logger: str
    level: int
    message: str
    fields: dict[str, Any]
    traceback: str = ""


class Beat(msgspec.Struct, frozen=True, tag=True):
    """A heartbeat of the body."""


class TooLong(Exception):
    """The other side announced a message that no correct one can be."""


encode: Final = msgspec.json.Encoder().encode
decode_request: Final = msgspec.json.Decoder(Prepare | Run).decode
decode_answer: Final = msgspec.json.Decoder(Ready | Ended | Logged | Beat).decode


def send(descriptor: int, message: Prepare | Run | Ready | Ended | Logged | Beat) -> None:
    """Write one message. Raises `BrokenPipeError` if nobody reads."""
    text = encode(message)
    left = memoryview(len(text).to_bytes(PREFIX, "big") + text)
    while left:
        left = left[os.write(descriptor, left) :]


def receive(descriptor: int, *, most: int | None = None, until: float | None = None) -> bytes:
    """Read one message of at most `most` bytes. Raises `EOFError` if the other side is gone,
    `TooLong`, and `TimeoutError` at the monotonic time `until`."""
    length = int.from_bytes(_exactly(descriptor, PREFIX, until), "big")
    if most is not None and length > most:
        raise TooLong(f"a message of {length} bytes, when {most} are the most")
    return _exactly(descriptor, length, until)


def _exactly(descriptor: int, size: int, until: float | None) -> bytes:
    parts: list[bytes] = []
    while size:
        if until is not None:
            _await_data(descriptor, until)
        part = os.read(descriptor, size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _await_data(descriptor: int, until: float) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
        raise TimeoutError
