"""What the `command` task is given."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from flow_manager.tasks.builtin.variables import VARIABLE

MOST_ARGUMENTS: Final = 1000
MOST_VARIABLES: Final = 100
MOST_EXIT_CODES: Final = 100


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
        {}, max_length=MOST_VARIABLES, description="Environment variables, of those that are allowed."
    )
    expect_exit: list[Annotated[int, Field(ge=-64, le=255)]] = Field(
        [0], min_length=1, max_length=MOST_EXIT_CODES, description="The exit codes of a success."
    )

    @field_validator("environment")
    @classmethod
    def _check_environment(cls, environment: dict[str, str]) -> dict[str, str]:
        if not all(map(VARIABLE.fullmatch, environment)):
            raise PydanticCustomError(
                "bad-name", "a variable has letters, digits and '_', and no digit first"
            )
        return environment
