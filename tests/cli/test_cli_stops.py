"""A run ends when it is told to, also while something is being deleted; nothing is said in vain."""

import logging
import os
import signal
import time
import warnings
from pathlib import Path

import pytest

from diswot.commands import stops
from diswot.commands.stops import heeded
from diswot.commands.task import prepare_process


class Slow:
    """Is told to stop while it is deleted, as a loader's iterator may be."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)
        time.sleep(0.02)


def leave(*_: object) -> None:
    raise SystemExit(7)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGUSR2, SystemExit)]
)
def test_a_signal_during_a_deletion_is_heeded(
    capfd: pytest.CaptureFixture[str], number: signal.Signals, error: type[BaseException]
) -> None:
    handlers = {signal.SIGUSR2: leave, signal.SIGINT: signal.default_int_handler}
    before = {each: signal.signal(each, handler) for each, handler in handlers.items()}
    try:
        with pytest.raises(error), heeded():  # noqa: PT012
            told = Slow(number)
            del told
            time.sleep(10)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_other_errors_during_a_deletion_are_told_as_usual() -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError("broken")

    with heeded():
        broken = Broken()
        del broken


def test_warnings_of_the_package_are_one_line() -> None:
    prepare_process()
    own = warnings.formatwarning("doubtful", UserWarning, stops.__file__, 7)
    assert own == "warning: doubtful\n"
    other = warnings.formatwarning("odd", UserWarning, __file__, 7, "x = 1")
    assert other == f"{__file__}:7: UserWarning: odd\n  x = 1\n"


def test_matplotlib_does_not_tell_of_its_cache(tmp_path: Path) -> None:
    logger = logging.getLogger("matplotlib.font_manager")
    logger.setLevel(logging.NOTSET)
    prepare_process()
    assert not logger.isEnabledFor(logging.WARNING)
