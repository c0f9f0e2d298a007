"""The commands of the README, the tutorial and the how-to pages, typed as they are written, in a clean
copy of the tree.

Blocks of ```bash are commands, run in the order of the page. A line that names a file ("`my_tasks.py`:")
before a block of ```python or ```json makes the block that file. A block of ```text is what the commands
above it show on a terminal; `...` stands for anything. `EXECUTION_ID` is the id that was shown last,
`TOKEN` the token of an approval. Port 5000 is that of the service, 8099 that of another one.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import psutil
import pytest

from tests.support.ports import free_port
from tests.support.service import ROOT, wait_for

PAGES: Final = [
    "README.md",
    *(
        str(page.relative_to(ROOT))
        for folder in ("tutorial", "howto")
        for page in sorted((ROOT / "docs" / folder).glob("*.md"))
    ),
    "docs/explanation/what-happens-when.md",
]
NOT_TYPED: Final = {
    "pip install -r requirements.txt": "needs the package index, and installs what runs this test",
}
SERVERS: Final = ("make serve", "python app.py")
PATIENCE: Final = 60.0
"""Seconds for one block of commands, or for the service to stop."""
OURS: Final = ("FLOW_MANAGER_", "PYTHON", "MAKE")
"""Variables of whoever runs the tests that the reader of a page does not have."""
SCREEN: Final = {"COLUMNS": "160", "LINES": "50"}

BLOCK: Final = re.compile(r"^```(bash|text|python|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME: Final = re.compile(r"`([\w.]+)`:\n+\Z")
UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TOKEN: Final = re.compile(r"/v1/approvals/([0-9a-f.-]+)")
COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


class Block(NamedTuple):
    kind: str
    text: str
    file: str


def blocks_of(page: str) -> Iterator[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        named = FILE_NAME.search(text, 0, found.start())
        yield Block(found[1], found[2], named[1] if named else "")


class Reader:
    """Somebody who types what a page says, in a checkout that has been set up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shown = ""
        self._last_id = self._last_token = ""
        self._port, self._elsewhere = free_port(), free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._code = 0
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(OURS)},
            "PATH": f"{folder / '.venv/bin'}:{os.environ['PATH']}",
            "TERM": "dumb",
            **SCREEN,
            "FLOW_MANAGER_PORT": str(self._port),
            "FLOW_MANAGER_SAMPLE_FAILURE_RATE": "0",
        }

    def read(self, block: Block) -> None:
        if block.kind == "text":
            assert re.fullmatch(expected(block.text), self.shown), f"{self.shown}\nis not\n{block.text}"
            self._code = 0  # what was shown is what the page says, be it a failure
            return
        self.is_content()
        if block.kind != "bash":
            assert block.file, f"nothing says which file this is:\n{block.text}"
            text = block.text.replace("8099", str(self._elsewhere))
            text = text.replace("localhost:5000", f"localhost:{self._port}")
            (self.folder / block.file).write_text(text, encoding="utf-8")
        else:
            self._type(block.text)

    def is_content(self) -> None:
        """Commands of which the page does not show what they say must succeed."""
        assert self._code == 0, f"exit code {self._code}:\n{self.shown}"

    def leave(self) -> None:
        """Close the terminal: end what still runs in its folder."""
        self._stop_server()
        for process in psutil.process_iter(["cwd"]):
            if process.info["cwd"] == str(self.folder):
                process.kill()

    def _type(self, commands: str) -> None:
        commands = "".join(line for line in commands.splitlines(True) if line.strip() not in NOT_TYPED)
        commands = commands.replace("8099", str(self._elsewhere))
        if commands.strip().endswith(SERVERS):
            self._serve(commands)
            return
        commands = commands.replace("localhost:5000", f"localhost:{self._port}")
        commands = commands.replace("EXECUTION_ID", self._last_id).replace("TOKEN", self._last_token)
        self._code, self.shown = on_a_terminal(commands, self.folder, self._environment)
        self._last_id = [self._last_id, *UUID.findall(self.shown)][-1]
        self._last_token = [self._last_token, *TOKEN.findall(self.shown)][-1]

    def _serve(self, command: str) -> None:
        """In a terminal of its own, where the one before was stopped by Ctrl-C."""
        self._stop_server()
        log = self.folder / "service.log"
        with log.open("wb") as output:
            self._server = subprocess.Popen(
                ["bash", "-c", f"exec 2>&1; {command}"],
                cwd=self.folder,
                env=self._environment,
                stdout=output,
                start_new_session=True,
            )
        wait_for(self._answers, log.read_text, self._server)

    def _answers(self) -> bool | None:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://localhost:{self._port}/health/ready").status_code == 200 or None
        return None

    def _stop_server(self) -> None:
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGINT)
            self._server.wait(PATIENCE)
            self._server = None


def expected(text: str) -> str:
    """What must have been shown, as a pattern; a line of dots alone stands for any lines."""
    return "".join(map(_pattern, text.splitlines()))


def _pattern(line: str) -> str:
    if line.strip() == "...":
        return r"(?:.*\n)*?"
    return ".*".join(map(re.escape, line.rstrip().split("..."))) + r"\n"


def on_a_terminal(commands: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and screen of commands that see a terminal, without colours and spaces at line ends."""
    ours, theirs = pty.openpty()
    screen = bytearray()

    def watch() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(ours, 65536):
                screen.extend(part)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    typed = ["bash", "-e", "-c", f"exec < /dev/null 2>&1\n{commands}"]
    code = subprocess.run(typed, cwd=folder, env=environment, stdout=theirs, timeout=PATIENCE).returncode
    os.close(theirs)
    watcher.join(PATIENCE)
    os.close(ours)
    lines = COLOUR.sub("", screen.decode()).replace("\r\n", "\n").splitlines()
    return code, "".join(line.rstrip() + "\n" for line in lines)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clean copy of the tree, with a `.venv` that looks as if `make` had made it."""
    folder = tmp_path / "flow-manager"
    hidden = shutil.ignore_patterns(".*", "__pycache__", "*.db", "*.db-*", "tests", "benchmarks")
    shutil.copytree(ROOT, folder, ignore=hidden)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, call in {"python": "", "python3": "", "flow-manager": "-m flow_manager"}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n')
        (programs / name).chmod(0o755)
    for stamp in (".created", ".serve-ready", ".test-ready"):
        (folder / ".venv" / stamp).touch()
    return folder


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_works_as_it_is_written(page: str, checkout: Path) -> None:
    reader = Reader(checkout)
    try:
        for block in blocks_of(page):
            reader.read(block)
        reader.is_content()
    finally:
        reader.leave()


@pytest.mark.parametrize("command", NOT_TYPED)
def test_what_is_not_typed_is_still_on_a_page(command: str) -> None:
    assert any(f"\n{command}\n" in (ROOT / page).read_text(encoding="utf-8") for page in PAGES)
