"""`make` prints its targets, each with what it does."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_make_prints_every_target() -> None:
    command = ["make", "--no-print-directory"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (targets,) = re.findall(
        r"^\.PHONY: (help .*)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )

    printed = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert sorted(target for target, _ in printed) == sorted(targets.split())


def test_every_target_has_a_rule() -> None:
    text = (ROOT / "Makefile").read_text()
    for targets in re.findall(r"^\.PHONY: (.*)", text, re.MULTILINE):
        for target in targets.split():
            assert re.search(rf"^{target}:", text, re.MULTILINE), target


def test_make_test_leaves_out_no_test() -> None:
    recipe = (
        (ROOT / "Makefile").read_text().partition("\ntest: ")[2].partition("\n\n")[0]
    )

    assert re.findall(r"pytest -m \"?(.*?)\"?(?: --.*)?$", recipe, re.MULTILINE) == [
        "not machine",
        "machine",
    ]
