"""Mail: what was sent to an open execution and waits until it is taken up."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

MailKind = Literal["signal", "answer", "cancel", "compensate", "pause", "resume", "retry", "rerun", "give"]


class Mail(msgspec.Struct, frozen=True):
    """One thing sent. `number` counts what was sent to the execution, from 1; taking it up is an
    event with that number. `name` is that of a signal or of what is answered, or the reason of what an
    operator asks for; `by` is who sent it, as far as they said."""

    number: int
    at: datetime
    kind: MailKind
    name: str = ""
    payload: Any = None
    by: str = ""
