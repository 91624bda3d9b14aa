"""A process that works for another: ``python -m ocrvl_modal.data.crew_worker DESCRIPTOR``."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from ocrvl_modal.errors import OcrvlError


def main(descriptor: int) -> None:
    """Take a :class:`~ocrvl_modal.data.crew.Task`, and answer calls of its worker until whoever calls is gone."""
    with Connection(descriptor) as connection:
        try:
            worker = connection.recv().worker()
            while True:
                method, arguments = connection.recv()
                connection.send(_result(worker, method, arguments))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _result(worker: object, method: str, arguments: tuple[object, ...]) -> object:
    try:
        return getattr(worker, method)(*arguments)
    except (OSError, OcrvlError) as error:
        return error


if __name__ == "__main__":
    main(int(sys.argv[1]))
