"""Findings: what checks have to say of a document, collected cheaply and worded at the end.

A document can be wrong in ten thousand places; only those that are listed get a pointer and a hint.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from flow_manager.core.plain import Path, pointer_to, shown
from flow_manager.core.problems import nearest
from flow_manager.errors import Problem

MOST_LISTED: Final = 100
MOST_COLLECTED: Final = 1000
"""Sorting more than this takes longer than an answer may."""
MOST_SEARCHES: Final = 200_000
"""Names compared for all hints of one report: about 50 ms."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem whose hint is still to be found: the one of `candidates` that is most like `name`."""

    path: Path
    code: str
    detail: str
    hint: str | None = None
    name: str = ""
    candidates: Collection[str] = ()
    offset: int | None = None


class Findings:
    """The errors, or the warnings, of one document: at most one for each place.

    Paths are taken from `below`, the path of what is being checked.
    """

    def __init__(self) -> None:
        self.below: Path = ()
        self._found: dict[Path, Finding] = {}
        self._missed = False

    def add(
        self,
        path: Path,
        code: str,
        detail: str,
        hint: str | None = None,
        like: tuple[str, Collection[str]] = ("", ()),
        *,
        offset: int | None = None,
    ) -> None:
        """What is said first of a place stays. `like` is a name and those that may have been meant;
        `offset` is a place within the text there."""
        if len(self._found) < MOST_COLLECTED:
            place = (*self.below, *path)
            self._found.setdefault(place, Finding(place, code, detail, hint, *like, offset))
        else:
            self._missed = True

    def __len__(self) -> int:
        return len(self._found)

    @property
    def are_truncated(self) -> bool:
        return self._missed or len(self._found) > MOST_LISTED

    def problems(self, document: object) -> tuple[Problem, ...]:
        """The first of them in the order of the document."""
        order = _Order(document)
        listed = sorted(self._found.values(), key=lambda finding: order.of(finding.path))[:MOST_LISTED]
        searches = MOST_SEARCHES
        problems = []
        for finding in listed:
            searches -= len(finding.candidates)
            hint = _hint(finding) if searches > 0 else finding.hint
            where = pointer_to(finding.path)
            problems.append(Problem(where, finding.code, finding.detail, hint, offset=finding.offset))
        return tuple(problems)


def _hint(finding: Finding) -> str | None:
    found = nearest(finding.name, list(finding.candidates)) if finding.candidates else None
    return finding.hint if found is None else f"did you mean {shown(found)}?"


def _member(within: Any, step: str | int) -> object:
    try:
        return within[step]
    except (LookupError, TypeError):
        return None


class _Order:
    """Where places stand in a document. What is missing stands behind what is there."""

    def __init__(self, document: object) -> None:
        self._document = document
        self._positions: dict[int, dict[str | int, int]] = {}

    def of(self, path: Path) -> tuple[int, ...]:
        places, within = [], self._document
        for step in path:
            place = self._position(within, step)
            places.append(place)
            within = _member(within, step)
        return tuple(places)

    def _position(self, within: Any, step: str | int) -> int:
        if isinstance(within, list) and isinstance(step, int):
            return step
        if not isinstance(within, dict):
            return 0
        positions = self._positions.get(id(within))
        if positions is None:
            positions = {name: place for place, name in enumerate(within)}
            self._positions[id(within)] = positions
        return positions.get(step, len(within))
