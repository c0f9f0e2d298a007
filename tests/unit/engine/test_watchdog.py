from __future__ import annotations

import asyncio
import threading
import time

from flow_manager.engine.watchdog import BEAT, LONGEST_SILENCE, Watchdog


def test_a_loop_that_turns_is_left_alone() -> None:
    loop = asyncio.new_event_loop()
    watchdog = Watchdog(loop)

    silence = watchdog.look(time.monotonic())
    loop.close()

    assert silence == 0.0


def test_a_loop_that_is_blocked_is_noticed_with_the_code_that_blocks_it() -> None:
    loop = asyncio.new_event_loop()
    watchdog = Watchdog(loop)
    may_go_on, is_blocked = threading.Event(), threading.Event()

    def a_task_that_computes() -> None:
        is_blocked.set()
        may_go_on.wait(10)

    def run() -> None:
        watchdog.start()
        loop.call_soon(a_task_that_computes)
        loop.call_soon(loop.stop)
        loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    is_blocked.wait(10)
    culprit = watchdog.culprit()
    silence = watchdog.look(time.monotonic() + BEAT + LONGEST_SILENCE + 0.1)
    may_go_on.set()
    thread.join()
    watchdog.stop()
    loop.close()

    assert silence > LONGEST_SILENCE
    assert "a_task_that_computes" in culprit
    assert "test_watchdog.py" in culprit
