"""The real web server around the fake backend: `python -m tests.support.fake_service [SECONDS]`.

With SECONDS, executions go on until so long after the service was told to stop. Prints the log, and one
word for each thing that happens: `start`, `stop`, `hurry`, `stopped`.
"""

from __future__ import annotations

import logging
import os
import sys
import threading

from flow_manager.api.app import create_app
from flow_manager.api.server import ApiServer
from flow_manager.settings import Settings
from tests.support.fake_backend import FakeBackend


def tell(text: str) -> None:
    # One write: `print` makes two, between which the words of other threads can come.
    os.write(sys.stdout.fileno(), f"{text}\n".encode())


class TellingEvent(threading.Event):
    """Tells of each start that was not refused."""

    def set(self) -> None:
        super().set()
        tell("start")


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    backend = FakeBackend(started=TellingEvent())
    hurried = threading.Event()
    if seconds:
        backend.ending.clear()

    def stop() -> None:
        """As an engine drains: until what runs has ended, or somebody is in a hurry."""
        backend.stop()
        tell("stop")
        hurried.wait(seconds)
        backend.ending.set()

    def hurry() -> None:
        tell("hurry")
        hurried.set()

    settings = Settings(port=0)
    server = ApiServer(create_app(backend, settings), settings, on_stop=stop, on_hurry=hurry)
    server.serve()
    tell("stopped")
    os._exit(0)


if __name__ == "__main__":
    main()
