"""F03: the process dies at every boundary between two durable states, and the next one goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.crash_point import DIED
from tests.support.service import ROOT
from tests.support.soundness import assert_sound

CROSSINGS = 22
"""The flow of seed 0 crosses so many boundaries if it does not crash."""


def run(database: Path, journal: Path, last: int, seed: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.crash_point", str(database), str(journal), str(last), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def crash_and_recover(folder: Path, last: int, seed: int = 0) -> int:
    """Die at crossing `last`; then let a process that does not die finish what is there. The answer
    is the exit code of the first."""
    database, journal = folder / "crash.db", folder / "starts"
    crashed = run(database, journal, last, seed)
    assert crashed.returncode in (0, DIED), crashed.stderr
    recovered = run(database, journal, 0, seed)
    assert recovered.returncode == 0, recovered.stderr
    acknowledged = crashed.stdout.split() + recovered.stdout.split()
    assert_sound(database, acknowledged, journal)
    return crashed.returncode


@pytest.mark.parametrize("last", range(1, CROSSINGS + 1, 3))
def test_a_crash_between_two_steps_is_continued(tmp_path: Path, last: int) -> None:
    assert crash_and_recover(tmp_path, last) == DIED


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(20))
def test_a_crash_at_any_point_is_continued(tmp_path: Path, seed: int) -> None:
    codes: list[int] = []
    while not codes or codes[-1] == DIED:
        folder = tmp_path / str(len(codes))
        folder.mkdir()
        codes.append(crash_and_recover(folder, len(codes) + 1, seed))

    # Even a flow of one task crosses six: before and after its start, its body and its end.
    assert len(codes) > 6
