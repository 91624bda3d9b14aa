"""The process that checks chunks for another: ``python -m ocrvl_modal.data.checking.worker DESCRIPTOR``."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from ocrvl_modal.data.checking.part import PartChecker


def main(descriptor: int) -> None:
    """Answer calls of a :class:`~ocrvl_modal.data.checking.part.PartChecker` until whoever calls is gone."""
    with Connection(descriptor) as connection:
        try:
            checker = PartChecker(connection.recv())
            while True:
                method, arguments = connection.recv()
                connection.send(_result(checker, method, arguments))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _result(checker: PartChecker, method: str, arguments: tuple[object, ...]) -> object:
    try:
        return getattr(checker, method)(*arguments)
    except OSError as error:
        return error


if __name__ == "__main__":
    main(int(sys.argv[1]))
