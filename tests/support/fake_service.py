"""The real web server around the fake backend: `python -m tests.support.fake_service [SECONDS]`.

With SECONDS, every execution takes so long, unless the service is stopped before. Prints what it is
told: the address first, then `stop` and `hurry`.
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
    print(text, flush=True)


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    backend = FakeBackend()
    hurried = threading.Event()
    if seconds:
        backend.ending.clear()

    def stop() -> None:
        """As a backend drains: until what runs has ended, or somebody is in a hurry."""
        tell("stop")
        backend.stop()
        hurried.wait(seconds)
        backend.ending.set()

    def hurry() -> None:
        tell("hurry")
        hurried.set()

    settings = Settings(port=0)
    server = ApiServer(create_app(backend, settings), settings, on_stop=stop, on_hurry=hurry)
    tell(server.url)
    server.serve()
    tell("stopped")
    os._exit(0)


if __name__ == "__main__":
    main()
