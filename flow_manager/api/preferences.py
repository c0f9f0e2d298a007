"""The `Prefer` header of RFC 7240: how long a caller wants to wait for a result."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

MOST_WAIT: Final = 3600
"""Longest wait in seconds that a request can ask for; the highest `wait_limit` as well."""

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PREFERENCE: Final = re.compile(rf"""\s*({_TOKEN})\s*(?:=\s*("[^"\\]*"|{_TOKEN})?)?\s*(?:;.*)?""")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a request prefers. `wait` is in whole seconds, at most `MOST_WAIT`; None if it names none."""

    respond_async: bool = False
    wait: int | None = None

    @classmethod
    def parse(cls, header: str | None) -> Self:
        """Whatever is unknown, repeated or cannot be read is ignored, as the RFC demands."""
        if not header:
            return cls()
        found: dict[str, str] = {}
        for part in header.split(","):
            match = _PREFERENCE.fullmatch(part)
            if match:
                found.setdefault(match[1].lower(), (match[2] or "").strip('"'))
        wait = found.get("wait", "")
        return cls(
            respond_async=found.get("respond-async") == "",
            wait=min(int(wait), MOST_WAIT) if _SECONDS.fullmatch(wait) else None,
        )

    def patience(self, limit: timedelta) -> timedelta:
        """How long to wait for the result; `limit` is for requests that do not say."""
        if self.wait is not None:
            return timedelta(seconds=self.wait)
        return timedelta(0) if self.respond_async else limit

    def applied(self, *, waited: bool) -> str:
        """The `Preference-Applied` header of an answer; empty if no preference was followed.
        `waited` is False if there was no place left to wait in."""
        applied = ["respond-async"] if self.respond_async else []
        if self.wait is not None and waited:
            applied.append(f"wait={self.wait}")
        return ", ".join(applied)
