"""The answer to a call: read within its limit, decompressed within the same limit, made into a result."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import h11

from flow_manager.core.plain import shown
from flow_manager.core.values import read_json
from flow_manager.errors import InvalidInput
from flow_manager.tasks.builtin.failures import AttemptFailed

MOST_START: Final = 8 << 10
"""Bytes of an unexpected answer that are read."""
START_SECONDS: Final = 1.0
"""The time that these bytes get."""
MOST_EXCERPT: Final = 2000
"""Characters of them that the error keeps."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_JSON: Final = re.compile(r"(?:application|text)/(?:[^;\s]+\+)?json", re.IGNORECASE)
_CHARSET: Final = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9_.-]{1,40})", re.IGNORECASE)
_ORDINARY_CHARSET: Final = re.compile(
    r"utf-?8|utf-?16(?:le|be)?|us-ascii|ascii|latin-?1|iso-8859-[0-9]{1,2}|(?:windows-|cp)125[0-8]"
    r"|koi8-[ru]|shift[_-]jis|euc-(?:jp|kr)|iso-2022-jp|gb2312|gbk|gb18030|big5",
    re.IGNORECASE,
)
"""Python knows others, some of which are no charsets or take very long."""
_SECONDS: Final = re.compile(r"[0-9]{1,9}")

_RETRYABLE: Final = frozenset({408, 425, 429})
"""Besides all of 5xx."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` are by their name in lower case; the values of one that came several times are joined
    by a comma."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        """The JSON value if it is said to be one, else the text, None if there is nothing.

        Raises `AttemptFailed` with `http.bad_json`.
        """
        if not self.content:
            return None
        if not _JSON.match(self.headers.get("content-type", "")):
            return self.text
        try:
            return read_json(self.content.removeprefix(_UTF8_MARK))
        except InvalidInput as error:
            raise AttemptFailed(
                "http.bad_json", f"the answer is not JSON that is accepted: {error}", retryable=False
            ) from error

    @property
    def text(self) -> str:
        """What is not in the charset, and NUL, which cannot be stored, becomes the replacement character."""
        found = _CHARSET.search(self.headers.get("content-type", ""))
        charset = found[1] if found and _ORDINARY_CHARSET.fullmatch(found[1]) else "utf-8"
        try:
            text = self.content.decode(charset, "replace")
        except LookupError:
            text = self.content.decode("utf-8", "replace")
        return text.replace("\0", "\ufffd")

    def unexpected(self, now: datetime) -> AttemptFailed:
        """The failure that this answer is if its status was not expected."""
        details: dict[str, Any] = {"status": self.status}
        seconds = _retry_after(self.headers.get("retry-after", ""), now)
        if seconds is not None:
            details["retry_after"] = seconds
        if self.content:
            details["body"] = self.text[:MOST_EXCERPT]
        is_retryable = self.status in _RETRYABLE or 500 <= self.status <= 599
        message = f"the answer has the status {_status_text(self.status)}"
        return AttemptFailed(f"http.{self.status}", message, retryable=is_retryable, details=details)


async def read_answer(head: h11.Response, body: AsyncIterator[bytes], most: int) -> Answer:
    """The whole answer, whose body has at most `most` bytes when it is unpacked.

    Raises `AttemptFailed`, with `http.too_large` and `http.decoding` among others.
    """
    headers = _headers_of(head)
    content = b"".join([piece async for piece in _unpacked(body, headers, most)])
    return Answer(head.status_code, headers, content)


async def read_start(head: h11.Response, body: AsyncIterator[bytes]) -> Answer:
    """An answer that was not expected, with as much of its body as comes at once: enough to see what the
    other side had to say."""
    headers = _headers_of(head)
    content = b""
    with suppress(TimeoutError, AttemptFailed):
        async with asyncio.timeout(START_SECONDS):
            async for piece in _unpacked(body, headers, MOST_START):
                content += piece
    return Answer(head.status_code, headers, content)


async def _unpacked(
    body: AsyncIterator[bytes], headers: Mapping[str, str], most: int
) -> AsyncIterator[bytes]:
    """Raises what `read_answer` raises, behind the last piece that is allowed."""
    unpacker: _Unpacker | None = None
    left = most
    async for packed in body:
        if unpacker is None:
            unpacker = _Unpacker(headers.get("content-encoding", ""))
        piece = unpacker.unpack(packed, left + 1)
        yield piece[:left]
        left -= len(piece)
        if left < 0:
            detail = f"the body of the answer has more than {most} bytes"
            raise AttemptFailed("http.too_large", detail, retryable=False)
    if unpacker is not None:
        unpacker.end()


class _Unpacker:
    """Undoes a content encoding, never making more than it is asked for."""

    def __init__(self, encoding: str) -> None:
        name = encoding.strip().lower()
        if name not in ("", "identity", "gzip", "x-gzip"):
            raise AttemptFailed(
                "http.decoding",
                f"the answer is packed as {shown(name)}, and only gzip is known",
                retryable=False,
            )
        self._gzip = zlib.decompressobj(_GZIP) if name.endswith("gzip") else None

    def unpack(self, piece: bytes, most: int) -> bytes:
        if self._gzip is None:
            return piece
        try:
            return self._gzip.decompress(piece, most)
        except zlib.error as error:
            raise _not_gzip() from error

    def end(self) -> None:
        """Neither half of it may be missing, nor anything stand behind it that nobody would see."""
        if self._gzip is not None and (not self._gzip.eof or self._gzip.unused_data):
            raise _not_gzip()


def _not_gzip() -> AttemptFailed:
    return AttemptFailed("http.decoding", "the answer is not the gzip that it is said to be", retryable=False)


def _headers_of(head: h11.Response) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _retry_after(text: str, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks for, as a number or as a date."""
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())


def _status_text(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
