"""Calls in order, in this process or side by side in several that last for all of them."""

import os
import pickle
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from diswot.errors import UserError
from diswot.scoring.pool import Worker

Calls = Callable[[Sequence[Callable[[], Any]]], Iterator[Any]]
"""Makes calls; gives each result as soon as all before it are there."""


@contextmanager
def calling(workers: int, *, one_thread: bool) -> Iterator[Calls]:
    """Call in ``workers`` processes, which end with the context; with one, in this process.

    Calls are pickled. A process of several has one thread; with ``one_thread`` so has this one
    meanwhile, so that results are the same bits.
    """
    if workers > 1:
        processes: list[Worker] = []
        try:
            yield lambda calls: _called(calls, processes, workers)
        finally:
            for process in processes:
                process.stop()
        return
    before = torch.get_num_threads()
    try:
        if one_thread:
            torch.set_num_threads(1)
        yield lambda calls: (call() for call in calls)
    finally:
        torch.set_num_threads(before)


def _called(
    calls: Sequence[Callable[[], Any]], processes: list[Worker], workers: int
) -> Iterator[Any]:
    processes += [Worker(__name__) for _ in range(min(workers, len(calls)) - len(processes))]
    waiting, done, given = list(reversed(range(len(calls)))), dict[int, Any](), 0
    while given < len(calls):
        for process in processes:
            if process.task is None and waiting:
                process.task = waiting.pop()
                process.send(pickle.dumps(calls[process.task]))
        busy = {each.connection: each for each in processes if each.task is not None}
        for process in [busy[ready] for ready in wait(list(busy))]:  # type: ignore[index]
            assert process.task is not None
            try:
                done[process.task] = process.connection.recv()
            except (EOFError, OSError):
                status = process.stop()
                how = f"signal {-status}" if status < 0 else f"exit status {status}"
                raise UserError(
                    f"one of {workers} training processes ended ({how}), often for want of memory; "
                    "with fewer workers the same command goes on"
                ) from None
            if isinstance(done[process.task], Exception):
                raise done[process.task]
            process.task = None
        while given in done:
            yield done.pop(given)
            given += 1


def serve(handle: int) -> None:
    """Make the calls that come through a connection: a process's whole life.

    It is answered with the result, a `UserError` or an OSError; another error ends the process with
    a traceback. When the other end closes, as it does when its process is killed, this one ends at
    once, so that it holds no run directory that is needed again.
    """
    connection, calls = Connection(handle), queue.SimpleQueue[bytes]()

    def receive() -> None:
        try:
            while True:
                calls.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=receive, daemon=True).start()
    while True:
        call = pickle.loads(calls.get())
        try:
            answer = call()
        except UserError as error:
            answer = UserError(str(error))  # of subclasses not all can be pickled
        except OSError as error:
            answer = error
        connection.send(answer)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
