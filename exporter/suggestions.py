"""Suggest the nearest valid word for one that is unknown. Pure."""

import difflib
from collections.abc import Collection, Sequence


def did_you_mean(word: str, choices: Collection[str]) -> str:
    """
    Return the end of an error message that names the nearest of *choices*.

    Empty where none is similar.

    >>> did_you_mean("lod.level", ["log.level", "log.format"])
    "; did you mean 'log.level'?"
    >>> did_you_mean("port", ["log.level"])
    ''
    """
    nearest = difflib.get_close_matches(word, choices, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def no_match_message(pattern: str, names: Sequence[str], kind: str) -> str:
    """
    Return that no *kind* matches *pattern*, with the nearest of the *names*.

    >>> no_match_message("a.sox", ["a.box", "b"], "thing")
    "no thing matches 'a.sox'; did you mean 'a.box'?"
    """
    return f"no {kind} matches {pattern!r}{did_you_mean(pattern, names)}"
