"""Listeners of real namespaces where the kernel does not list them, or should not."""

import errno
import os

import pytest

from exporter.config.settings import Config, SignalSettings
from exporter.kernel import sock_diag
from exporter.kernel.sock_diag import DiagReply
from testing import isolation
from tests.support.sampling import Sampled, sampling

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("no_leaked_files")]


UNSUPPORTED = ("ENOENT", "EOPNOTSUPP", "EPROTONOSUPPORT", "EAFNOSUPPORT")
DENIED = ("EACCES", "EPERM", "ENOSYS")


@pytest.mark.parametrize("name", [*UNSUPPORTED, *DENIED])
def test_a_kernel_without_sock_diag_is_a_problem_and_polled_once_per_full_scan(
    sampled: Sampled, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Not in each namespace: a request may make it start modprobe for a module."""
    polled, code = [], getattr(errno, name)

    def refuse(*requests: bytes) -> DiagReply:
        polled.append(requests)
        raise OSError(code, f"sock_diag: {os.strerror(code)}")

    monkeypatch.setattr(sock_diag, "dump_listeners", refuse)

    snapshot = sampled.collect()
    sampled.collect()

    problems = {problem.what for problem in snapshot.problems}
    assert problems - {isolation.PROBLEM} == {"no_sock_diag"}
    assert len(snapshot.namespaces) > 1
    assert len(polled) == 1
    assert sampled.collect().stats.read_errors.get("failed", 0) == 0
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
