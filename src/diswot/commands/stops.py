"""Requests to stop that Python would forget."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SOON = 0.01  # s, until the finaliser that was interrupted has returned


@contextmanager
def heeded() -> Iterator[None]:
    """Raise again what asks to stop while a finaliser runs.

    A signal's handler may raise inside a ``__del__``, such as that of a loader's iterator, which
    takes a while to end its processes. Python prints what is raised there, and goes on. Outside the
    main thread, which alone gets signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        stop = unraisable.exc_value
        if stop is None or isinstance(stop, Exception):
            usual(unraisable)
            return

        def again(number: int, frame: FrameType | None) -> None:
            raise stop

        signal.signal(signal.SIGALRM, again)
        signal.setitimer(signal.ITIMER_REAL, _SOON)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = usual
