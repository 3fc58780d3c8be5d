"""
Write a command's result to standard output, or atomically to a file, and its errors.

A result that cannot be written is an OSError, which names standard output.
"""

import contextlib
import os
import sys
import tempfile


def open_missing_streams() -> None:
    """
    Open /dev/null in place of each of the first three fds that is closed.

    Otherwise the next socket or file gets its number, and with it what any library
    prints. Python keeps None as its stream, by which check_open() detects it.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003


def check_open() -> None:
    """Raise OSError if standard output is closed."""
    if sys.stdout is None:
        raise OSError("cannot write the result: standard output is closed")


def write(body: bytes) -> None:
    """Write to standard output; a reader that closed it is no error."""
    check_open()
    left = memoryview(body)
    try:
        while left:
            left = left[os.write(sys.stdout.fileno(), left) :]
    except BrokenPipeError:  # for example `… | head`
        return
    except OSError as error:
        raise OSError(f"cannot write standard output: {error.strerror}") from error


def write_error(text: str) -> None:
    """Write a line to standard error, where that is possible."""
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()


def write_atomically(path: str, body: bytes) -> None:
    """
    Write *path* so that a reader sees the old file or the new one, never a part.

    A file that is not regular (/dev/stdout, a FIFO) is written to, never replaced.
    """
    path = os.path.realpath(path)
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb") as file:
                file.write(body)
        else:
            _replace(path, body)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}") from error


def _replace(path: str, body: bytes) -> None:
    directory, name = os.path.dirname(path) or ".", os.path.basename(path)
    fd, draft = tempfile.mkstemp(dir=directory, prefix=f".{name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, 0o644)
            file.write(body)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
