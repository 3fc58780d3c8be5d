"""Log collection problems when they begin and when they are resolved."""

import logging

from exporter.model import EncodedSnapshot, Problem

log = logging.getLogger(__name__)


class ProblemLog:
    """The problems of the last snapshot, each logged once."""

    def __init__(self) -> None:
        self._current: dict[str, Problem] = {}

    def update(self, snapshot: EncodedSnapshot) -> None:
        """Log the problems that are new, and those that are gone."""
        problems = {problem.what: problem for problem in snapshot.problems}
        for what in problems.keys() - self._current.keys():
            problem = problems[what]
            log.warning(
                "%s: %s; %s", what, problem.detail, problem.remedy, extra={"kind": what}
            )
        for what in self._current.keys() - problems.keys():
            log.info("resolved: %s", what, extra={"kind": what})
        self._current = problems
