"""Hiding: what must not be seen is in no line of the log, whoever wrote it there."""

from __future__ import annotations

import logging
from collections.abc import Callable


class HidingFormatter(logging.Formatter):
    """Another formatter's lines, with nothing in them that must not be seen: whoever wrote it there."""

    def __init__(self, inner: logging.Formatter, hide: Callable[[str], str]) -> None:
        super().__init__()
        self._inner = inner
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        return self._hide(self._inner.format(record))


def hide_in_logs(hide: Callable[[str], str]) -> None:
    """Let every line of this process go through `hide`."""
    for handler in logging.getLogger().handlers:
        if handler.formatter is not None:
            handler.setFormatter(HidingFormatter(handler.formatter, hide))
