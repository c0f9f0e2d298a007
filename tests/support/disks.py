"""Small file systems that can be filled and made read-only."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, mebibytes: int = 16) -> Iterator[Path]:
    """A tmpfs of its own. Skips the test where none can be mounted (that needs root)."""
    folder.mkdir(parents=True, exist_ok=True)
    if mount("-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)):
        pytest.skip("a file system cannot be mounted here; this needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def mount(*arguments: str) -> int:
    """The exit code of mount."""
    try:
        return subprocess.run(["mount", *arguments], check=False, stderr=subprocess.DEVNULL).returncode
    except FileNotFoundError:
        return 127


def remount_read_only(folder: Path) -> None:
    assert mount("-o", "remount,ro", str(folder)) == 0
