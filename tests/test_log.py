"""A message is one line, whatever a container put into it."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.log import Json, Logfmt, LogFormat, LogLevel, configure

HOSTILE = [
    "",
    "plain",
    "two words",
    "a\nlevel=error msg=forged",
    "a\r\nb",
    'say "hi"',
    "back\\slash",
    "a=b",
    "\x1b[31mred\x07\0",
    "\u2028\u2029\x85\v\f",
    "\udcff",
    "blåbær 日本",
    "\U0001f600",
]


def written(
    formatter: logging.Formatter,
    message: str,
    *,
    encoding: str = "utf-8",
    level: int = logging.INFO,
    error: BaseException | None = None,
) -> str:
    """
    Log *message* through a handler, and return what it wrote.

    The UTF-8 stream is strict, so that nothing is written if the formatter leaves a
    surrogate; the ASCII stream is that of standard error with LANG=C.
    """
    held = io.BytesIO()
    errors = "strict" if encoding == "utf-8" else "backslashreplace"
    stream = io.TextIOWrapper(held, encoding=encoding, errors=errors)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    raised = (type(error), error, None) if error else None
    record = logging.LogRecord("exporter.x", level, "x.py", 1, "%s", (message,), raised)
    handler.handle(record)
    stream.flush()
    return held.getvalue().decode(encoding)


def msg_of(line: str) -> str:
    """Return the decoded field msg of a logfmt line."""
    text = line.rstrip("\n").partition(" msg=")[2]
    message = json.loads(text) if text.startswith('"') else text
    assert isinstance(message, str)
    return message


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("formatter", [Logfmt(), Json()], ids=["logfmt", "json"])
@pytest.mark.parametrize("message", HOSTILE, ids=ascii)
def test_a_message_is_one_line(
    message: str, formatter: logging.Formatter, encoding: str
) -> None:
    line = written(formatter, message, encoding=encoding)

    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert len(line.splitlines()) == 1


@given(st.text(st.characters(codec=None)))
def test_any_text_is_one_line_in_both_formats(message: str) -> None:
    plain, structured = written(Logfmt(), message), written(Json(), message)

    assert len(plain.splitlines()) == len(structured.splitlines()) == 1
    assert msg_of(plain) == json.loads(structured)["msg"] == message


@pytest.mark.parametrize(
    ("message", "quoted"),
    [
        ("plain", "msg=plain"),
        ("a/b:c-1", "msg=a/b:c-1"),
        ("blåbær", "msg=blåbær"),
        ("", 'msg=""'),
        ("two words", 'msg="two words"'),
        ("a=b", 'msg="a=b"'),
        ('"', r'msg="\""'),
        ("a\nb", r'msg="a\nb"'),
        ("a\tb", r'msg="a\tb"'),
        ("\x1b", r'msg="\u001b"'),
        ("\udcff", r'msg="\udcff"'),
    ],
)
def test_logfmt_quotes_a_value_that_needs_it(message: str, quoted: str) -> None:
    assert written(Logfmt(), message).endswith(f" {quoted}\n")


def test_logfmt_begins_with_time_level_and_logger() -> None:
    assert re.match(
        r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 level=warning "
        r"logger=exporter\.x msg=",
        written(Logfmt(), "x", level=logging.WARNING),
    )


def test_json_has_the_same_fields() -> None:
    fields = json.loads(written(Json(), "x", level=logging.ERROR))

    assert list(fields) == ["ts", "level", "logger", "msg"]
    assert [*fields.values()][1:] == ["error", "exporter.x", "x"]


@pytest.mark.parametrize("formatter", [Logfmt(), Json()], ids=["logfmt", "json"])
def test_a_traceback_stays_on_the_line(formatter: logging.Formatter) -> None:
    line = written(formatter, "oops", error=OSError("no\nluck"))

    assert len(line.splitlines()) == 1
    assert r"OSError: no\nluck" in line


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """Yield the root logger without handlers, and restore it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)


@pytest.mark.parametrize("level", LEVELS)
def test_only_messages_of_the_level_and_above_are_logged(
    level: LogLevel, root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(level, "logfmt")

    for name in LEVELS:
        root_logger.log(logging.getLevelName(name.upper()), "message")

    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == [
        f"level={name}" for name in LEVELS[LEVELS.index(level) :]
    ]


@pytest.mark.parametrize(("form", "begins"), [("logfmt", "ts="), ("json", '{"ts": ')])
@pytest.mark.usefixtures("root_logger")
def test_the_format_is_the_configured_one_on_standard_error(
    form: LogFormat, begins: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("info", form)

    logging.getLogger("exporter.collector.collector").info("message")

    captured = capsys.readouterr()
    assert captured.err.startswith(begins)
    assert captured.out == ""


@pytest.mark.usefixtures("root_logger")
def test_configuring_twice_logs_each_message_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("debug", "json")
    configure("info", "logfmt")

    logging.getLogger("exporter.collector.collector").info("message")

    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sys.stderr.closed is False
