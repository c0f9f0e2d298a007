"""Webhooks: deliveries go out as the calls of `http` tasks do, and to nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from flow_manager.ports.webhooks import SEND_SECONDS, Sent
from flow_manager.tasks.builtin.failures import AttemptFailed, bad_input
from flow_manager.tasks.builtin.http import HttpClient
from flow_manager.tasks.builtin.http_input import HttpInput

FINAL: Final = frozenset({"http.blocked", "http.bad_input"})
"""Failures that come from here and not from the destination: a restart with other settings may help."""


class HttpSender:
    """Implements `ports.webhooks.Sender`. Redirects are not followed, and addresses are judged by the guard
    of the client."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        try:
            call = HttpInput.model_validate(
                {
                    "method": "POST",
                    "url": url,
                    "headers": dict(headers),
                    "body": body.decode(),
                    "read_timeout": SEND_SECONDS,
                }
            )
            return Sent(await self._client.status_of(call, headers["webhook-id"]))
        except ValidationError as error:
            failure = bad_input("http.bad_input", error)
        except AttemptFailed as failed:
            failure = failed
        return Sent(0, str(failure), is_refused=failure.error.code in FINAL)
