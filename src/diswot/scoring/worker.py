"""A process that scores; started by `diswot.scoring.pool`, never by hand."""

from __future__ import annotations

import pickle
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection

__all__ = ["main"]


def main(handle: int) -> None:
    """Score what comes through the connection until the other end closes.

    That end also closes when the parent is killed, so no worker outlives its search.

    Args:
        handle: File descriptor of a duplex connection. First comes a pickled `Scorer`, answered
            with None or with what is wrong; then texts of architectures, each answered with a
            `Measurement` or an exception.
    """
    connection = Connection(handle)
    with suppress(EOFError, ConnectionError):
        _serve(connection)


def _serve(connection: Connection) -> None:
    payload = connection.recv_bytes()
    try:
        scorer = pickle.loads(payload)
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
        except Exception as error:  # a `UserError`, or any with debug=true: the parent raises it
            error.add_note(traceback.format_exc())
            answer = error
        connection.send(answer)


if __name__ == "__main__":
    main(int(sys.argv[1]))
