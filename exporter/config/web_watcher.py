"""
Read the web configuration, follow its files, and hand the server what it may use.

A changed configuration is read and checked as a whole, compared with the one in use,
and then offered to the server, which accepts or refuses it: only the server has
OpenSSL. Until it is accepted, the former one stays in use.
"""

import logging
import os
import stat
import time

from exporter.config import web_changes, web_file
from exporter.config.web import WebConfig, WebConfigStatus
from exporter.config.web_file import WebFile
from exporter.errors import ConfigError

MAX_BYTES = 1 << 20

REFUSED = (
    "the server cannot use its certificate, key, CA or ciphers; the log of the server "
    "has the reason"
)

FileStamp = tuple[int, ...]

log = logging.getLogger(__name__)


def load(file: str) -> WebConfig:
    """Return the configuration of *file*; paths in it are relative to its directory."""
    return _load(file, {}).config


class WebConfigWatcher:
    """
    The web configuration of *file*, "" for none; ConfigError if it is invalid at start.

    Attributes:
        problem: why the files, as they are now, are not in use; "" if they are.
    """

    def __init__(self, file: str) -> None:
        self.problem = ""
        self._file = file
        self._stamps: dict[str, FileStamp] = {}
        self._used = _load(file, self._stamps).config if file else WebConfig()
        self._offered: WebConfig | None = self._used
        self._refused: WebConfig | None = None
        self._has_started = False
        """Whether the server has accepted the first one."""
        self._loaded = time.time()
        self._rejections = 0

    def offer(self) -> WebConfig | None:
        """Return the configuration that the server is to use, None for no change."""
        if self._has_changed():
            self._reload()
        return self._offered

    def accept(self) -> None:
        """Take note that the server uses what was offered last."""
        if self._offered is None:
            return
        if self._has_started:
            text = web_changes.describe_changes(self._used, self._offered)
            log.info("web configuration reloaded: %s", text)
        else:
            log.info("web configuration: %s", web_changes.describe(self._offered))
        self._used, self._offered, self._refused = self._offered, None, None
        self._has_started = True
        self._loaded = time.time()

    def refuse(self) -> None:
        """Take note that the server cannot use what was offered last."""
        self._refused, self._offered = self._offered, None
        self._reject(REFUSED)

    def status(self) -> WebConfigStatus | None:
        """Return what became of the files, None without any."""
        if not self._file:
            return None
        return WebConfigStatus(
            is_current=not self.problem,
            loaded=self._loaded,
            rejections=self._rejections,
        )

    def _has_changed(self) -> bool:
        """Return whether to read the files: again and again while they are invalid."""
        return bool(self.problem) or any(
            _stamp_of(path) != stamp for path, stamp in self._stamps.items()
        )

    def _reload(self) -> None:
        stamps: dict[str, FileStamp] = {}
        try:
            new = _load(self._file, stamps)
        except ConfigError as error:
            self._reject(str(error))
            return
        if any(_stamp_of(path) != stamp for path, stamp in stamps.items()):
            return  # being replaced at this moment
        losses = web_changes.find_losses(self._used, new.config, new.written)
        if losses:
            self._reject(f"{self._file}: {web_changes.loss_text(losses)}")
        elif new.config == self._refused:
            self._reject(REFUSED)
        else:
            self._stamps = stamps
            self._take(new.config)

    def _take(self, config: WebConfig) -> None:
        """Offer a valid configuration, unless it is in use."""
        self.problem = ""
        if config != self._used or not self._has_started:
            self._offered = config
        else:
            self._offered = None
            self._loaded = time.time()
            log.info("web configuration reloaded: no change")

    def _reject(self, problem: str) -> None:
        if problem != self.problem:
            self._rejections += 1
            log.error("web configuration not reloaded: %s", problem)
        self.problem = problem


def _load(file: str, stamps: dict[str, FileStamp]) -> WebFile:
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
