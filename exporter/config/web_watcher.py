"""Read the web configuration, and reload it when one of its files changes."""

import os
import stat

from exporter.config import web_file
from exporter.config.web import WebConfig
from exporter.errors import ConfigError

MAX_BYTES = 1 << 20

FileStamp = tuple[int, ...]


def load(file: str) -> WebConfig:
    """Return the configuration of *file*; paths in it are relative to its directory."""
    return _load(file, {})


class WebConfigWatcher:
    """
    A web configuration that follows its files.

    Attributes:
        config: the last valid one.
        problem: why the files are invalid now, "" if they are valid.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._stamps: dict[str, FileStamp] = {}
        self.config = _load(file, self._stamps)
        self.problem = ""

    def reload_if_changed(self) -> WebConfig | None:
        """
        Return the configuration if it changed, else None.

        An invalid one only sets *problem*, and is read again at each call.
        """
        if not self.problem and all(
            _stamp_of(path) == stamp for path, stamp in self._stamps.items()
        ):
            return None
        stamps: dict[str, FileStamp] = {}
        try:
            config = _load(self._file, stamps)
        except ConfigError as error:
            self.problem = str(error)
            return None
        self._stamps, self.problem = stamps, ""
        if config == self.config:
            return None
        self.config = config
        return config


def _load(file: str, stamps: dict[str, FileStamp]) -> WebConfig:
    """Return the configuration; add the files it is made of to *stamps*."""
    directory = os.path.dirname(file)
    text = _read(file, stamps)
    try:
        return web_file.parse_web_config(
            text, lambda path: _read(os.path.join(directory, path), stamps)
        )
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def _read(path: str, stamps: dict[str, FileStamp]) -> bytes:
    """Return the content of a regular file; opening a FIFO must not block."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            status = os.fstat(file.fileno())
            stamps[path] = _stamp_from(status)
            regular = stat.S_ISREG(status.st_mode)
            text = file.read(MAX_BYTES + 1) if regular else b""
    except OSError as error:
        raise ConfigError(f"cannot read {path!r}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"cannot read {path!r}: not a valid path") from error
    if not regular or len(text) > MAX_BYTES:
        reason = f"larger than {MAX_BYTES} bytes" if regular else "not a regular file"
        raise ConfigError(f"cannot read {path!r}: it is {reason}")
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
        # stat follows symlinks, so a replaced target is a change
        return _stamp_from(os.stat(path))
    except (OSError, ValueError):
        return None
