"""Write a command's result: to standard output, or atomically to a file."""

import contextlib
import os
import sys
import tempfile


def write(body: bytes) -> None:
    """Write to standard output; a reader that closed it is no error."""
    left = memoryview(body)
    with contextlib.suppress(BrokenPipeError):  # for example `… | head`
        while left:
            left = left[os.write(sys.stdout.fileno(), left) :]


def write_atomically(path: str, body: bytes) -> None:
    """
    Write *path* so that a reader sees the old file or the new one, never a part.

    A file that is not regular (/dev/stdout, a FIFO) is written to, never replaced.
    """
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            file.write(body)
        return
    directory, name = os.path.dirname(path) or ".", os.path.basename(path)
    try:
        fd, draft = tempfile.mkstemp(dir=directory, prefix=f".{name}.")
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, 0o644)
            file.write(body)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
