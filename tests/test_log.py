"""A message is one line, whatever a container put into it."""

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.log import (
    LINES_PER_KIND,
    PERIOD_SECONDS,
    Json,
    LineHandler,
    LineLimit,
    Logfmt,
    LogFormat,
    LogLevel,
    configure,
    omitted_lines,
    report_suppressed,
)
from exporter.log_output import MAX_LINE_BYTES, LineOutput

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


@given(st.text(st.characters(codec=None), max_size=300))
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
    level: LogLevel, root_logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    configure(level, "logfmt")

    for name in LEVELS:
        root_logger.log(logging.getLevelName(name.upper()), "message")

    lines = capfd.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == [
        f"level={name}" for name in LEVELS[LEVELS.index(level) :]
    ]


@pytest.mark.parametrize(("form", "begins"), [("logfmt", "ts="), ("json", '{"ts": ')])
@pytest.mark.usefixtures("root_logger")
def test_the_format_is_the_configured_one_on_standard_error(
    form: LogFormat, begins: str, capfd: pytest.CaptureFixture[str]
) -> None:
    configure("info", form)

    logging.getLogger("exporter.collector.collector").info("message")

    captured = capfd.readouterr()
    assert captured.err.startswith(begins)
    assert captured.out == ""


@pytest.mark.usefixtures("root_logger")
def test_configuring_twice_logs_each_message_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure("debug", "json")
    configure("info", "logfmt")

    logging.getLogger("exporter.collector.collector").info("message")

    assert len(capfd.readouterr().err.splitlines()) == 1
    assert sys.stderr.closed is False


@pytest.mark.parametrize("formatter", [Logfmt(), Json()], ids=["logfmt", "json"])
@given(st.text(st.characters(codec=None), min_size=1, max_size=3))
def test_a_long_message_is_shortened_to_what_a_pipe_takes_whole(
    formatter: logging.Formatter, text: str
) -> None:
    line = written(formatter, text * 5000, error=OSError(text * 5000))

    assert len(line.encode()) <= MAX_LINE_BYTES
    assert len(line.splitlines()) == 1
    if isinstance(formatter, Json):
        assert {"msg", "error"} <= json.loads(line).keys()


def test_a_traceback_has_places_and_causes_but_no_source() -> None:
    try:
        try:
            int("x")
        except ValueError as error:
            raise ExceptionGroup("outer", [KeyError("inner")]) from error
    except ExceptionGroup as error:
        line = written(Json(), "oops", error=error)

    text = json.loads(line)["error"]
    assert "ValueError: invalid literal" in text
    assert "ExceptionGroup: outer" in text
    assert "KeyError: 'inner'" in text
    assert f'File "{__file__}", line' in text
    assert "raise" not in text


class Pipe(LineOutput):
    """An output that takes lines while it is open."""

    def __init__(self) -> None:
        self.is_open = True
        self.lines: list[str] = []

    def write(self, line: bytes) -> bool:
        if self.is_open:
            self.lines.append(line.decode())
        return self.is_open

    def close(self) -> None:
        pass


class Log:
    """A logger whose lines go to `pipe`; `seconds` is the time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.pipe = Pipe()
        self.handler = LineHandler(self.pipe, LineLimit(lambda: self.seconds))
        self.handler.setFormatter(Logfmt())
        self.logger = logging.Logger("exporter.x")  # noqa: LOG001 # shared with no test
        self.logger.addHandler(self.handler)

    def say(self, *arguments: object, **options: object) -> None:
        self.logger.warning("%s happened", *arguments, **options)  # type: ignore[arg-type]

    def fail(self, error: type[Exception]) -> None:
        try:
            raise error("details")  # noqa: TRY301 # its place is the same each time
        except error:
            self.logger.exception("failed")

    def messages(self) -> list[str]:
        lines, self.pipe.lines = self.pipe.lines, []
        return [msg_of(line.partition(" error=")[0]) for line in lines]


def test_a_kind_of_message_is_limited_whatever_is_in_it() -> None:
    log = Log()

    for number in range(25):
        log.say(number)

    assert log.messages() == [f"{n} happened" for n in range(LINES_PER_KIND)]
    assert log.handler.omitted == {"repeated": 15, "not_written": 0}


def test_other_kinds_are_not_affected() -> None:
    log = Log()

    for _ in range(25):
        log.say("flood")
    log.say("a problem", extra={"kind": "problem"})
    log.logger.info("another place")

    assert log.messages()[LINES_PER_KIND:] == ["a problem happened", "another place"]


def test_tracebacks_are_one_kind_for_each_type_and_place() -> None:
    log = Log()

    for _ in range(25):
        log.fail(ValueError)
    log.fail(KeyError)

    lines = log.pipe.lines
    assert [line.count("ValueError") > 0 for line in lines] == [True] * 10 + [False]


def test_what_was_suppressed_is_logged_at_the_end_of_the_period() -> None:
    log = Log()
    for number in range(25):
        log.say(number)
    log.messages()

    log.seconds = PERIOD_SECONDS - 1
    log.handler.report_suppressed()
    assert log.messages() == []
    log.seconds = PERIOD_SECONDS
    log.handler.report_suppressed()
    log.say("again")

    assert log.messages() == [
        "suppressed 15 more messages of this kind: 10 happened",
        "again happened",
    ]


def test_lines_that_are_not_taken_are_counted_and_the_next_says_so() -> None:
    log = Log()
    log.pipe.is_open = False
    for name in ("a", "b", "c"):
        log.say(name)
    log.pipe.is_open = True
    log.say("d")

    assert log.messages() == [
        "3 lines could not be written to standard error",
        "d happened",
    ]
    assert log.handler.omitted["not_written"] == 3


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


def test_a_message_that_cannot_be_formatted_is_counted(
    capfd: pytest.CaptureFixture[str],
) -> None:
    log = Log()

    log.say(Unprintable())
    log.logger.warning("%d", "x")
    log.say("next")

    assert log.messages() == ["next happened"]
    assert log.handler.omitted["not_written"] == 2
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("root_logger")
def test_the_lines_of_all_loggers_are_limited_and_counted(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure("info", "logfmt")

    for name in ("uvicorn.error", "asyncio"):
        for _ in range(12):
            logging.getLogger(name).error("Exception in ASGI application")
    report_suppressed()

    assert len(capfd.readouterr().err.splitlines()) == 2 * LINES_PER_KIND
    assert omitted_lines() == {"repeated": 4, "not_written": 0}


UNCAUGHT = """
import sys, threading, warnings
from exporter.log import configure, log_uncaught_errors
configure("info", "logfmt")
log_uncaught_errors()
class Unraisable:
    def __del__(self): raise ValueError("unraisable")
Unraisable()
thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()
warnings.warn("a" + chr(10) + "warning", RuntimeWarning)
raise KeyError("main thread")
"""


def test_what_python_would_print_is_logged_a_line_each() -> None:
    command = [sys.executable, "-c", UNCAUGHT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    lines = done.stderr.splitlines()
    words = ("unraisable", "ZeroDivisionError", r"a\nwarning", "KeyError")
    assert done.returncode == 1
    assert [word in line for word, line in zip(words, lines, strict=True)] == [True] * 4
    assert all(line.startswith("ts=") for line in lines)
