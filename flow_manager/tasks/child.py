"""The process of isolated task bodies: `python -m flow_manager.tasks.child`, started by the pool.

Its stdin and stdout belong to the messages; a body reads nothing and prints to stderr. When the
pool's end of stdin closes, because the service has ended however abruptly, so does this process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sys
import threading
from typing import BinaryIO, Final

import msgspec

from flow_manager.ports.worker import AttemptResult
from flow_manager.tasks.context import Cancellation
from flow_manager.tasks.discovery import import_task_modules
from flow_manager.tasks.outcome import from_exception, from_return
from flow_manager.tasks.processes import PREFIX, ChildOrder, read_message
from flow_manager.tasks.registry import REGISTRY
from flow_manager.tasks.worker import new_context

_decode_order: Final = msgspec.msgpack.Decoder(ChildOrder).decode
_encode_result: Final = msgspec.msgpack.Encoder().encode


def main() -> None:
    """Run attempts until the pool hangs up."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    orders_in, results_out = _take_streams()
    orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders_in, orders), daemon=True).start()
    while True:
        result = _run(_decode_order(orders.get()))
        message = _encode_result(result)
        results_out.write(len(message).to_bytes(PREFIX, "big") + message)
        results_out.flush()


def _take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Move the message streams out of the body's reach."""
    orders_in, results_out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return orders_in, results_out


def _listen(stream: BinaryIO, orders: queue.SimpleQueue[bytes]) -> None:
    while (message := read_message(stream.read)) is not None:
        orders.put(message)
    os._exit(0)


def _run(child_order: ChildOrder) -> AttemptResult:
    """The edge of an attempt. SystemExit ends the process, as it would anywhere: the attempt is lost."""
    order = child_order.order
    try:
        import_task_modules([child_order.module])
        task = REGISTRY[order.task.type]
        value = task.new_body()(new_context(order, Cancellation()))
        if task.is_async:
            value = asyncio.run(value)
        return from_return(value, child_order.most_result)
    except SystemExit:
        raise
    except BaseException as error:
        return from_exception(error)


if __name__ == "__main__":
    main()
