"""Tables are written into documents between markers."""

import doctest
import re
from inspect import getsource

import pytest

from bench import document
from tests.support.bench_documents import PERFORMANCE


def test_the_examples_in_docstrings_hold() -> None:
    count = len(re.findall(">>>", getsource(document)))

    assert doctest.testmod(document) == (0, count)


def test_a_document_without_one_of_the_tables_is_not_written() -> None:
    with pytest.raises(ValueError, match="growth"):
        document.filled(PERFORMANCE.read_text(), [("machine", "")])
