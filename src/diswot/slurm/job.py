"""What runs on the cluster: one job of a sweep, and the signals it gets there."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

__all__ = ["Job"]

_HEEDED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
_ENDED = 128 + signal.SIGTERM  # exit status


class _GaveUp(BaseException):
    """The job is not requeued; passes all who catch the errors of a candidate."""


@dataclass
class _Told:
    """What signals said so far."""

    leaving: bool = False


class Job:
    """Calls a job of a sweep; submitit pickles it, and pickles it again to requeue it.

    Slurm sends its signals to every process of a job, and forked ones inherit this one's handlers:
    there they do nothing. Once the job was told to end, its errors are no result of it: Slurm says
    whether it starts again. An end for good is an error that no one on the way takes for his.

    Args:
        run: Runs a job in this process; gives what Hydra wants to know of it.
    """

    def __init__(self, run: Callable[..., JobReturn]) -> None:
        self._run = run

    def __call__(self, *job: Any) -> JobReturn:
        """Run it.

        Raises:
            SystemExit: It was told to end, and may start again.
            UncompletedJobError: It timed out once too often.
        """
        from hydra.core.utils import JobStatus
        from submitit.core.utils import UncompletedJobError

        with _heeding() as told:
            try:
                done = self._run(*job)
            except _GaveUp as end:
                raise UncompletedJobError(str(end)) from None
            except BaseException:
                if told.leaving:
                    raise SystemExit(_ENDED) from None
                raise
        if told.leaving and done.status is not JobStatus.COMPLETED:
            raise SystemExit(_ENDED)
        return done

    def checkpoint(self, *job: Any) -> Any:
        """What runs when the job starts again: the same call, which finds its run directory."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *job)


@contextmanager
def _heeding() -> Iterator[_Told]:
    """Stand before the handlers that submitit has set."""
    told = _Told()
    before = {number: signal.getsignal(number) for number in _HEEDED}
    for number, handler in before.items():
        signal.signal(number, _handler(handler, told))
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handler(before: Any, told: _Told) -> Callable[[int, FrameType | None], None]:
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        from submitit.core.utils import UncompletedJobError

        if os.getpid() != process or not callable(before):
            return
        told.leaving = True
        try:
            before(number, frame)
        except UncompletedJobError as error:
            raise _GaveUp(str(error)) from error
        except Exception as error:  # such as: Slurm has requeued the job by itself
            raise SystemExit(_ENDED) from error

    return handle
