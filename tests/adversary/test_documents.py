"""Whatever a file contains, a command ends with an error line, not with a signal."""

import subprocess
from pathlib import Path

import pytest

from testing.running import COMMAND

DEEP = 100_000
MERGES = b"a0: &a0 {k: v}\n" + b"".join(
    b"a%d: &a%d {<<: [%s]}\n" % (level, level, b", ".join([b"*a%d" % (level - 1)] * 9))
    for level in range(1, 12)
)
TEXTS = {
    "brackets": b"[" * DEEP,
    "brackets, a line each": b"[\n" * DEEP,
    "lists": b"- " * DEEP,
    "closed mappings": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "ignored mappings": b'{"namespaces": ' + b"[" * DEEP,
    "merge keys": MERGES,
    "a number to the base of 60": b"log: {level: 1" + b":59" * 300_000 + b"}",
    "2 MiB": b"# " * (1 << 20) + b"\nx: 1",
    "no text": bytes(range(256)),
    "half a surrogate pair": b'{"log": "\\ud800"}',
}
ARGUMENTS = {
    "config": ("report", "--config.file"),
    "web config": ("serve", "--web.config.file"),
    "snapshot": ("report", "--from"),
}
SECONDS = 60


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", ARGUMENTS)
def test_a_command_refuses_a_hostile_file(tmp_path: Path, kind: str, text: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(TEXTS[text])

    done = subprocess.run(
        [*COMMAND, *ARGUMENTS[kind], str(file)],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )

    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("netns-sysctl-exporter: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
