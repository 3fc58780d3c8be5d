"""Reading the web configuration, and following its files as they change."""

import os
import stat

from exporter.config import web_file
from exporter.config.web import WebConfig
from exporter.errors import ConfigError

MAX_BYTES = 1 << 20

FileStamp = tuple[int, ...]


def load(file: str) -> WebConfig:
    """Return what *file* and the files it names say; relative ones are beside it."""
    return _load(file, {})


class WebConfigWatcher:
    """
    A web configuration that follows its files.

    config: the last good one; problem: why the files are not that, "" when they are.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._seen: dict[str, FileStamp] = {}
        self.config = _load(file, self._seen)
        self.problem = ""

    def reload_if_changed(self) -> WebConfig | None:
        """
        Return the configuration if it is another than before, None otherwise.

        A broken one changes nothing but the problem, and is read again each time.
        """
        if not self.problem and all(
            _stamp_of(path) == stamp for path, stamp in self._seen.items()
        ):
            return None
        seen: dict[str, FileStamp] = {}
        try:
            config = _load(self._file, seen)
        except ConfigError as error:
            self.problem = str(error)
            return None
        self._seen, self.problem = seen, ""
        if config == self.config:
            return None
        self.config = config
        return config


def _load(file: str, seen: dict[str, FileStamp]) -> WebConfig:
    """Return the configuration, and put into *seen* which files it was made of."""
    directory = os.path.dirname(file)
    text = _read(file, seen)
    try:
        return web_file.parse_web_config(
            text, lambda path: _read(os.path.join(directory, path), seen)
        )
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def _read(path: str, seen: dict[str, FileStamp]) -> bytes:
    """Return what a regular file holds; a FIFO would wait for a writer for ever."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            status = os.fstat(file.fileno())
            seen[path] = _stamp_from(status)
            regular = stat.S_ISREG(status.st_mode)
            text = file.read(MAX_BYTES + 1) if regular else b""
    except OSError as error:
        raise ConfigError(f"cannot read {path!r}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"cannot read {path!r}: no path at all") from error
    if not regular or len(text) > MAX_BYTES:
        wrong = f"larger than {MAX_BYTES} bytes" if regular else "not a regular file"
        raise ConfigError(f"cannot read {path!r}: it is {wrong}")
    return text


def _stamp_from(status: os.stat_result) -> FileStamp:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _stamp_of(path: str) -> FileStamp | None:
    try:
        return _stamp_from(
            os.stat(path)
        )  # follows links: a swapped one is another file
    except (OSError, ValueError):
        return None
