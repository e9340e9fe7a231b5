"""Scoring in this process or in several, in ask order either way."""

import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import cast

from diswot.errors import UserError
from diswot.scoring.scorer import Measurement, Scorer
from diswot.spaces.base import Arch

_WINDOW = 64  # architectures among which an order is chosen

_FOR_THE_SEARCH = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that a cluster sends to all processes of a job."""

_HERE = "workers=1 and no candidate_seconds"

Measure = Callable[[Sequence[Arch]], Iterator[Measurement]]
"""Measures architectures, giving each result as soon as all before it are there."""


@contextmanager
def scoring_pool(scorer: Scorer, workers: int, *, ahead: bool = False) -> Iterator[Measure]:
    """Measure with ``workers`` processes, which end with the context; with one, in this process.

    So does, whatever their number, what needs no network: counting takes less than a message.
    Where the scorer limits a candidate's seconds it is always another process, which can be ended.
    Processes start when there is something to measure; ``ahead`` they start at once, and load
    modules while the caller prepares what they are to measure.

    Raises:
        UserError: The scorer cannot be sent to a process.
    """
    alone = workers == 1 or not any(proxy.needs_network for proxy in scorer.proxies.values())
    if alone and scorer.limit is None:
        memory = scorer.memory()
        yield _ordered(
            scorer,
            workers,
            lambda archs, queues: (
                (task, scorer.measure(archs[task], memory)) for queue in queues for task in queue
            ),
        )
        return
    with closing(_Pool(scorer, workers)) as pool:
        if ahead:
            pool.load()
        yield _ordered(scorer, workers, pool.measure)


def _ordered(
    scorer: Scorer,
    workers: int,
    run: Callable[[Sequence[Arch], list[deque[int]]], Iterator[tuple[int, Measurement]]],
) -> Measure:
    """Measure in an order that shares first blocks, and give in the order asked.

    ``run`` gives results as they come, of architectures by their places in queues, one for all
    workers or one for each.
    """

    def measure(archs: Sequence[Arch]) -> Iterator[Measurement]:
        shared = bool(archs) and bool(scorer.prefixes(archs[0]))
        size = _WINDOW if shared else max(1, len(archs))
        for start in range(0, len(archs), size):
            window = archs[start : start + size]
            queues = _tree(scorer, window, workers) if shared else [deque(range(len(window)))]
            done, given = dict[int, Measurement](), 0
            for task, measured in run(window, queues):
                done[task] = measured
                while given in done:
                    yield done.pop(given)
                    given += 1

    return measure


def _tree(scorer: Scorer, archs: Sequence[Arch], workers: int) -> list[deque[int]]:
    """A queue a worker; in each, those that have their first blocks in common are neighbours."""
    paths = [list(map(str, scorer.prefixes(arch))) for arch in archs]
    order = sorted(range(len(archs)), key=paths.__getitem__)
    share = -(-len(order) // workers)
    return [deque(order[start : start + share]) for start in range(0, len(order), share)]


class _Pool:
    def __init__(self, scorer: Scorer, workers: int) -> None:
        try:
            self._payload = pickle.dumps(scorer)
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            raise UserError(
                f"workers={workers}: what scores cannot be sent to a process ({error}); define "
                f"it in a module, or take {_HERE}, which scores in this process"
            ) from error
        self._size, self._limit = workers, scorer.limit
        self._workers: list[Worker] = []
        self._loading: list[Worker] = []  # they have no scorer yet

    def load(self) -> None:
        self._loading += [Worker() for _ in range(self._size)]

    def measure(
        self, archs: Sequence[Arch], queues: list[deque[int]]
    ) -> Iterator[tuple[int, Measurement]]:
        texts = [str(arch) for arch in archs]
        self._start(min(self._size, len(texts)))
        try:
            yield from self._measure(texts, queues)
        finally:
            if any(worker.task is not None for worker in self._workers):
                self.close()  # left in the middle: what they answer belongs to nobody

    def _measure(
        self, texts: Sequence[str], queues: list[deque[int]]
    ) -> Iterator[tuple[int, Measurement]]:
        fatal, ready, left = set[int](), list[tuple[int, Measurement]](), len(texts)
        while left:
            for number, worker in enumerate(self._workers):
                own, longest = queues[number % len(queues)], max(queues, key=len)
                if worker.task is None and longest:
                    worker.task = own.popleft() if own else longest.pop()
                    worker.begun = time.monotonic()
                    worker.send(texts[worker.task].encode())
            yield from ready  # while all are at work
            ready = []
            for worker in self._done():
                task = cast(int, worker.task)
                try:
                    if not worker.connection.poll():
                        reason = f"no score within candidate_seconds={self._limit:g}"
                        self._replace(worker)
                    else:
                        answer = worker.connection.recv()
                        reason = None
                except (EOFError, OSError):
                    status = self._replace(worker)
                    if task not in fatal:
                        fatal.add(task)
                        queues[0].appendleft(task)
                        continue
                    how = f"signal {-status}" if status < 0 else f"exit status {status}"
                    reason = f"the scoring process ended twice on this candidate ({how}); "
                    reason += "out of memory?"
                if reason is not None:
                    spent = round(time.monotonic() - worker.begun, 3)
                    answer = Measurement(texts[task], {}, {"*": reason}, None, spent)
                worker.task = None
                if isinstance(answer, Exception):
                    raise answer
                left -= 1
                ready.append((task, answer))
        yield from ready

    def _done(self) -> list["Worker"]:
        """Wait for those at work until some have answered, died, or used up their time."""
        busy = [worker for worker in self._workers if worker.task is not None]
        limit = math.inf if self._limit is None else self._limit
        left = min(worker.begun for worker in busy) + limit - time.monotonic()
        answered = wait(
            [worker.connection for worker in busy], None if left == math.inf else max(0.0, left)
        )
        late = time.monotonic() - limit
        return [each for each in busy if each.connection in answered or each.begun <= late]

    def _replace(self, worker: "Worker") -> int:
        """End a worker and start another in its place; gives its exit status."""
        status = worker.stop()
        self._workers.remove(worker)
        self._start(len(self._workers) + 1)
        return status

    def _start(self, needed: int) -> None:
        missing = range(needed - len(self._workers))
        fresh = [self._loading.pop() if self._loading else Worker() for _ in missing]
        self._workers += fresh
        for worker in fresh:  # after all were started: a send waits until its worker reads
            worker.send(self._payload)
        for worker in fresh:
            try:
                problem = worker.connection.recv()
            except (EOFError, OSError):
                problem = f"it ended with status {worker.process.wait()}"
            if problem is not None:
                raise UserError(
                    f"workers={self._size}: a scoring process could not start: {problem}; "
                    f"{_HERE} scores in this process"
                )

    def close(self) -> None:
        for workers in (self._workers, self._loading):
            while workers:
                workers.pop().stop()


class Worker:
    """A fresh interpreter that runs a module with one end of a connection; ends by `stop`."""

    def __init__(self, module: str = "diswot.scoring.pool") -> None:
        ours, theirs = socket.socketpair()
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            "OMP_NUM_THREADS": "1",
            # Keep freed activations instead of giving the pages back after every layer.
            "MALLOC_MMAP_THRESHOLD_": str(2**30),
            "MALLOC_TRIM_THRESHOLD_": str(2**32),
        }
        # What is blocked here stays blocked in the process; this one gets it afterwards.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_SEARCH)
        try:
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env=env,
                    start_new_session=True,  # Ctrl-C is for the search, which ends its workers
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.connection = Connection(ours.detach())
        self.task: int | None = None
        self.begun = 0.0

    def send(self, message: bytes) -> None:
        """Send it; a worker that has died is noticed by who waits for its answer."""
        with suppress(ConnectionError):
            self.connection.send_bytes(message)

    def stop(self) -> int:
        """Close, end and reap; gives the exit status, negative for a signal."""
        self.connection.close()
        if self.process.poll() is None:
            self.process.kill()  # it keeps nothing, and does not heed what else would end it
        return self.process.wait()


def serve(handle: int) -> None:
    """Score what comes through a connection until its other end closes: a worker's whole life.

    That end also closes when the parent is killed, so no worker outlives its search. First comes a
    pickled `Scorer`, answered with None or an error; then texts of architectures, each answered
    with a `Measurement` or an exception. ``handle`` is a file descriptor.
    """
    connection = Connection(handle)
    with suppress(EOFError, ConnectionError):
        try:
            scorer = pickle.loads(connection.recv_bytes())
        except (AttributeError, ImportError, pickle.UnpicklingError) as error:
            # A plug-in defined in a script or notebook: only its own process can see it.
            connection.send(f"{type(error).__name__}: {error}")
            return
        connection.send(None)
        memory = scorer.memory()
        while True:
            text = connection.recv_bytes().decode()
            try:
                answer = scorer.measure(scorer.space.parse(text), memory)
            except Exception as error:  # a `UserError`, or any with debug=true: the parent raises
                error.add_note(traceback.format_exc())
                answer = error
            connection.send(answer)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
