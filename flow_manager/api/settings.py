"""The settings that the API reads."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol


class ApiSettings(Protocol):
    """What of `flow_manager.settings.Settings` the API looks at; neither imports the other."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def allow_unauthenticated(self) -> bool: ...

    @property
    def handler_threads(self) -> int: ...

    @property
    def max_waiters(self) -> int: ...

    @property
    def max_followers(self) -> int: ...

    @property
    def wait_limit(self) -> timedelta: ...

    @property
    def max_body(self) -> int: ...
