"""Logging on standard error: logfmt or JSON, one line per message."""

import datetime as dt
import json
import logging
from typing import Literal

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["logfmt", "json"]


class Logfmt(logging.Formatter):
    """`ts=… level=… msg="…"`; text that a container chose cannot break the line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one logfmt line."""
        fields = _fields(self, record).items()
        return " ".join(f"{key}={_quote(value)}" for key, value in fields)


class Json(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one JSON object."""
        return json.dumps(_fields(self, record))


def configure(level: LogLevel, form: LogFormat) -> None:
    """Log messages of *level* and above on standard error; *form* is the format."""
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if form == "json" else Logfmt())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, str]:
    time = dt.datetime.fromtimestamp(record.created, dt.UTC)
    fields = {
        "ts": time.isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "msg": record.getMessage(),
    }
    if record.exc_info:
        fields["error"] = formatter.formatException(record.exc_info)
    return fields


def _quote(text: str) -> str:
    plain = text and text.isprintable() and not any(c in text for c in ' "=')
    return text if plain else json.dumps(text)
