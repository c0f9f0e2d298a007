"""Which flows are known to be stored, so that their texts are not written again for each execution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from flow_manager.ports.store import NewExecution, Step
from flow_manager.stores.sqlite.commands import Command

MOST_KNOWN_DEFINITIONS: Final = 10_000


class KnownDefinitions:
    """By digest. Forgetting one costs a statement; knowing one that is gone would cost an execution, so
    what was dropped is forgotten before its transaction ends, and stays so after it."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._dropped: set[str] = set()

    def unknown(self, starts: Iterable[NewExecution]) -> dict[str, NewExecution]:
        """An execution for each flow that may have to be written."""
        return {new.digest: new for new in starts if new.digest not in self._known}

    def drop(self, digests: Iterable[str]) -> None:
        """These are about to go."""
        self._dropped.update(digests)
        self._known -= self._dropped

    def committed(self, batch: Sequence[Command]) -> None:
        """Only after the commit: a definition that was taken back must be written again."""
        if len(self._known) > MOST_KNOWN_DEFINITIONS:
            self._known.clear()
        for command in batch:
            if isinstance(command, NewExecution):
                self._known.add(command.digest)
            if isinstance(command, NewExecution | Step) and command.children:
                self._known.update(child.digest for child in command.children)
        self._known -= self._dropped
        self._dropped.clear()
