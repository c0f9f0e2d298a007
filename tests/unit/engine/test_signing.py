from __future__ import annotations

import hmac
from base64 import b64encode
from hashlib import sha256

import pytest

from flow_manager.engine.signing import signature, signed_headers


def test_the_signature_is_that_of_the_published_scheme() -> None:
    """The example that the libraries of Standard Webhooks are tested with."""
    signed = signature(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        b'{"test": 2432232314}',
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )

    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["plain text", "whsec_not base64", "whsec_"])
def test_any_other_secret_is_the_key_itself(secret: str) -> None:
    key = b"" if secret == "whsec_" else secret.encode()
    expected = b64encode(hmac.digest(key, b"id.1.{}", sha256)).decode()

    assert signature("id", "1", b"{}", secret) == f"v1,{expected}"


def test_without_a_secret_nothing_is_signed() -> None:
    headers = signed_headers("id", 1614265330, b"{}", None)

    assert headers == {
        "content-type": "application/json",
        "webhook-id": "id",
        "webhook-timestamp": "1614265330",
    }
