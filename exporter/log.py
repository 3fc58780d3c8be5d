"""
Logging on standard error: logfmt or JSON, one line per message, limited per kind.

Logging never waits and never fails: what is not written is counted.
"""

import datetime as dt
import json
import logging
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Literal, NamedTuple

from exporter.log_output import MAX_LINE_BYTES, LineOutput

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["logfmt", "json"]

LINES_PER_KIND = 10
"""Lines of one kind that are logged in a period."""

PERIOD_SECONDS = 60.0

_LENGTHS = (2000, 600, 150, 50)
"""Characters of a field: the first that lets a line fit into MAX_LINE_BYTES is used. A
character takes up to twelve bytes."""

log = logging.getLogger(__name__)


class LineFormatter(logging.Formatter):
    """Formats a record as one line of MAX_LINE_BYTES at most, its end included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        fields = _fields(record)
        line = self.join(fields)
        for length in _LENGTHS:
            if len(line.encode(errors="backslashreplace")) < MAX_LINE_BYTES:
                break
            line = self.join(
                {name: _shorten(text, length) for name, text in fields.items()}
            )
        return line

    def join(self, fields: Mapping[str, str]) -> str:
        """Return *fields* as a line."""
        raise NotImplementedError


class Logfmt(LineFormatter):
    """`ts=… level=… msg="…"`; text that a container chose cannot break the line."""

    def join(self, fields: Mapping[str, str]) -> str:
        """Return *fields* as logfmt."""
        return " ".join(f"{name}={_quote(text)}" for name, text in fields.items())


class Json(LineFormatter):
    """One JSON object per line."""

    def join(self, fields: Mapping[str, str]) -> str:
        """Return *fields* as a JSON object."""
        return json.dumps(fields)


class Kind(NamedTuple):
    """
    What makes two records the same, whatever names are in them.

    Attributes:
        logger: the name of the logger.
        level: the level.
        place: file and line of the call, or of what raised the exception.
        what: the type of the exception, or the attribute `kind` of the record.
    """

    logger: str
    level: int
    place: tuple[str, int]
    what: str


def kind_of(record: logging.LogRecord) -> Kind:
    """Return the kind of *record*; there are as many as places in the code."""
    place, what = (record.pathname, record.lineno), getattr(record, "kind", "")
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        what = type(error).__qualname__
        for frame, line in traceback.walk_tb(error.__traceback__):
            place = frame.f_code.co_filename, line
    return Kind(record.name, record.levelno, place, what)


class LineLimit:
    """Counts the lines of each kind; *clock* returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + PERIOD_SECONDS
        self._counts: Counter[Kind] = Counter()
        self._suppressed: dict[Kind, str] = {}

    def admits(self, record: logging.LogRecord) -> bool:
        """Count *record*; return whether it is within the limit of its kind."""
        kind = kind_of(record)
        self._counts[kind] += 1
        if self._counts[kind] == LINES_PER_KIND + 1:
            self._suppressed[kind] = record.getMessage()
        return self._counts[kind] <= LINES_PER_KIND

    def end_period(self) -> Iterator[logging.LogRecord]:
        """Yield a record for each kind with suppressed lines, if the period is over."""
        if self._clock() < self._end:
            return
        suppressed, counts = self._suppressed, self._counts
        self._end = self._clock() + PERIOD_SECONDS
        self._suppressed, self._counts = {}, Counter()
        for kind, message in suppressed.items():
            count = counts[kind] - LINES_PER_KIND
            text = f"suppressed {count} more messages of this kind: {message}"
            yield _record(kind.logger, kind.level, text)


class LineHandler(logging.Handler):
    """
    Writes records on *output*, within the *limit* of each kind.

    Attributes:
        omitted: lines that were not written, by reason: `repeated`, beyond the limit;
            `not_written`, *output* did not take them.
    """

    def __init__(self, output: LineOutput, limit: LineLimit) -> None:
        super().__init__()
        self.omitted = _no_omissions()
        self._output = output
        self._limit = limit
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record*, or count it."""
        try:
            self._end_period()
            if self._limit.admits(record):
                self._write(record)
            else:
                self.omitted["repeated"] += 1
        except Exception:  # noqa: BLE001 # a message that cannot be formatted
            self.omitted["not_written"] += 1

    def report_suppressed(self) -> None:
        """Write what was suppressed in the last period, if that is over."""
        self.acquire()
        try:
            self._end_period()
        finally:
            self.release()

    def close(self) -> None:
        """Close the output."""
        super().close()
        self._output.close()

    def _end_period(self) -> None:
        for record in self._limit.end_period():
            self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        if self._lost:
            text = f"{self._lost} lines could not be written to standard error"
            if self._write_line(_record(log.name, logging.WARNING, text)):
                self._lost = 0
        if self._lost or not self._write_line(record):
            self._lost += 1
            self.omitted["not_written"] += 1

    def _write_line(self, record: logging.LogRecord) -> bool:
        line = f"{self.format(record)}\n"
        return self._output.write(line.encode(errors="backslashreplace"))


def configure(level: LogLevel, form: LogFormat) -> None:
    """Log messages of *level* and above on standard error; *form* is the format."""
    handler = LineHandler(LineOutput(), LineLimit())
    handler.setFormatter(Json() if form == "json" else Logfmt())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def log_uncaught_errors() -> None:
    """Log what Python itself would print on standard error, waiting for a reader."""
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda error: _log_uncaught(
        error.exc_type, error.exc_value, error.exc_traceback
    )
    sys.unraisablehook = lambda error: _log_uncaught(
        error.exc_type, error.exc_value, error.exc_traceback
    )
    warnings.showwarning = lambda message, category, file, line, *_: log.warning(
        "%s:%d: %s: %s", file, line, category.__name__, message
    )


def report_suppressed() -> None:
    """Log what was suppressed in the last period; to be called now and then."""
    for handler in _handlers():
        handler.report_suppressed()


def omitted_lines() -> dict[str, int]:
    """Return how many lines of this process were not written, by reason."""
    total = _no_omissions()
    for handler in _handlers():
        total.update(handler.omitted)
    return total


def _no_omissions() -> Counter[str]:
    return Counter(repeated=0, not_written=0)


def _handlers() -> list[LineHandler]:
    handlers = logging.getLogger().handlers
    return [handler for handler in handlers if isinstance(handler, LineHandler)]


def _log_uncaught(
    kind: type[BaseException],
    error: BaseException | None,
    trace: TracebackType | None,
) -> None:
    if issubclass(kind, (KeyboardInterrupt, SystemExit)):
        return
    log.error("uncaught error", exc_info=(kind, error or kind(), trace))


def _record(logger: str, level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord(logger, level, "", 0, text, (), None)


def _fields(record: logging.LogRecord) -> dict[str, str]:
    moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
    fields = {
        "ts": moment.isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "msg": record.getMessage(),
    }
    if record.exc_info and record.exc_info[1]:
        fields["error"] = _describe_error(record.exc_info[1])
    return fields


def _describe_error(error: BaseException) -> str:
    """
    Return a traceback without lines of source code.

    The server can open no file, and in the others it would only make a line longer.
    """
    whole = traceback.TracebackException.from_exception(error, lookup_lines=False)
    parts: list[traceback.TracebackException | None] = [whole]
    for part in parts:
        if part:
            part.stack = traceback.StackSummary.from_list(
                [(at.filename, at.lineno or 0, at.name, "") for at in part.stack]
            )
            nested = getattr(part, "exceptions", None) or ()
            parts += [part.__cause__, part.__context__, *nested]
    return "".join(whole.format()).rstrip()


def _shorten(text: str, length: int) -> str:
    """Return *text*, of a long one the beginning and the end."""
    if len(text) <= length:
        return text
    return f"{text[: length // 2]} … {text[-length // 2 :]}"


def _quote(text: str) -> str:
    plain = text and text.isprintable() and not any(c in text for c in ' "=')
    return text if plain else json.dumps(text)
