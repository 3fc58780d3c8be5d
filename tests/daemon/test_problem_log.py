"""Each problem is logged once when it begins and once when it is resolved."""

import logging

import pytest

from exporter.daemon.problem_log import ProblemLog
from tests.support.builders import a_problem, an_encoded_snapshot


def test_a_problem_is_logged_when_it_begins_and_when_it_is_resolved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = ProblemLog()
    problem = a_problem(what="fd_budget", detail="no room", remedy="raise it")

    with caplog.at_level(logging.INFO):
        for problems in ([], [problem], [problem], [], []):
            log.update(an_encoded_snapshot(problems=problems))

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "fd_budget: no room; raise it"),
        ("INFO", "resolved: fd_budget"),
    ]
