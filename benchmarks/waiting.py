"""W7: many executions in one process, each waiting on a slow HTTP target."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import psutil

from benchmarks.embedded import embedded, parse
from benchmarks.figures import Figure
from benchmarks.flows import chain
from flow_manager.core.states import ExecutionStatus
from flow_manager.stores.sqlite.reader import SqliteReader

EXECUTIONS = 10_000
STARTERS = 32
"""Threads that start executions side by side."""
SLOW = 5.0
"""Seconds that the target takes for an answer."""
DESCRIPTORS = 24_000
PATIENCE = 120.0


def waiting() -> list[Figure]:
    _raise_limit_of_descriptors()
    target = subprocess.Popen([sys.executable, "-m", "benchmarks.waiting"], stdout=subprocess.PIPE)
    assert target.stdout is not None
    port = int(target.stdout.readline())
    try:
        seconds, mebibytes = _run(port)
    finally:
        target.kill()
        target.wait()
    what = f"{EXECUTIONS:,} executions that each wait {SLOW:g} s for an HTTP answer"
    return [
        Figure("W7", what, f"{seconds:.1f} s", f"{SLOW:g} s", seconds, "at most", 20.0),
        Figure("W7", "their memory in MiB, at most", f"{mebibytes:.0f} MiB", "-", mebibytes, "at most", 700),
    ]


def _run(port: int) -> tuple[float, float]:
    process = psutil.Process()
    with (
        embedded(http_allow=("127.0.0.0/8",)) as (backend, folder),
        closing(SqliteReader(folder / "bench.db")) as reader,
    ):
        document = chain(1, "http", "bench-call")
        document["flow"]["tasks"][0]["input"] = {"url": "${input.url}", "read_timeout": PATIENCE}
        flow = parse(document)

        def start(_: int) -> str:
            target = {"url": f"http://127.0.0.1:{port}/"}
            return backend.execute(flow, target, wait=timedelta(0)).execution_id

        began = time.perf_counter()
        with ThreadPoolExecutor(STARTERS) as starters:
            started = list(starters.map(start, range(EXECUTIONS)))
        most = 0
        while reader.open_executions() and time.perf_counter() - began < PATIENCE:
            most = max(most, process.memory_info().rss)
            time.sleep(0.1)
        taken = time.perf_counter() - began
        for execution_id in started:
            if backend.describe(execution_id).status is not ExecutionStatus.COMPLETED:
                raise AssertionError(f"{execution_id} did not complete")
    return taken, most / (1 << 20)


def _raise_limit_of_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, hard), hard))


async def target() -> None:
    """A server that answers every request after `SLOW` seconds."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(SLOW)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    _raise_limit_of_descriptors()
    asyncio.run(target())
