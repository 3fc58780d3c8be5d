"""The arithmetic of figures."""

import doctest
import re
from inspect import getsource

from bench import figures


def test_the_examples_in_docstrings_hold() -> None:
    count = len(re.findall(">>>", getsource(figures)))

    assert doctest.testmod(figures) == (0, count)
