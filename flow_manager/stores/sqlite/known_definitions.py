"""Which flows are known to be stored, so that their texts are not written again for each execution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flow_manager.ports.store import NewExecution

MOST_KNOWN_DEFINITIONS: Final = 10_000


class KnownDefinitions:
    """By digest. Forgetting one costs a statement; knowing one that is gone would cost an execution, so
    what was dropped is forgotten before its transaction ends, and stays so after it."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._added: set[str] = set()
        self._dropped: set[str] = set()

    def begin(self) -> None:
        """A transaction begins; what came of the last one is known or was taken back."""
        self._added.clear()
        self._dropped.clear()

    def has(self, digest: str) -> bool:
        """Whether a flow need not be written, as far as is known."""
        return digest in self._known

    def unknown(self, starts: Iterable[NewExecution]) -> dict[str, NewExecution]:
        """An execution for each flow that has to be written now, as far as is known."""
        unknown = {new.digest: new for new in starts if new.digest not in self._known}
        self._added |= unknown.keys()
        return unknown

    def drop(self, digests: Iterable[str]) -> None:
        """These are about to go."""
        self._dropped.update(digests)
        self._known -= self._dropped

    def committed(self) -> None:
        """Only after the commit: a definition that was taken back must be written again."""
        if len(self._known) > MOST_KNOWN_DEFINITIONS:
            self._known.clear()
        self._known |= self._added
        self._known -= self._dropped
