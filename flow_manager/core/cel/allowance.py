"""How much work expressions may be together, beyond the bounds of each: those of a step, those of a document.

Work is in nanoseconds, and counted as in `core.cel.effort`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flow_manager.core.cel.functions import LOOPS
from flow_manager.core.cel.text import Token

STEP: Final = 200_000_000
"""Work of all expressions of a step, before one more is refused: meanwhile nothing else moves.
Four of the largest."""

_DOCUMENT: Final = 300_000_000
_BYTE: Final = 750
"""To compile all expressions of a document: whatever its size, and for each byte of it. That is 1.1 s for
1 MiB. 10,000 tasks with an ordinary condition each need 1.3 s, and more than 1.5 MB to be written in."""

_READING: Final = 30_000
_READING_TOKEN: Final = 3_000
_CALCULATION: Final = 25_000
_CALCULATION_TOKEN: Final = 3_000
_LOOP: Final = 60_000
_LOOPS: Final = frozenset(LOOPS)
_CHARACTER: Final = 1_000
"""To look for the tokens of a text that has a fault."""


class Allowance:
    """Work that expressions may be together. One more is begun unless less than nothing is left."""

    __slots__ = ("left",)

    def __init__(self, left: float) -> None:
        self.left = left


def of_document(size: int) -> Allowance:
    """For compiling all expressions of a document of so many bytes."""
    return Allowance(_DOCUMENT + _BYTE * size)


def work_of_reading(tokens: Sequence[Token]) -> int:
    """To find out what an expression uses."""
    return _READING + _READING_TOKEN * len(tokens)


def work_of_fault(offset: int) -> int:
    """To find a fault in the tokens."""
    return _READING + _CHARACTER * offset


def work_of_compiling(tokens: Sequence[Token]) -> int:
    """To have the library compile what is more than a path, patterns and time zones aside."""
    loops = len([token for token in tokens if token.text in _LOOPS])
    return _CALCULATION + _CALCULATION_TOKEN * len(tokens) + _LOOP * loops
