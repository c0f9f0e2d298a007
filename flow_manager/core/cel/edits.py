"""Changes to the text of an expression before the library sees it, and the way back to the original.

Two things are put in: the calls through which loops burn fuel, and the name under which a time of
the scope is handed over, since the library takes times only as values of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from flow_manager.core.cel.effort import Loop

STEP: Final = "flow_manager_step_"
KEEP: Final = "flow_manager_keep_"
"""Functions by the numbers of loops. They take nothing: the library never frees what it gives to a
function of Python."""


class Edit(NamedTuple):
    """What stands from `start` to `end` becomes `text`."""

    start: int
    end: int
    text: str


def loop_edits(loops: Iterable[Loop]) -> list[Edit]:
    """An iteration without fuel is skipped: what comes out then is thrown away."""
    edits: list[Edit] = []
    for number, loop in enumerate(loops):
        first = loop.bodies[0]
        step, keep = f"{STEP}{number}()", f"{KEEP}{number}()"
        if loop.name == "map" and len(loop.bodies) == 1:
            edits.append(Edit(first.start, first.start, f"{step} && {keep}, "))
            continue
        also = f" && {keep}" if loop.name in ("map", "filter") else ""
        edits.append(Edit(first.start, first.start, f"{step} ? ("))
        edits.append(Edit(first.end, first.end, f"){also} : false"))
    return edits


def edited(source: str, edits: Iterable[Edit]) -> str:
    pieces, at = [], 0
    for edit in sorted(edits):
        pieces += [source[at : edit.start], edit.text]
        at = edit.end
    return "".join([*pieces, source[at:]])


def offset_before(offset: int, edits: Iterable[Edit]) -> int:
    """Where a character of the edited text stood in the original."""
    shift = 0
    for edit in sorted(edits):
        if offset < edit.start + shift:
            break
        if offset < edit.start + shift + len(edit.text):
            return edit.start
        shift += len(edit.text) - (edit.end - edit.start)
    return offset - shift
