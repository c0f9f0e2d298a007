from __future__ import annotations

import pytest

from flow_manager.core.execution_id import read_execution_id
from flow_manager.errors import ExecutionUnknown

STORED = "0198c0de-0000-7000-8000-00000000000a"


@pytest.mark.parametrize("text", [STORED, STORED.upper()])
def test_an_id_is_read_as_it_is_stored(text: str) -> None:
    assert read_execution_id(text) == STORED


@pytest.mark.parametrize(
    "text",
    ["", "x", STORED.replace("-", ""), f"{{{STORED}}}", f"urn:uuid:{STORED}", STORED + "\n", STORED[:-1]],
)
def test_what_is_written_otherwise_names_no_execution(text: str) -> None:
    with pytest.raises(ExecutionUnknown, match="named by a UUID"):
        read_execution_id(text)
