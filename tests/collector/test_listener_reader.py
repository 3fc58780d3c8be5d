"""Listeners of real namespaces where the kernel does not list them, or should not."""

import errno
import os

import pytest

from exporter.config.settings import Config, SignalSettings
from exporter.kernel import sock_diag
from exporter.kernel.sock_diag import DiagReply
from tests.support.sampling import Sampled, sampling

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("no_leaked_files")]


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EAFNOSUPPORT])
def test_a_kernel_without_sock_diag_is_a_problem_and_polled_once_per_full_scan(
    sampled: Sampled, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Each request would make it look for a module; or a sandbox has no netlink."""
    polled = []

    def refuse(*requests: bytes) -> DiagReply:
        polled.append(requests)
        raise OSError(code, f"sock_diag: {os.strerror(code)}")

    monkeypatch.setattr(sock_diag, "dump_listeners", refuse)

    snapshot = sampled.collect()
    sampled.collect()

    assert [problem.what for problem in snapshot.problems] == ["no_sock_diag"]
    assert len(polled) == 1
    signals = sampled.sample()
    assert signals.listeners is None
    assert signals.counters[0] == 0
    sampled.clock.now += 61
    sampled.collect()
    assert len(polled) == 2


def test_a_failed_dump_loses_the_listeners_and_is_counted(
    sampled: Sampled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_requests: bytes) -> DiagReply:
        raise OSError(errno.ENOMEM, "sock_diag: out of memory")

    sampled.sample()
    monkeypatch.setattr(sock_diag, "dump_listeners", fail)

    signals = sampled.sample()

    assert signals.listeners is None
    assert signals.tcp_sockets == 0
    assert sampled.collect().stats.read_errors["failed"] > 0


def test_listeners_are_not_polled_where_they_are_turned_off() -> None:
    settings = Config(signals=SignalSettings(listeners="none"))
    with sampling(settings) as sampled, sampled.listen():
        signals = sampled.sample()

        assert signals.listeners is None
        assert signals.tcp_sockets == 1


def test_listeners_beyond_the_limit_are_a_problem() -> None:
    settings = Config(signals=SignalSettings(max_listeners=1))
    with sampling(settings) as sampled, sampled.listen(), sampled.listen():
        signals = sampled.sample()
        problems = {problem.what: problem for problem in sampled.collect().problems}

    assert (signals.listening, signals.left_out) == (2, 1)
    assert problems["listeners_left_out"].count >= 1
