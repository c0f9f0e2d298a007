"""Signing: how a destination knows that a delivery comes from here, and when it was sent.

The scheme is that of <https://www.standardwebhooks.com>, for which receivers have libraries.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Final

PREFIX: Final = "whsec_"


def signed_headers(delivery_id: str, sent_at: int, body: bytes, secret: str | None) -> dict[str, str]:
    """The headers of a delivery that is sent so many seconds after 1970. Without a secret it is not
    signed."""
    timestamp = str(sent_at)
    headers = {
        "content-type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": timestamp,
    }
    if secret is not None:
        headers["webhook-signature"] = signature(delivery_id, timestamp, body, secret)
    return headers


def signature(delivery_id: str, timestamp: str, body: bytes, secret: str) -> str:
    """HMAC-SHA256 over id, timestamp and body, joined by dots."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(_key(secret), signed, sha256)).decode()


def _key(secret: str) -> bytes:
    """A secret that begins with `whsec_` is a key in base64; any other is the key itself."""
    if secret.startswith(PREFIX):
        try:
            return b64decode(secret.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
