"""What the `http` task is given: the checks of its fields, and the models made of them.

Each check is a function of the written value. Its answer is the error that a model raises, or None: `type`
is the code of the problem, `message()` the sentence. None of them repeats the value, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from flow_manager.core.document_words import Duration
from flow_manager.tasks.builtin.credentials import (
    holds_credential,
    is_credential_header,
    is_credential_parameter,
)
from flow_manager.tasks.builtin.url import Url, parse_url

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
"""Methods whose repetition has no further effect, RFC 9110 section 9.2.2."""

MOST_RESPONSE: Final = 256 << 10
"""Bytes of a body, which is also what the result of a task may have by default."""
MOST_HEADERS: Final = 100
MOST_PARAMETERS: Final = 1000
MOST_STATUSES: Final = 100
LONGEST_HEADER: Final = 8 << 10

OURS: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that say where a message ends and whom it is for: they follow from the call itself."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_HEADER_VALUE: Final = re.compile(r"[\t -~]*")
_STATUS: Final = re.compile(r"[1-5](?:[0-9]{2}|xx)")

Scalar = str | int | float | bool | None


def check_method(method: str) -> PydanticCustomError | None:
    if method in METHODS:
        return None
    return PydanticCustomError("bad-method", "{detail}", {"detail": f"this must be {', '.join(METHODS)}"})


def check_url(text: str) -> PydanticCustomError | None:
    try:
        parse_url(text)
    except ValueError as error:
        return PydanticCustomError("bad-url", "{detail}", {"detail": str(error)})
    return None


def check_header(name: str, value: str) -> PydanticCustomError | None:
    return check_header_name(name) or check_header_value(value)


def check_header_name(name: str) -> PydanticCustomError | None:
    if not _HEADER_NAME.fullmatch(name):
        detail = "the name of a header has letters, digits and '-'"
    elif name.lower() in OURS:
        detail = "this header follows from the call itself and cannot be set"
    else:
        return None
    return PydanticCustomError("forbidden-header", "{detail}", {"detail": detail})


def check_header_value(value: str) -> PydanticCustomError | None:
    if not _HEADER_VALUE.fullmatch(value):
        detail = "the value of a header is one line of ASCII"
    elif value != value.strip() or len(value) > LONGEST_HEADER:
        detail = f"the value of a header has no space around it and at most {LONGEST_HEADER} characters"
    else:
        return None
    return PydanticCustomError("forbidden-header", "{detail}", {"detail": detail})


def check_literal_header(name: str, value: str) -> PydanticCustomError | None:
    """Whether a constant is a credential that ought to be a secret."""
    return _inline_secret() if is_credential_header(name, value) else None


def check_literal_parameter(name: str, value: Scalar) -> PydanticCustomError | None:
    return _inline_secret() if isinstance(value, str) and is_credential_parameter(name, value) else None


def check_literal_url(text: str) -> PydanticCustomError | None:
    return _inline_secret() if holds_credential(text) else None


def _inline_secret() -> PydanticCustomError:
    detail = "this looks like a credential: refer to a secret, as in ${secrets.name}"
    return PydanticCustomError("inline-secret", "{detail}", {"detail": detail})


def _raising(check: Callable[[str], PydanticCustomError | None]) -> Callable[[str], str]:
    def validate(value: str) -> str:
        error = check(value)
        if error is not None:
            raise error
        return value

    return validate


def _status(value: int | str) -> int | str:
    if not _STATUS.fullmatch(str(value)):
        raise PydanticCustomError("unknown-value", 'this must be a status as in 200, or many as in "2xx"')
    return value


class HttpInput(BaseModel):
    """The input of the `http` task with all its values."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    method: Annotated[
        str, AfterValidator(_raising(check_method)), WithJsonSchema({"enum": list(METHODS)})
    ] = Field("GET", description="The method of the call.")
    url: Annotated[str, AfterValidator(_raising(check_url))] = Field(
        description="An absolute http or https URL."
    )
    headers: dict[str, str] = Field({}, max_length=MOST_HEADERS, description="Headers of the request.")
    query: dict[str, Scalar | list[Scalar]] = Field(
        {}, max_length=MOST_PARAMETERS, description="Parameters that are added to the query of the URL."
    )
    json_body: Any = Field(None, alias="json", description="A JSON value that is sent as the body.")
    body: str | None = Field(None, description="A text that is sent as the body.")
    expect_status: list[Annotated[int | str, AfterValidator(_status)]] = Field(
        ["2xx"], min_length=1, max_length=MOST_STATUSES, description="The statuses of a success."
    )
    connect_timeout: Duration = Field(
        timedelta(seconds=5), description="The longest time until there is a connection. Default 5s."
    )
    read_timeout: Duration = Field(
        timedelta(seconds=60), description="The longest time of the whole call. Default 60s."
    )
    max_response: int = Field(
        MOST_RESPONSE, ge=1, le=MOST_RESPONSE, description="The longest body of an answer, in bytes."
    )

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        seen: set[str] = set()
        names = [(name, name, check_header_name(name) or _check_is_new(name, seen)) for name in headers]
        values = [(name, value, check_header_value(value)) for name, value in headers.items()]
        _raise_all([*names, *values])
        return headers

    @model_validator(mode="after")
    def _check_body(self) -> Self:
        if self.has_json and self.body is not None:
            raise PydanticCustomError("conflict", "give json or body, not both")
        return self

    @property
    def has_json(self) -> bool:
        """Whether there is a JSON value to send; null is one."""
        return "json_body" in self.model_fields_set

    @cached_property
    def target(self) -> Url:
        """The URL with the parameters. One that is null is left out."""
        pairs: list[tuple[str, str]] = []
        for name, value in self.query.items():
            pairs += [(name, _written(each)) for each in _listed(value) if each is not None]
        return parse_url(self.url).with_parameters(pairs)

    def expects(self, status: int) -> bool:
        return any(str(each) in (str(status), f"{status // 100}xx") for each in self.expect_status)


class HttpDocument(HttpInput):
    """The input of the `http` task as it is written in a flow, where a credential must not stand."""

    model_config = ConfigDict(title="http")

    @field_validator("url")
    @classmethod
    def _check_literal_url(cls, url: str) -> str:
        return _raising(check_literal_url)(url)

    @field_validator("headers")
    @classmethod
    def _check_literal_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        _raise_all((name, value, check_literal_header(name, value)) for name, value in headers.items())
        return headers

    @field_validator("query")
    @classmethod
    def _check_literal_query(
        cls, query: dict[str, Scalar | list[Scalar]]
    ) -> dict[str, Scalar | list[Scalar]]:
        single = [(name, each) for name in query for each in _listed(query[name])]
        _raise_all((name, value, check_literal_parameter(name, value)) for name, value in single)
        return query


def _check_is_new(name: str, seen: set[str]) -> PydanticCustomError | None:
    if name.lower() not in seen:
        seen.add(name.lower())
        return None
    detail = "this header is there twice, in other letters"
    return PydanticCustomError("forbidden-header", "{detail}", {"detail": detail})


def _raise_all(errors: Iterable[tuple[str, Any, PydanticCustomError | None]]) -> None:
    """Raise the errors of members together, each with the name of its member as its place."""
    found = [
        InitErrorDetails(type=error, loc=(name,), input=value)
        for name, value, error in errors
        if error is not None
    ]
    if found:
        raise ValidationError.from_exception_data("members", found)


def _listed(value: Scalar | list[Scalar]) -> list[Scalar]:
    return value if isinstance(value, list) else [value]


def _written(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
