"""What the `command` task is given."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

MOST_ARGUMENTS: Final = 1000
MOST_VARIABLES: Final = 100
MOST_EXIT_CODES: Final = 100

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_INJECTING: Final = (
    "LD_", "DYLD_", "GCONV_PATH", "PATH", "IFS", "BASH_", "ENV", "SHELLOPTS", "PYTHON", "PERL5",
    "RUBY", "NODE_", "GIT_", "JAVA_", "JDK_", "_JAVA_",
)  # fmt: skip
"""How the names of variables begin that would put other code into an allowed program. No such list is
complete: whoever may set variables of a program has some power over it."""


def check_variable(name: str) -> PydanticCustomError | None:
    """Whether a program may be given this environment variable: the error that a model raises, or None."""
    if not _VARIABLE.fullmatch(name):
        detail = "a variable has letters, digits and '_', and no digit first"
        return PydanticCustomError("bad-name", "{detail}", {"detail": detail})
    if name.startswith(_INJECTING):
        detail = "this variable would put other code into the program"
        return PydanticCustomError("forbidden-variable", "{detail}", {"detail": detail})
    return None


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul-character", "a program cannot be given NUL")
    return text


_Text = Annotated[str, AfterValidator(_without_nul)]


class CommandInput(BaseModel):
    """The input of the `command` task."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, title="command")

    program: str = Field(description="The name of an allowed program.")
    arguments: list[_Text] = Field(
        [], max_length=MOST_ARGUMENTS, description="Its arguments; no shell reads them."
    )
    stdin: str = Field("", description="The text that it reads from its standard input.")
    environment: dict[str, _Text] = Field(
        {}, max_length=MOST_VARIABLES, description="Environment variables beside PATH and LANG."
    )
    expect_exit: list[Annotated[int, Field(ge=-64, le=255)]] = Field(
        [0], min_length=1, max_length=MOST_EXIT_CODES, description="The exit codes of a success."
    )

    @field_validator("environment")
    @classmethod
    def _check_environment(cls, environment: dict[str, str]) -> dict[str, str]:
        for name in environment:
            error = check_variable(name)
            if error is not None:
                raise error
        return environment
