"""Flags: one for each key of the configuration, only those that were set."""

import pytest

from exporter.cli.arguments import build_parser
from exporter.config.flags import overrides


def parsed(*words: str) -> dict[str, dict[str, object]]:
    root, _ = build_parser()
    return overrides(vars(root.parse_args(["serve", *words])))


def test_only_flags_that_are_set_override() -> None:
    assert parsed() == {}
    assert parsed("--log.level", "debug", "--sysctls.max-fds", "0") == {
        "log": {"level": "debug"},
        "sysctls": {"max_fds": 0},
    }


def test_repeatable_flags_collect_their_values() -> None:
    words = ("--web.listen-address", ":1", "--web.listen-address", "unix:/w")

    assert parsed(*words) == {"web": {"listen_address": (":1", "unix:/w")}}


def test_a_flag_without_a_value_is_true() -> None:
    assert parsed("--web.systemd-socket", "--runtimes.kubelet-insecure") == {
        "web": {"systemd_socket": True},
        "runtimes": {"kubelet_insecure": True},
    }


@pytest.mark.parametrize("text", ["-1", "1.5", "many", ""])
def test_a_number_must_be_a_non_negative_integer(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(f"--metrics.max-series={text}")

    assert "is not a non-negative integer" in capsys.readouterr().err
