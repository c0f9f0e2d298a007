"""Words for problems: where one is (a JSON Pointer) and which name was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from rapidfuzz import fuzz, process

NEAR_ENOUGH = 60.0
"""Least similarity (0..100) for a name to be worth suggesting."""


def pointer(*path: str | int) -> str:
    """The JSON Pointer of a path, as a URI fragment (RFC 6901): `pointer("a/b", 0)` is `#/a~1b/0`."""
    return "#" + "".join("/" + _escaped(step) for step in path)


def _escaped(step: str | int) -> str:
    if isinstance(step, int):
        return str(step)
    text = step.replace("~", "~0").replace("/", "~1")
    if text.isascii() and text.replace("_", "").replace("-", "").replace(".", "").replace("~", "").isalnum():
        return text
    return quote(text, safe="~!$&'()*+,;=:@", errors="replace")


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `name`, or None if none is like it."""
    found = process.extractOne(name[:128], candidates, scorer=fuzz.ratio, score_cutoff=NEAR_ENOUGH)
    return found[0] if found else None
