"""What looks like a credential, where a reference to a secret should stand."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus

_HEADERS: Final = frozenset(
    {
        "api-key",
        "apikey",
        "authorization",
        "cookie",
        "ocp-apim-subscription-key",
        "private-token",
        "proxy-authorization",
        "x-access-token",
        "x-amz-security-token",
        "x-api-key",
        "x-auth-key",
        "x-auth-token",
        "x-functions-key",
        "x-goog-api-key",
        "x-vault-token",
    }
)
"""Headers that are made for credentials: any constant in them is one."""

_PARAMETERS: Final = frozenset(
    {
        "access_token",
        "api_key",
        "api-key",
        "apikey",
        "auth_token",
        "client_secret",
        "password",
        "secret",
        "sig",
        "signature",
        "token",
    }
)
"""The same, of a query."""

_SHAPES: Final = re.compile(
    r"(?i:(?:bearer|basic)\s+\S{6,})"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # a JSON Web Token
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}"  # AWS
    r"|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|xox[abeoprs]-[\w-]{10,}"  # Slack
    r"|sk[-_](?:live|test|proj|ant)[-_][\w-]{10,}"
    r"|AIza[\w-]{30,}"  # Google
    r"|-----BEGIN [A-Z ]*PRIVATE KEY",
)
"""Texts that are credentials wherever they stand."""


def is_credential_header(name: str, value: str) -> bool:
    return bool(value.strip()) and (name.lower() in _HEADERS or _has_shape(value))


def is_credential_parameter(name: str, value: str) -> bool:
    return bool(value) and (name.lower() in _PARAMETERS or _has_shape(value))


def holds_credential(url: str) -> bool:
    """Whether a URL has one, in a parameter or anywhere."""
    parts = (part.partition("=") for part in url.partition("?")[2].split("&"))
    return _has_shape(url) or any(
        is_credential_parameter(unquote_plus(name), unquote_plus(value)) for name, _, value in parts
    )


def _has_shape(value: str) -> bool:
    return _SHAPES.search(value) is not None
