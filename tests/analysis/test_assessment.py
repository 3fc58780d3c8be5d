"""A snapshot is assessed once: nothing that is derived from it is computed twice."""

from collections.abc import Callable, Iterator
from typing import get_args

import msgspec
import pytest

from exporter import catalog
from exporter.analysis import drift
from exporter.analysis.assessment import assess
from exporter.exposition.renderer import Renderer
from exporter.model import (
    Detail,
    EncodedSnapshot,
    Namespace,
    Origin,
    Sysctl,
)
from exporter.pages.query import parse_request
from exporter.pages.render import page_renderer
from exporter.reports.diff import compare
from exporter.reports.explain import explain
from exporter.reports.report import report
from tests.support.builders import (
    a_listener,
    a_namespace,
    a_netns,
    a_rule,
    an_encoded_snapshot,
    an_owner,
    decode_snapshot,
    some_signals,
    the_hosts_namespace,
)

SYSCTLS = tuple(
    Sysctl(
        name=entry.name,
        kind=entry.kind,
        class_=entry.class_,
        settable_by=entry.settable_by,
        harm=entry.harm,
    )
    for entry in catalog.load()
    if entry.kind == "int" and entry.class_ != "shared"
)[:20]
"""One number each; most have signals in the catalog."""

PODS = 5
VALUES = ["7"] * len(SYSCTLS)
COUNTERS = ("TcpExt.ListenOverflows",)

ORIGINS_OF_ONE = len(SYSCTLS)
ORIGINS_OF_ALL = len(SYSCTLS) * (1 + PODS)


def pod(number: int) -> Namespace:
    return a_namespace(
        netns=a_netns(10 + number, ino=10 + number),
        owner=an_owner(pod=f"web-{number}", uid=f"uid-{number}"),
        readings=[str(number), *VALUES[1:]],
    )


def encoded(*pods: Namespace) -> EncodedSnapshot:
    namespaces = (the_hosts_namespace(readings=VALUES), *pods)
    return an_encoded_snapshot(
        *namespaces,
        sysctls=SYSCTLS,
        fresh=VALUES,
        counters=COUNTERS,
        signals=[some_signals(a_listener(), counters=[9]) for _ in namespaces],
        policy=[a_rule(sysctl="*", min=1)],
    )


NODE = encoded(*map(pod, range(PODS)))
SNAPSHOT = decode_snapshot(NODE)


@pytest.fixture
def origins(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the sysctl of each value whose origin is computed."""
    computed: list[str] = []
    value_origin: Callable[..., Origin | None] = drift.value_origin

    def recorded(sysctl: Sysctl, *value: object, **references: object) -> Origin | None:
        computed.append(sysctl.name)
        return value_origin(sysctl, *value, **references)

    monkeypatch.setattr(drift, "value_origin", recorded)
    yield computed
    assert set(computed) == {sysctl.name for sysctl in SYSCTLS}


@pytest.mark.parametrize("detail", get_args(Detail))
def test_an_exposition_computes_each_origin_once(
    origins: list[str], detail: Detail
) -> None:
    Renderer("1", detail).render(NODE)

    assert len(origins) == ORIGINS_OF_ALL


def test_the_next_exposition_computes_those_of_changed_namespaces(
    origins: list[str],
) -> None:
    renderer = Renderer("1")
    renderer.render(NODE)
    origins.clear()

    renderer.render(encoded(*map(pod, range(PODS - 1)), pod(99)))

    assert len(origins) == ORIGINS_OF_ONE


def test_a_report_computes_each_origin_once(origins: list[str]) -> None:
    report(SNAPSHOT, everything=True)

    assert len(origins) == ORIGINS_OF_ALL


def test_the_page_of_a_node_computes_each_origin_once(origins: list[str]) -> None:
    page(path="/")

    assert len(origins) == ORIGINS_OF_ALL


def test_the_page_of_a_namespace_computes_only_its_own_origins(
    origins: list[str],
) -> None:
    page(path="/netns/shop/web-0")

    assert len(origins) == ORIGINS_OF_ONE


def test_an_explanation_computes_only_the_origins_of_its_namespace(
    origins: list[str],
) -> None:
    explain(assess(SNAPSHOT).namespaces[1], SYSCTLS[0].name)

    assert len(origins) == ORIGINS_OF_ONE


def test_a_diff_computes_the_origins_of_both_snapshots_once(origins: list[str]) -> None:
    compare(SNAPSHOT, SNAPSHOT)

    assert len(origins) == 2 * (ORIGINS_OF_ALL - ORIGINS_OF_ONE)  # not the host's


def page(path: str) -> None:
    request = parse_request(path, b"", gzip=False)
    assert request
    assert page_renderer().render(request, msgspec.json.encode(NODE)).found


def test_an_exposition_computes_no_health(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.analysis.assessment.namespace_health", pytest.fail)

    Renderer("1").render(NODE)


def test_what_is_not_read_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("findings", "verdicts", "namespace_limits", "namespace_health"):
        monkeypatch.setattr(f"exporter.analysis.assessment.{name}", pytest.fail)

    assert assess(SNAPSHOT).namespaces[1].origins


def test_each_namespace_is_assessed_with_its_own_signals() -> None:
    snapshot = an_encoded_snapshot(
        the_hosts_namespace(),
        pod(1),
        counters=COUNTERS,
        signals=[some_signals(counters=[1])],  # none of the pod
    )
    host, web = assess(decode_snapshot(snapshot)).namespaces

    assert host.health
    assert [entry.count for entry in host.health.counters] == [1]
    assert web.health is None


@pytest.mark.parametrize(
    "namespace",
    [
        the_hosts_namespace(),
        a_namespace(owner=an_owner(sandbox="kata")),
        a_namespace(state="pending"),
        a_namespace(state="unreadable"),
        a_namespace(readings=[]),
    ],
)
def test_what_is_not_comparable_has_neither_findings_nor_verdicts(
    namespace: Namespace,
) -> None:
    snapshot = an_encoded_snapshot(
        the_hosts_namespace(), namespace, policy=[a_rule(min=1 << 20)]
    )
    _host, entry = assess(decode_snapshot(snapshot)).namespaces

    assert not entry.is_comparable
    assert entry.findings == ()
    assert entry.verdicts == ()
    assert entry.noteworthy_sysctls == frozenset()


def test_a_namespace_that_ended_meanwhile_is_assessed_without_signals() -> None:
    gone = pod(99)

    entry = assess(SNAPSHOT).of(gone)

    assert entry.namespace is gone
    assert len(entry.origins) == len(SYSCTLS)
    assert entry.findings
    assert entry.health is None
