"""Passes over a fake node, with the tests' own network namespace as its host."""

import pytest

from exporter.collector.collector import Collector
from exporter.config.settings import Config, PathSettings
from exporter.kernel.netns import own_netns
from tests.support.builders import a_rule
from tests.support.clock import Clock
from tests.support.collector_node import SHARED, FakeNode
from tests.support.fakeproc import FakeProc


def test_the_sysctls_of_a_policy_are_read_and_its_rules_included(
    fake_proc: FakeProc,
) -> None:
    fake_proc.process(1, netns=own_netns())
    rule = a_rule(sysctl="net.mptcp.ena*", equals=1)  # not in the default profile
    config = Config(path=PathSettings(procfs=str(fake_proc.root)), policy=(rule,))

    snapshot = Collector(config, grace=0, clock=Clock()).collect()

    assert "net.mptcp.enabled" in {sysctl.name for sysctl in snapshot.sysctls}
    assert snapshot.policy == (rule,)


def test_a_stage_that_fails_ends_neither_the_pass_nor_the_others(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.collect()

    def fail() -> set[tuple[str, int]]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(node.collector._procfs, "processes", fail)

    snapshot = node.collect()

    stages = {stage.name: stage.success for stage in snapshot.stats.stages}
    assert stages.pop("discovery") is False
    assert list(stages) == ["reading", "references", "signals"]
    assert all(stages.values())
    assert snapshot.stats.read_errors["pass"] == 1
    assert snapshot.namespaces[0].readings[0] == "4096"


def test_a_pass_without_a_snapshot_is_counted(node: FakeNode) -> None:
    node.collector.count_failure()

    assert node.collect().stats.read_errors["pass"] == 1


@pytest.mark.usefixtures("no_leaked_files")
def test_closing_leaves_no_file_open(node: FakeNode) -> None:
    node.write(SHARED, "1")
    node.collect()
    assert node.collector._pool.held

    node.collector.close()

    assert node.collector._pool.held == 0
