"""What to say of a glob that matches nothing. Pure."""

import difflib
from collections.abc import Sequence


def no_match_message(pattern: str, names: Sequence[str], kind: str) -> str:
    """
    Return that no *kind* matches *pattern*, and the nearest of the *names* there are.

    >>> no_match_message("a.sox", ["a.box", "b"], "thing")
    "no thing matches 'a.sox'; the nearest is a.box"
    """
    near = difflib.get_close_matches(pattern, names, n=1, cutoff=0.5)
    hint = f"; the nearest is {near[0]}" if near else ""
    return f"no {kind} matches {pattern!r}{hint}"
